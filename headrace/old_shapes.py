"""Older shapes of an event's data: which there are, how each is recognised, and how it is converted."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from types import MemberDescriptorType
from typing import Any, Generic, NamedTuple, TypeVar, is_typeddict

import msgspec
from msgspec.inspect import type_info

from headrace import declared
from headrace.errors import InvalidProjectionError

Old = TypeVar("Old")

VARIABLE = "old_shapes"
"""The class variable in which a data type names its older shapes."""
UNPROBED = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')
"""In the name of a member: what msgspec does not decode a member of."""
_ANY = ("AnyType", "RawType", "CustomType", "DictType")


@dataclasses.dataclass(frozen=True, slots=True)
class OldShape(Generic[Old]):
    """A shape that the data of events had before. A data type names its older shapes in a class variable:

    >>> class ReadingRecorded(msgspec.Struct):
    ...     old_shapes: ClassVar = (OldShape(CelsiusReading, from_celsius, has="celsius"),)
    ...     value: float

    At least one of `has` and `dataschema` is given; all conditions that are given must hold. Older shapes of the old
    shape are found too, so each type names only the shapes before it.
    """

    shape: type[Old]
    """The type that such data is decoded to. It may have `old_shapes` itself."""
    convert: Callable[[Old], Any]
    """A pure function: the decoded old shape -> an instance of the newer type."""
    has: str | None = dataclasses.field(default=None, kw_only=True)
    """The JSON object has a member of this name."""
    dataschema: str | None = dataclasses.field(default=None, kw_only=True)
    """The event's attribute `dataschema` is equal to it."""
    event_type: str | None = dataclasses.field(default=None, kw_only=True)
    """The event is of this type: for a data type that several types of events share."""


class Way(NamedTuple):
    """From an old shape to the newest."""

    old: OldShape[Any]
    newer: tuple[Any, ...]
    """The type of the result of each conversion; the last is the newest."""
    conversions: tuple[Callable[[Any], Any], ...]
    """Those of the old shape and of each newer shape, in the order in which they are called."""


def old_shapes_of(data: Any) -> Sequence[OldShape[Any]]:
    """The older shapes that a data type names itself; those of a base class do not count.

    Raises InvalidProjectionError if the class variable holds anything else.
    """
    cls = class_of(data)
    if not isinstance(cls, type) or VARIABLE not in vars(cls) or issubclass(cls, Enum):
        return ()
    named = vars(cls)[VARIABLE]
    if isinstance(named, MemberDescriptorType | property) or _is_field(cls):
        return ()
    if not isinstance(named, tuple | list) or not all(isinstance(one, OldShape) for one in named):
        raise InvalidProjectionError(
            f"data type {name_of(cls)}: {VARIABLE} must be a tuple of OldShape, such as (OldShape(…),), not {named!r}"
        )
    return named


def ways(data: Any, event_type: str | None = None) -> Iterator[Way]:
    """The ways from the older shapes of a data type, of all depths, in the order in which they are tried.

    Shapes are tried in the order of declaration, the oldest of each chain first. With `event_type`, only those that
    apply to such events. Raises InvalidProjectionError if the shapes form a circle.
    """
    return _ways(data, (data,), (), event_type)


def _ways(
    data: Any, newer: tuple[Any, ...], conversions: tuple[Callable[[Any], Any], ...], event_type: str | None
) -> Iterator[Way]:
    for old in old_shapes_of(data):
        if event_type is not None and old.event_type not in (None, event_type):
            continue
        if old.shape in newer:
            circle = ", ".join(name_of(one) for one in (old.shape, *newer))
            raise InvalidProjectionError(
                f"data type {name_of(newer[-1])}: its old shapes form a circle ({circle}); convert one way only"
            )
        found = Way(old, newer, (old.convert, *conversions))
        yield from _ways(old.shape, (old.shape, *newer), found.conversions, event_type)
        yield found


def check_old_shapes(projection: str, event_type: str, data: Any) -> None:
    """Raise InvalidProjectionError for older shapes that cannot work, or that would not be applied.

    Types that name what is defined later are checked when they are used.
    """
    what = f"the data of {event_type}"
    _check_place(projection, what, data)
    for way in ways(data):
        old, newer = way.old, name_of(way.newer[0])
        is_shape = f"{what}, old shape {name_of(old.shape)}"
        declared.check_function(projection, f"the conversion of {is_shape}", old.convert, arguments=1)
        declared.check_decodable(projection, is_shape, old.shape)
        if is_typeddict(class_of(way.newer[0])):
            raise InvalidProjectionError(
                f"projection {projection}: {is_shape}: {newer} is a TypedDict, which has no instances; use a Struct"
            )
        _check_conditions(f"projection {projection}: {is_shape}", way)
        _check_place(projection, is_shape, old.shape)


