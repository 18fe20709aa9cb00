"""What a projection may declare: its name, its functions, its state and its fields. Each check raises a clear line."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.inspect import type_info

from headrace.errors import InvalidProjectionError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
RESERVED_NAMES = frozenset({"changes"})
PAGE_PARAMETERS = frozenset({"limit", "cursor", "sort", "source", "id", "wait"})
"""Parameters of a page: a field of such a name could not be asked for."""
SUBJECT_IS_KEY = "key"
"""For a projection's `subject`: the row's key is the subject of its events."""
UNREACHABLE = re.compile(r"^-|[\[\]\0\ud800-\udfff]|^$")
"""In a field's name: what a query string would read as something else, or not at all."""
MAX_TYPE_BYTES = 255

_NUMBERS = ("IntType", "FloatType", "DecimalType")
_TEXTS = ("StrType", "LiteralType", "EnumType")
_ANY = ("AnyType", "RawType", "CustomType")
VALUES: Mapping[str, tuple[str, ...] | None] = {
    "text": None,
    "number": (*_NUMBERS, "LiteralType", "EnumType"),
    "time": (*_TEXTS, "DateTimeType"),
    "date": (*_TEXTS, "DateType"),
    "boolean": ("BoolType",),
}
"""The kinds of fields, and the types of members that can have such a value; None for all."""
_GROUPS = {"IntType": "number", "FloatType": "number", "BoolType": "number", "DecimalType": "number"}


def check_name(name: object) -> None:
    """Raise InvalidProjectionError for a name that no URL reaches."""
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in RESERVED_NAMES:
        raise InvalidProjectionError(
            f"projection {name!r}: a name has 1 to 100 letters (a to z), digits, _, - and ., begins with neither - nor "
            f"., and is not {' or '.join(sorted(RESERVED_NAMES))}: it is part of URLs"
        )


def check_together(projections: Sequence[Any]) -> None:
    """Raise InvalidProjectionError if two projections, or two types of theirs, have the same name."""
    seen: set[str] = set()
    for projection in projections:
        if projection.name in seen:
            raise InvalidProjectionError(
                f"projection {projection.name}: two projections have this name; they would overwrite each other's rows"
            )
        seen.add(projection.name)
    check_names_of_types([projection.state for projection in projections])
    check_names_of_types([one.data for projection in projections for one in projection.by_type.values()])


def check_names_of_types(types: Sequence[Any]) -> None:
    """Raise InvalidProjectionError if two of the types, or types within them, have the same name."""
    try:
        msgspec.json.schema_components(types)
    except KeyError as error:
        raise InvalidProjectionError(
            f"projections: two types of one module have the name {_name(error.args[0])}, so the API cannot be "
            "described; give one of them another name"
        ) from None
    except (NameError, TypeError):
        return  # the checks of each projection and the first use say more


def check_function(projection: str, what: str, function: object, *, arguments: int) -> None:
    """Raise InvalidProjectionError for what cannot be called with so many arguments, or would not return its result."""
    if not callable(function):
        raise InvalidProjectionError(f"projection {projection}: {what} must be a function, not {function!r}")
    called = inspect.unwrap(function)
    # Also a partial's function, and what an object is when it is called.
    forms = [called, getattr(called, "func", None), vars(type(called)).get("__call__")]
    if any(inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one) for one in forms):
        raise InvalidProjectionError(
            f"projection {projection}: {what} must not be async: it is called without an event loop, and may do no I/O"
        )
    if any(inspect.isgeneratorfunction(one) for one in forms):
        raise InvalidProjectionError(f"projection {projection}: {what} must return its result, not yield it")
    if not _takes(function, arguments):
        raise InvalidProjectionError(f"projection {projection}: {what} must take {arguments} argument(s)")


def _takes(function: Callable[..., Any], arguments: int) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True  # some functions that are written in C do not tell
    try:
        signature.bind(*[None] * arguments)
    except TypeError:
        return False
    return True


