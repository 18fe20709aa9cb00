"""The parameters of a query string: read one by one, with all errors in one problem."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar
from urllib.parse import parse_qsl

from headrace.events.problem_document import ProblemError
from web.server.problems import Problem

DEFAULT_LIMIT = 50
MAX_LIMIT = 1_000
MAX_PARAMETERS = 50
MAX_SHOWN_CHARACTERS = 100
LIMIT = re.compile(r"[0-9]{1,4}")

Value = TypeVar("Value")


class QueryParameters:
    """Reads a query string, collecting its errors; `check` raises them.

    The order of errors: unknown and repeated parameters, then values in the order of the query string, then the rest.
    """

    def __init__(self, query_string: str, names: Collection[str], allowed: str) -> None:
        """`query_string` is still percent-encoded; `allowed` says in words what `names` are.

        Raises Problem (400) when it cannot be decoded.
        """
        pairs = _read_pairs(query_string)
        self.given = dict(pairs)
        """The values by name."""
        self._of_names = list(_name_errors(pairs, names, allowed))
        self._of_values: dict[str, ProblemError] = {}
        self._others: list[ProblemError] = []

    def value(self, name: str, parse: Callable[[str], Value], default: Value) -> Value:
        """The parsed value of a parameter; the default when it is absent, or when `parse` raises ValueError."""
        if name not in self.given:
            return default
        try:
            return parse(self.given[name])
        except ValueError as error:
            self._of_values[name] = ProblemError(parameter=name, code="invalid_value", detail=str(error))
            return default

    def limit(self) -> int:
        """How many items a page may have: the parameter `limit`."""
        return self.value("limit", _read_limit, DEFAULT_LIMIT)

    def note(self, parameter: str | None, code: str, detail: str) -> None:
        """Add an error that concerns more than a parameter's value."""
        self._others.append(ProblemError(parameter=parameter, code=code, detail=detail))

    def check(self) -> None:
        """Raise Problem (400) if there are any errors."""
        of_values = [self._of_values[name] for name in self.given if name in self._of_values]
        if errors := [*self._of_names, *of_values, *self._others]:
            raise invalid_query(errors)


def invalid_query(errors: list[ProblemError], detail: str = "See errors for what is wrong.") -> Problem:
    """400: the path does not accept this query string; `errors` says where and why."""
    return Problem(400, "invalid_query", "Query not valid", detail, errors=errors)


def refuse_parameters(query_string: str) -> None:
    """Raise Problem (400) unless the query string is empty."""
    if query_string:
        detail = "This path accepts no parameters. A ? that belongs to the key is written %3F."
        raise invalid_query([ProblemError(code="unknown_parameter", detail=detail)], detail)


def invalid_parameter(parameter: str | None, code: str, detail: str) -> Problem:
    """400 with a single error."""
    return invalid_query([ProblemError(parameter=parameter, code=code, detail=detail)])


def _read_pairs(query_string: str) -> list[tuple[str, str]]:
    """Names and values, decoded. Unlike aiohttp's `query`, bytes that are not UTF-8 are refused, not replaced."""
    try:
        query_string.encode()
        pairs = parse_qsl(query_string, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeError:
        raise invalid_parameter(None, "invalid_utf8", "The query string must be UTF-8, percent-encoded.") from None
    except ValueError:
        detail = f"At most {MAX_PARAMETERS} parameters are allowed."
        raise invalid_parameter(None, "too_many_parameters", detail) from None
    if any("\0" in text for pair in pairs for text in pair):
        raise invalid_parameter(None, "nul_character", "The query string may not have a NUL character (%00).")
    return pairs


def _name_errors(pairs: list[tuple[str, str]], names: Collection[str], allowed: str) -> Iterator[ProblemError]:
    for name, times in Counter(name for name, _ in pairs).items():
        shown = name[:MAX_SHOWN_CHARACTERS]
        if name not in names:
            detail = f"There is no such parameter. {allowed}"
            yield ProblemError(parameter=shown, code="unknown_parameter", detail=detail)
        elif times > 1:
            detail = "A parameter may be given once. For one of several values there is field[in]=a,b."
            yield ProblemError(parameter=shown, code="repeated_parameter", detail=detail)


def _read_limit(value: str) -> int:
    if not LIMIT.fullmatch(value) or not 1 <= int(value) <= MAX_LIMIT:
        raise ValueError(f"The limit is a whole number from 1 to {MAX_LIMIT}.")
    return int(value)
