"""Projections: a name, a key, and pure functions that fold events into the state of a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec

from headrace import declared, old_shapes
from headrace.errors import InvalidProjectionError

Data = TypeVar("Data")
State = TypeVar("State")


class Event(msgspec.Struct, Generic[Data], frozen=True, gc=False):
    """An event as a handler receives it."""

    position: int
    """Its place in the event store: 1, 2, 3, …"""
    id: str
    source: str
    type: str
    subject: str | None
    time: str
    """RFC 3339 in UTC (ends in Z); the time of receipt if the sender gave none."""
    data: Data


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """A member of the state by which queries may filter and sort."""

    kind: Literal["text", "number", "time", "date", "boolean"]
    indexed: bool = False
    """Whether filters and sorts use an index. It makes every update of every projection more expensive; see
    docs/projections.md. A row's key may then have at most 1,600 bytes."""


class FedBy(msgspec.Struct, frozen=True):
    """Conditions by which the events of a row are found in the event store; every condition that is set must hold."""

    subjects: Sequence[str] | None = None
    """The event's subject is one of them."""
    types: Sequence[str] | None = None
    """The event's type is one of them."""
    times: tuple[str, str] | None = None
    """The event's time is from the first to the last, both RFC 3339 in UTC."""


class Subscription(msgspec.Struct, Generic[State], frozen=True):
    """How a projection handles a type of event."""

    data: Any
    """The type that the event's `data` is decoded to."""
    handler: Callable[[State | None, Event[Any]], State | None]
    """`(state or None, event) -> state or None`, pure. None: the row does not exist; to return it deletes the row."""


class Projection(Generic[State]):
    """A named set of rows; each row is the fold of the events with its key.

    >>> counts = Projection("counts", state=Count, key=lambda event: event.source, description="How many of a source")
    >>> @counts.on("thing.happened", Thing)
    ... def happened(count: Count | None, event: Event[Thing]) -> Count:
    ...     return Count(1 if count is None else count.n + 1)
    """

    def __init__(
        self,
        name: str,
        *,
        state: type[State],
        key: Callable[[Event[Any]], str],
        description: str,
        fields: Mapping[str, Field] | None = None,
        fed_by: Callable[[str], FedBy] | None = None,
        subject: str | None = None,
    ) -> None:
        """`fed_by` says, for the key of a row, where its events are; without it, `as_of` reads all events of the
        projection's types. `subject` says which part of a row is the subject of all its events: `"key"` or the name of
        a text field. Without it, callers that may read only some subjects read no row. Raises InvalidProjectionError,
        a ValueError, for what cannot work.
        """
        declared.check_name(name)
        declared.check_function(name, "key", key, arguments=1)
        declared.check_state(name, state)
        declared.check_fields(name, state, fields or {})
        if fed_by is not None:
            declared.check_function(name, "fed_by", fed_by, arguments=1)
        if subject is not None:
            declared.check_subject(name, state, subject, fields or {})
        self.name = name
        self.state = state
        self.key = key
        self.description = description
        self.fed_by = fed_by or (lambda _: FedBy())
        self.fields: Mapping[str, Field] = fields or {}
        self.members = {field: declared.member_of(field, state) for field in self.fields}
        """By field, the member of the state, or the members that lead to its value."""
        self.subject = subject
        self.by_type: dict[str, Subscription[State]] = {}
        self.otherwise: Subscription[State] | None = None

    @property
    def subject_member(self) -> str | tuple[str, ...] | None:
        """The member of the state with the subject of the row's events, `()` for the row's key; None if undeclared."""
        if self.subject is None or self.subject == declared.SUBJECT_IS_KEY:
            return None if self.subject is None else ()
        return self.members[self.subject]

    def on(
        self, event_type: str, data: type[Data]
    ) -> Callable[
        [Callable[[State | None, Event[Data]], State | None]], Callable[[State | None, Event[Data]], State | None]
    ]:
        """Register the decorated function as the handler of events of this type; their data is decoded to `data`."""

        def register(
            handler: Callable[[State | None, Event[Data]], State | None],
        ) -> Callable[[State | None, Event[Data]], State | None]:
            declared.check_event_type(self.name, event_type)
            declared.check_function(self.name, f"the handler of {event_type}", handler, arguments=2)
            declared.check_decodable(self.name, f"the data of {event_type}", data)
            old_shapes.check_old_shapes(self.name, event_type, data)
            if event_type in self.by_type:
                raise InvalidProjectionError(f"projection {self.name}: two handlers for {event_type}")
            self.by_type[event_type] = Subscription(data, handler)
            return handler

        return register

    def on_every_other_event(
        self, handler: Callable[[State | None, Event[msgspec.Raw]], State | None]
    ) -> Callable[[State | None, Event[msgspec.Raw]], State | None]:
        """Register the decorated function for every event that has no handler of its own; its data is not decoded."""
        declared.check_function(self.name, "the handler of every other event", handler, arguments=2)
        if self.otherwise is not None:
            raise InvalidProjectionError(f"projection {self.name}: two handlers for every other event")
        self.otherwise = Subscription(msgspec.Raw, handler)
        return handler

    def subscription(self, event_type: str) -> Subscription[State] | None:
        """How to handle events of this type; None: ignore them."""
        return self.by_type.get(event_type, self.otherwise)