def check_event_type(projection: str, event_type: object) -> None:
    """Raise InvalidProjectionError for a type that no event can have."""
    if not isinstance(event_type, str) or not 0 < len(event_type.encode(errors="replace")) <= MAX_TYPE_BYTES:
        raise InvalidProjectionError(
            f"projection {projection}: an event type is a text of 1 to {MAX_TYPE_BYTES} bytes, not {event_type!r}"
        )


def check_decodable(projection: str, what: str, data: Any) -> None:
    """Raise InvalidProjectionError for a type that JSON cannot be decoded to.

    A type that names what is defined later is checked when it is used.
    """
    try:
        msgspec.json.Decoder(data)
        custom = [_name(found.cls) for found in all_types(type_info(data)) if isinstance(found, _Custom)]
    except NameError:
        return
    except Exception as error:
        raise InvalidProjectionError(f"projection {projection}: {what} cannot be read from JSON: {error}") from error
    if custom:
        raise InvalidProjectionError(
            f"projection {projection}: {what} cannot be read from JSON: {', '.join(custom)} is not a type of msgspec"
        )


def check_state(projection: str, state: Any) -> None:
    """Raise InvalidProjectionError for a state that cannot be stored as JSON, or not always in the same order."""
    check_decodable(projection, "its state", state)
    try:
        found = list(all_types(type_info(state)))
    except NameError:
        return
    for one in found:
        if isinstance(one, msgspec.inspect.DictType) and not _is_text(one.key_type):
            raise InvalidProjectionError(
                f"projection {projection}: its state has a dict whose keys are not texts, which JSON cannot hold"
            )
        is_set = isinstance(one, msgspec.inspect.SetType | msgspec.inspect.FrozenSetType)
        if is_set and _group(one.item_type) is None:
            raise InvalidProjectionError(
                f"projection {projection}: its state has a set whose values have no order, so it could not be stored "
                "alike everywhere; use a list, or values of one type that can be compared"
            )


def check_fields(projection: str, state: Any, fields: Mapping[str, Any]) -> None:
    """Raise InvalidProjectionError for fields that the state does not have, or that no query can name."""
    for name, field in fields.items():
        if field.kind not in VALUES:
            kinds = ", ".join(VALUES)
            raise InvalidProjectionError(f"projection {projection}: field {name}: no kind {field.kind!r} ({kinds})")
        if name in PAGE_PARAMETERS or UNREACHABLE.search(name):
            raise InvalidProjectionError(f"projection {projection}: no field can be named {name!r}: no URL reaches it")
    try:
        found = type_info(state)
    except NameError:
        return
    values = {name: _field_values(found, name) for name in fields}
    missing = [name for name, types in values.items() if not types]
    if missing:
        has = ", ".join(sorted(_members(found))) or "none"
        raise InvalidProjectionError(
            f"projection {projection}: no such members of its state: {', '.join(missing)} (it has {has})"
        )
    for name, field in fields.items():
        allowed = VALUES[field.kind]
        if allowed is not None and not any(type(one).__name__ in (*allowed, *_ANY) for one in values[name]):
            raise InvalidProjectionError(
                f"projection {projection}: field {name} can never be a {field.kind}: see the type of this member"
            )


def check_subject(projection: str, state: Any, subject: object, fields: Mapping[str, Any]) -> None:
    """Raise InvalidProjectionError for a subject that is neither the key nor a field which is always a text or null."""
    if subject == SUBJECT_IS_KEY:
        if SUBJECT_IS_KEY in fields:
            raise InvalidProjectionError(
                f"projection {projection}: subject={SUBJECT_IS_KEY!r} is the row's key, and there is a field of this "
                "name too; give the field another name"
            )
        return
    if not isinstance(subject, str) or subject not in fields:
        has = ", ".join([SUBJECT_IS_KEY, *fields])
        raise InvalidProjectionError(f"projection {projection}: subject={subject!r} is not one of {has}")
    try:
        values = _field_values(type_info(state), subject)
    except NameError:
        values = []
    if fields[subject].kind != "text" or not all(_is_text_or_null(one) for one in values):
        raise InvalidProjectionError(
            f"projection {projection}: subject={subject!r} must be a field of the kind text whose type is a text: it "
            "says whose row it is"
        )


