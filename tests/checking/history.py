"""What a checker looks at: plain data, whoever collected it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from enum import Enum
from typing import Any, NamedTuple

EXACT = Context(prec=200_000, Emax=MAX_EMAX, Emin=MIN_EMIN)

Name = tuple[str, str]
"""(source, id): names an event once and for all."""


class Outcome(Enum):
    """What a client was told about an event, in the end."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """No answer, or one that leaves it open; and nobody asked again."""


class Sent(NamedTuple):
    """An event that a client sent; a client waits for the answer before it sends the next."""

    session: str
    key: str
    source: str
    id: str
    digest: str
    outcome: Outcome

    @property
    def name(self) -> Name:
        return self.source, self.id


class Stored(NamedTuple):
    """A row of `event_store`."""

    position: int
    source: str
    id: str
    partition: int
    text: str
    """The envelope as JSON."""

    @property
    def name(self) -> Name:
        return self.source, self.id


class Published(NamedTuple):
    """A record of the topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    is_late: bool = False
    """Whether it says that it comes after later events."""


class SetAside(NamedTuple):
    """A row of `unpublished`: an event that the broker refused."""

    position: int
    is_published: bool
    """Whether the topic got it later."""


class Row(NamedTuple):
    """A row of `projections`."""

    projection: str
    key: str
    state: str
    """JSON."""
    position: int
    version: int


class Parked(NamedTuple):
    """A row of `parked`."""

    projection: str
    position: int
    key: str
    error: str
    key_is_known: bool = True
    """Whether `key` is that of the row; where it could not be told, it is the partition key, and all of that waits."""


class Discarded(NamedTuple):
    """A row of `discarded`: a projection goes on without this event."""

    projection: str
    position: int
    key: str


class Read(NamedTuple):
    """A row as a reader saw it. Reads of one reader come in the order in which they were made."""

    reader: str
    projection: str
    key: str
    position: int
    version: int


@dataclass
class History:
    """What clients were told, and what was found when everything was quiet."""

    sent: Sequence[Sent] = ()
    """Of each session in the order sent."""
    stored: Sequence[Stored] = ()
    outbox: Sequence[Name] = ()
    published: Sequence[Published] = ()
    """Of each partition in the order of offsets."""
    rows: Sequence[Row] = ()
    progress: dict[tuple[str, int], int] = field(default_factory=dict)
    """(projection, partition): the position of the last event that is applied."""
    parked: Sequence[Parked] = ()
    discarded: Sequence[Discarded] = ()
    reads: Sequence[Read] = ()
    poison: frozenset[Name] = frozenset()
    """Events that were sent to make a handler fail: they may be parked, and so may those behind them."""
    given_up: frozenset[tuple[str, Name]] = frozenset()
    """(projection, event): what an operator was told that it is discarded."""
    foreign: frozenset[bytes | None] = frozenset()
    """Values that somebody else put on the topic; they must do no harm."""
    set_aside: Sequence[SetAside] = ()
    too_large: frozenset[Name] = frozenset()
    """Events that are larger than the topic allows: they may be set aside."""
    unreadable: frozenset[Name] = frozenset()
    """Events that PostgreSQL cannot write as text: what is stored of them is read without `data`, as what was sent is
    given; and the topic may lack them."""
    is_compacted: bool = False
    """Whether the topic may lack what has a later record with its key."""
    removed: Mapping[int, int] = field(default_factory=dict)
    """By partition, the offset before which retention has removed all records."""


def digest(event: dict[str, Any] | str | bytes, *, without: str = "") -> str:
    """The content of an event, however it is spelled: order of members, white space, 1.50 or 1.5, -0 or 0 do not count.

    The extension `sequence` is not the sender's: the topic has it, the store has not. `without`: a member that does not
    count. Raises ValueError when the text is no JSON object.
    """
    text = event if isinstance(event, str | bytes) else json.dumps(event)
    members = json.loads(text, parse_float=_number, parse_int=_number)
    if not isinstance(members, dict):
        raise ValueError("an event is a JSON object")  # noqa: TRY004 - one error for all that is no event
    members.pop("sequence", None)
    members.pop(without, None)
    return hashlib.sha256(json.dumps(members, sort_keys=True).encode()).hexdigest()[:16]


def _number(text: str) -> dict[str, str]:
    """A number to its last digit; PostgreSQL makes 0 of -0."""
    exact = Decimal(text).normalize(EXACT)
    return {"number": str(exact) if exact else "0"}