def check_together(projections: Iterable[Any]) -> None:
    """Raise InvalidProjectionError for older shapes that cannot work with all handlers, which are known now."""
    used: dict[Any, dict[str, str]] = {}
    for projection in projections:
        for event_type, subscription in projection.by_type.items():
            used.setdefault(subscription.data, {})[event_type] = projection.name
            check_old_shapes(projection.name, event_type, subscription.data)
    found = {data: list(ways(data)) for data in used}
    for data, by_type in used.items():
        for way in found[data]:
            if way.old.event_type is not None and way.old.event_type not in by_type:
                event_type, projection = next(iter(by_type.items()))
                raise InvalidProjectionError(
                    f"projection {projection}: the data of {event_type}, old shape {name_of(way.old.shape)}: "
                    f"event_type={way.old.event_type!r} has no handler with this data type"
                )
    declared.check_names_of_types([*used, *(way.old.shape for data in found.values() for way in data)])


def _check_conditions(what: str, way: Way) -> None:
    old = way.old
    for name in ("has", "dataschema", "event_type"):
        value = getattr(old, name)
        if value is not None and (not isinstance(value, str) or not value):
            raise InvalidProjectionError(f"{what}: {name} must be a non-empty string, not {value!r}")
    if old.has is None and old.dataschema is None:
        raise InvalidProjectionError(f"{what}: nothing says when data has this shape: give has or dataschema, or both")
    if old.has is not None:
        _check_member(what, way, old.has)


def _check_member(what: str, way: Way, has: str) -> None:
    old = way.old
    if UNPROBED.search(has):
        raise InvalidProjectionError(
            f"{what}: has={has!r}: a name with quotes, backslashes or control characters cannot be used"
        )
    try:
        if not _can_have(type_info(old.shape), has):
            raise InvalidProjectionError(f"{what}: has={has!r}, but {name_of(old.shape)} has no such member in JSON")
        also = [name_of(one) for one in way.newer if _can_have(type_info(one), has)]
    except NameError:
        return
    if also and old.dataschema is None:
        raise InvalidProjectionError(
            f"{what}: has={has!r}, but {also[0]} has such a member too, so its data would be read as "
            f"{name_of(old.shape)}; use a member that newer shapes do not have, or dataschema"
        )


def _check_place(projection: str, what: str, data: Any) -> None:
    """Older shapes that are declared where nothing applies them are refused: their author expects that they are."""
    cls = class_of(data)
    if isinstance(cls, type) and VARIABLE not in vars(cls):
        for base in cls.__mro__[1:]:
            if old_shapes_of(base):
                raise InvalidProjectionError(
                    f"projection {projection}: {what}: {name_of(cls)} inherits the {VARIABLE} of {name_of(base)}, "
                    f"which convert to {name_of(base)}; give it {VARIABLE} of its own, or ()"
                )
    try:
        inner = [found.cls for found in declared.all_types(type_info(data)) if hasattr(found, "cls")]
    except NameError:
        return
    for one in inner:
        if class_of(one) is not cls and old_shapes_of(one):
            raise InvalidProjectionError(
                f"projection {projection}: {what}: the {VARIABLE} of {name_of(one)} are not applied there, only those "
                "of the data type itself; convert the whole data, or remove them"
            )


def class_of(data: Any) -> Any:
    """A generic type without its parameters, and an annotated type without its annotations."""
    while (origin := getattr(data, "__origin__", None)) is not None:
        data = origin
    return data


def name_of(data: Any) -> str:
    """A type's name, for messages."""
    return getattr(data, "__name__", None) or str(data)


def _is_field(cls: type) -> bool:
    """Whether it is a member of the data that has the name of the class variable."""
    fields = [one.name for one in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else ()
    return VARIABLE in (*fields, *getattr(cls, "__struct_fields__", ()), *getattr(cls, "_fields", ()))


def _can_have(found: Any, name: str) -> bool:
    """Whether an object of this type can have a member of this name in JSON."""
    if isinstance(found, msgspec.inspect.UnionType):
        return any(_can_have(one, name) for one in found.types)
    if type(found).__name__ in _ANY:
        return True
    if getattr(found, "array_like", False):
        return False
    members = [member.encode_name for member in getattr(found, "fields", ()) if hasattr(member, "encode_name")]
    return name in (*members, getattr(found, "tag_field", None))
