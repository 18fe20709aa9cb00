"""Strict JSON: an accepted text means the same to Python, to PostgreSQL's jsonb and to readers of the topic.

Nothing is re-encoded: the accepted text itself is stored. msgspec checks the grammar, and that surrogates are paired.
It accepts duplicate names, NUL escapes, bytes that are not UTF-8, numbers of any size, and any depth up to Python's
recursion limit. These are checked here: first by fast tests that may only have false positives, then exactly.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Literal

import msgspec

from headrace.errors import HeadraceError
from headrace.events.json_numbers import MAX_DIGITS_AFTER_POINT, MAX_DIGITS_BEFORE_POINT, wrong_numbers

WHITE_SPACE = b" \t\r\n"

Code = Literal[
    "malformed_json",  # not the grammar of RFC 8259
    "invalid_utf8",
    "nul_character",  # as a byte or as an escape
    "lone_surrogate",  # an escape that is half of a pair
    "duplicate_name",  # in the outermost object; deeper duplicates are kept, and the last counts, as in jsonb
    "too_deep",
    "number_out_of_range",  # jsonb cannot hold it
    "not_an_object",
    "not_an_array",
    "batch_too_large",
    "event_too_large",  # with its numbers written out
]


class InvalidJson(HeadraceError):  # noqa: N818 - it says what the text is
    """The text is not JSON that Headrace accepts."""

    def __init__(self, code: Code, detail: str, pointer: str = "") -> None:
        super().__init__(detail)
        self.code: Code = code
        self.detail = detail
        """What is wrong, without the subject of the sentence; never repeats the text."""
        self.pointer = pointer
        """JSON pointer to the invalid member of the outermost object; "" for the whole text."""


_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_ANY = msgspec.json.Decoder(msgspec.Raw)

# A JSON text up to the first escape that is NUL or half a surrogate pair.
_VALID_ESCAPES = re.compile(
    rb"(?:[^\\]++|\\[^u]|\\u(?!0000|[dD][89a-fA-F])|\\u[dD][89abAB]..\\u[dD][c-fC-F])*+", re.DOTALL
)
_NOT_STRUCTURE = bytes(set(range(256)) - set(b"[]{},"))
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1, ord(","): 0}
_COMMA = ord(",")
# As a number, because bytes `in` bytes cost ten times as much: CPython first reads them as a number, and fails.
_BACKSLASH = ord("\\")

_NUMBER_OUT_OF_RANGE = (
    f"has a number with more than {MAX_DIGITS_BEFORE_POINT} digits before or {MAX_DIGITS_AFTER_POINT} after the "
    "decimal point"
)

_COMMAS_IN_DOUBT = 40

# No call below holds the interpreter's lock for more bytes than these: other threads run in between.
_CHUNK = 65_536


def members(body: bytes, max_depth: int, *, max_bytes: int = sys.maxsize) -> tuple[str, dict[str, msgspec.Raw]]:
    """Return the text of an object, without surrounding white space, and the text of each member by name.

    A text with exponents may have `max_bytes` when its numbers are written out; see `json_numbers`.

    The text is as it was sent, but escapes in names of members are decoded, so that a search for `"id"` finds it.
    The members are views of a single string about as large as the body.
    Raises InvalidJson.
    """
    try:
        text = body.decode()
        found = _OBJECT.decode(text)
    except UnicodeDecodeError as error:
        raise InvalidJson("invalid_utf8", f"must be UTF-8; byte {error.start} is not") from None
    except msgspec.ValidationError:
        raise InvalidJson("not_an_object", "must be a JSON object") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unreadable(body, error) from None
    if (problem := problem_of(body, max_depth, max_bytes)) is not None:
        raise InvalidJson(*problem, pointer=_where(found, max_depth, max_bytes))
    if not _is_plain(body.strip(WHITE_SPACE), found):
        _refuse_duplicates(text)
        return text_of(found), found
    return text.strip(), found


def elements(body: bytes, max_elements: int) -> list[msgspec.Raw]:
    """Return the text of each element of an array. It is a view of the whole body: copy it before storing it.

    Only the grammar of the elements is checked: pass each to `members`. Raises InvalidJson, also for more than
    `max_elements` elements.
    """
    # Each element becomes an object many times its size, so a body of commas is refused before it is decoded.
    if body.count(b",") >= _COMMAS_IN_DOUBT * max_elements and _has_more_elements(body, max_elements):
        raise _too_many(max_elements)
    try:
        found = _ARRAY.decode(body)
    except msgspec.ValidationError:
        raise InvalidJson("not_an_array", "must be a JSON array") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unreadable(body, error) from None
    if len(found) > max_elements:
        raise _too_many(max_elements)
    return found


def value(body: bytes) -> str:
    """Return the text of a value of any kind, without surrounding white space.

    Only the encoding and the grammar are checked: pass the object that contains the value to `members`.
    Raises InvalidJson.
    """
    try:
        return bytes(_ANY.decode(body.decode())).decode()
    except UnicodeDecodeError as error:
        raise InvalidJson("invalid_utf8", f"must be UTF-8; byte {error.start} is not") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unreadable(body, error) from None


def text_of(found: dict[str, msgspec.Raw]) -> str:
    """Return the text of an object with these members, with unchanged values."""
    return (
        "{"
        + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{bytes(raw).decode()}" for name, raw in found.items())
        + "}"
    )


def pointer_to(name: str) -> str:
    """Return the JSON pointer to a member, with its name truncated to 40 characters and special characters escaped."""
    shown = name[:40].encode("unicode_escape").decode("ascii")
    return "/" + shown.replace("~", "~0").replace("/", "~1")


def _unreadable(body: bytes, error: Exception) -> InvalidJson:
    if isinstance(error, RecursionError):
        return InvalidJson("too_deep", "is nested too deep")
    if b"\0" in body:
        return InvalidJson("nul_character", "must not contain NUL (JSON is sent as UTF-8)")
    if body.startswith(b"\xef\xbb\xbf"):
        return InvalidJson("malformed_json", "must not start with a byte order mark")
    problem = _escape_problem(body)
    if problem is not None:
        return InvalidJson(*problem)
    return InvalidJson("malformed_json", f"is not JSON: {str(error).removeprefix('JSON is malformed: ')}")


def _too_many(max_events: int) -> InvalidJson:
    return InvalidJson("batch_too_large", f"a batch may have at most {max_events} events: send several batches")


def problem_of(body: bytes, max_depth: int, max_bytes: int) -> tuple[Code, str] | None:
    """What is wrong with a text, which must be valid JSON; `max_bytes` as in `members`."""
    # Finding one byte is much faster than finding six, and few texts have a backslash at all.
    if _BACKSLASH in body and b"\\u0000" in body and (escape := _escape_problem(body)) is not None:
        return escape
    if body.count(b"[") + body.count(b"{") > max_depth and _is_deeper(body, max_depth):
        return "too_deep", f"is nested more than {max_depth} levels deep"
    if (wrong := wrong_numbers(body, max_bytes)) is not None:
        too_large = f"has more than {max_bytes} bytes with its numbers written out without exponents"
        return wrong, _NUMBER_OUT_OF_RANGE if wrong == "number_out_of_range" else too_large
    return None


def _where(found: dict[str, msgspec.Raw], max_depth: int, max_bytes: int) -> str:
    invalid = (name for name, raw in found.items() if problem_of(bytes(raw), max_depth - 1, max_bytes) is not None)
    return next(map(pointer_to, invalid), "")


def _escape_problem(body: bytes) -> tuple[Code, str] | None:
    place = 0
    while (match := _VALID_ESCAPES.match(body, place, place + _CHUNK)) is not None and match.end() > place:
        place = match.end()
    rest = body[place : place + len(b"\\u0000")]
    if rest.startswith(b"\\u0000"):
        return "nul_character", "must not contain NUL, not even as \\u0000"
    if rest.startswith(b"\\u"):
        return "lone_surrogate", "has an escape that is half of a surrogate pair"
    return None


def _outside_strings(body: bytes) -> Iterator[bytes]:
    """The text of valid JSON without its strings, in pieces."""
    place, in_string = 0, False
    while place < len(body):
        piece = body[place : place + _CHUNK]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece = body[place : place + _CHUNK + 1]  # the character that the last backslash escapes
        place += len(piece)
        # An escaped backslash comes first: the one before a quotation mark may be escaped itself.
        parts = piece.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        yield b"".join(parts[in_string::2])
        in_string ^= len(parts) % 2 == 0


def _is_deeper(body: bytes, max_depth: int) -> bool:
    """Whether valid JSON is nested deeper: each round removes the innermost level."""
    marks = b"".join(piece.translate(_BRACKETS, _NOT_BRACKETS) for piece in _outside_strings(body))
    for _ in range(max_depth):
        if not marks:
            return False
        marks = marks.replace(b"[]", b"")
    return bool(marks)


def _has_more_elements(body: bytes, max_elements: int) -> bool:
    level = commas = 0
    for piece in _outside_strings(body):
        for mark in piece.translate(None, _NOT_STRUCTURE):
            level += _STEPS[mark]
            if level == 1 and mark == _COMMA:
                commas += 1
                if commas >= max_elements:
                    return True
    return False


def _is_plain(text: bytes, found: dict[str, msgspec.Raw]) -> bool:
    """Whether the text has exactly these members, with no duplicate name and no escapes in names.

    An object's text is at least as long as its names, its values, and `"":` and a comma for each. A duplicate name or
    an escape in a name makes it longer. So equal lengths, at least without white space, are a proof.
    """
    names = "".join(found).encode()
    values = b"".join(found.values())
    marks = 4 * len(found) + 1
    if len(text) == len(names) + len(values) + marks:
        return True
    return len(text.translate(None, WHITE_SPACE)) == len((names + values).translate(None, WHITE_SPACE)) + marks


def _forget(_: str) -> None:
    """A function in Python, unlike `str`, lets other threads run."""


def _refuse_duplicates(text: str) -> None:
    names: list[str] = json.loads(
        text, object_pairs_hook=lambda pairs: [name for name, _ in pairs], parse_int=_forget, parse_float=_forget
    )
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidJson("duplicate_name", "is present more than once", pointer_to(name))
        seen.add(name)
