"""What operations need where AUTH is on: the scheme, the scopes, and the answers to who lacks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from msgspec.structs import replace

from headrace.access.scopes import ALL_SCOPES
from web.access.route_scopes import DOCUMENTATION, OPEN, ROUTE_SCOPES, WITH_PARAMETER, Need
from web.openapi.document import Answer, Operation, Schema
from web.openapi.shared import problem_answer

BEARER = "bearer"
SCHEMES: Mapping[str, Schema] = {
    BEARER: {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, hr_…, in the header Authorization. The scopes of an operation are alternatives.",
    }
}
UNAUTHORIZED = problem_answer(
    "The request has no valid key; the answer is the same for every cause.",
    "unauthorized",
    headers=("WWW-Authenticate",),
)
LACKS_SCOPE = "The key has none of the scopes that this needs"


def secured(operations: Sequence[Operation], *, open_docs: bool = False) -> list[Operation]:
    """The operations with what web/access/route_scopes.py says of them; `open_docs`: documentation needs nothing."""
    return [_secured(one, open_docs=open_docs) for one in operations]


def _secured(operation: Operation, *, open_docs: bool) -> Operation:
    route = operation.route_of
    need = OPEN if open_docs and route in DOCUMENTATION else ROUTE_SCOPES[route]
    by_parameter = {name: need for (each, name), need in WITH_PARAMETER.items() if each == route}
    needs = [need, *by_parameter.values()]
    if not any(needs):
        return operation
    sentences = [f"Needs a key with {_scopes(need)}."] if need else []
    sentences += [f"With `{name}`, needs a key with {_scopes(one)}." for name, one in by_parameter.items()]
    return replace(
        operation,
        description=" ".join(filter(None, [operation.description, *sentences])),
        security=[one for each in needs for one in _security(each)],
        answers={**operation.answers, HTTPStatus.UNAUTHORIZED: UNAUTHORIZED, HTTPStatus.FORBIDDEN: _lacking(operation)},
    )


def _scopes(need: Need) -> str:
    return "any scope" if need == ALL_SCOPES else f"the scope {' or '.join(f'`{scope}`' for scope in sorted(need))}"


def _security(need: Need) -> list[Mapping[str, Sequence[str]]]:
    if need == ALL_SCOPES:
        return [{BEARER: []}]
    return [{BEARER: [scope]} for scope in sorted(need)] or [{}]


def _lacking(operation: Operation) -> Answer:
    headers = ("WWW-Authenticate",)
    if HTTPStatus.FORBIDDEN not in operation.answers:
        return problem_answer(f"{LACKS_SCOPE}.", "scope_missing", headers=headers)
    text = f"{LACKS_SCOPE}, or a web page of another origin writes."
    return problem_answer(text, "scope_missing", "origin_not_allowed", headers=headers)