def member_of(name: str, state: Any) -> str | tuple[str, ...]:
    """The member that a field names, or the members that lead to its value, unless a member has that very name."""
    try:
        is_member = "." not in name or name in _members(type_info(state))
    except NameError:
        is_member = False
    return name if is_member else tuple(name.split("."))


_Custom = msgspec.inspect.CustomType


def _members(found: Any) -> dict[str, Any]:
    """The members of a type, also inherited, as its JSON names them; none for a type without named members."""
    fields = [] if getattr(found, "array_like", False) else getattr(found, "fields", ())
    return {member.encode_name: member.type for member in fields if hasattr(member, "encode_name")}


def _field_values(state: Any, name: str) -> list[Any]:
    """The types of a field's value; empty if the state has no such member."""
    if isinstance(state, msgspec.inspect.DictType):
        return []
    members = _members(state)
    return _values(members[name], ()) if name in members else _values(state, tuple(name.split(".")))


def _values(found: Any, path: tuple[str, ...]) -> list[Any]:
    """The types of what a path leads to; empty if it leads nowhere."""
    if isinstance(found, msgspec.inspect.UnionType):
        return [value for one in found.types for value in _values(one, path)]
    if not path:
        return [found]
    if type(found).__name__ in _ANY:
        return [found]
    if isinstance(found, msgspec.inspect.DictType):
        return _values(found.value_type, path[1:])
    members = _members(found)
    return _values(members[path[0]], path[1:]) if path[0] in members else []


def all_types(found: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """A type, and all types within it; a type that contains itself ends."""
    seen = set() if seen is None else seen
    if id(found) in seen:
        return
    seen.add(id(found))
    yield found
    inner = [getattr(found, name, None) for name in ("item_type", "key_type", "value_type")]
    fields = [member.type for member in getattr(found, "fields", ()) or ()]
    for one in [*inner, *fields, *(getattr(found, "types", None) or ()), *(getattr(found, "item_types", None) or ())]:
        if one is not None:
            yield from all_types(one, seen)


def _is_text(found: Any) -> bool:
    if isinstance(found, msgspec.inspect.UnionType):
        return all(_is_text(one) for one in found.types)
    if isinstance(found, msgspec.inspect.LiteralType):
        return all(isinstance(value, str) for value in found.values)
    if isinstance(found, msgspec.inspect.EnumType):
        return issubclass(found.cls, str)
    return not isinstance(found, msgspec.inspect.IntType | msgspec.inspect.FloatType | msgspec.inspect.DecimalType)


def _is_text_or_null(found: Any) -> bool:
    return type(found).__name__ in {*_TEXTS, "NoneType"} and _is_text(found)


def _group(found: Any) -> str | None:
    """Values of one group can be compared with each other; None if values of this type cannot."""
    if isinstance(found, msgspec.inspect.UnionType):
        return _only(_group(one) for one in found.types)
    if isinstance(found, msgspec.inspect.LiteralType):
        return _only(type(value).__name__ for value in found.values)
    if isinstance(found, msgspec.inspect.TupleType):
        return "tuple" if all(_group(one) for one in found.item_types) else None
    if isinstance(found, msgspec.inspect.VarTupleType):
        return "tuple" if _group(found.item_type) else None
    kind = type(found).__name__
    return _GROUPS.get(kind, kind) if _has_order(found) else None


def _has_order(found: Any) -> bool:
    if isinstance(found, msgspec.inspect.NoneType | msgspec.inspect.SetType | msgspec.inspect.FrozenSetType):
        return False
    if isinstance(found, msgspec.inspect.StructType):
        return bool(found.cls.__struct_config__.order)
    cls: Any = getattr(found, "cls", str)
    without: Any = object
    return cls.__lt__ is not without.__lt__


def _only(groups: Iterable[str | None]) -> str | None:
    found = set(groups)
    return found.pop() if len(found) == 1 else None


def _name(cls: Any) -> str:
    return str(getattr(cls, "__qualname__", cls))
