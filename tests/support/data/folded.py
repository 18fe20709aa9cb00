"""Folds events through a projection as the projector does it, for the tests of projections."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

import msgspec
from hypothesis import strategies as st

from headrace.projection import Event, Projection

State = TypeVar("State")

encoder = msgspec.json.Encoder(decimal_format="number")


class Sent(NamedTuple):
    """An event as a device sends it; `data` is JSON text."""

    type: str
    data: str = "{}"
    time: str = "2026-01-31T12:00:00Z"
    subject: str | None = "d1"


def event(projection: Projection[Any], sent: Sent, position: int = 1) -> Event[Any]:
    """The event as a handler of the projection sees it. Raises msgspec.ValidationError when its data does not fit."""
    subscription = projection.subscription(sent.type)
    assert subscription is not None
    data = msgspec.json.decode(sent.data, type=subscription.data)
    return Event(position, f"e{position}", "/test", sent.type, sent.subject, sent.time, data)


def fold(
    projection: Projection[State], all_sent: Iterable[Sent], stored: Callable[[str], str] | None = None
) -> dict[str, State]:
    """The rows after these events. With `stored`, a state is written and read back through it after each event.

    Fails when a handler changes the state that it was given.
    """
    rows: dict[str, State] = {}
    for position, sent in enumerate(all_sent, start=1):
        subscription = projection.subscription(sent.type)
        if subscription is None:
            continue
        seen = event(projection, sent, position)
        key = projection.key(seen)
        before = rows.get(key)
        untouched = copy.deepcopy(before)
        state = subscription.handler(before, seen)
        assert before == untouched
        assert state is not None
        rows[key] = state if stored is None else decoded(projection, stored(encoded(state)))
    return rows


def encoded(state: object) -> str:
    """The state as the projector writes it."""
    return encoder.encode(state).decode()


def decoded(projection: Projection[State], text: str) -> State:
    """The state as the projector reads it."""
    return msgspec.json.decode(text, type=projection.state)


def jsonb(text: str) -> str:
    """JSON as PostgreSQL's jsonb gives it back: other order of members, numbers without exponent, no negative zero."""
    return _jsonb(json.loads(text, parse_int=Decimal, parse_float=Decimal))


def _jsonb(value: object) -> str:
    if isinstance(value, dict):
        members = sorted(value.items(), key=lambda member: (len(member[0].encode()), member[0].encode()))
        return "{" + ", ".join(f"{json.dumps(name)}: {_jsonb(member)}" for name, member in members) + "}"
    if isinstance(value, Decimal):
        return plain(value)
    return json.dumps(value, ensure_ascii=False)


def plain(number: Decimal) -> str:
    """The number as jsonb writes it."""
    text = f"{number.copy_abs() if number == 0 else number:f}"
    return "0" if number == 0 and "." not in text else text


times = st.sampled_from(
    [
        f"2026-01-31T{clock}{fraction}Z"
        for clock in ("11:59:59", "12:00:00", "12:00:01", "13:00:00")
        for fraction in ("", ".0", ".5", ".50", ".500000000001")
    ]
)
"""Few, so that equal instants are frequent."""

numbers = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "-"]),
    st.sampled_from(["0", "1", "21", "9007199254740993", "123456789012345678901234567890"]) | st.integers(0, 99),
    st.sampled_from(["", ".0", ".5", ".50", ".1", ".123456789012345678901234567890"]),
    st.sampled_from(["", "", "", "e0", "E+1", "e5", "E-1", "e-30", "e30", "E+99"]),
)
"""Numbers as JSON text, in all of its ways to write one."""

_data = {
    "reading.recorded": st.builds(
        '{{"metric": "{}", "value": {}, "unit": {}}}'.format,
        st.sampled_from(["t", "µ/b", "ccc"]),
        numbers,
        st.sampled_from(['"C"', "null"]),
    ),
    "device.registered": st.sampled_from(['{"name": "A"}', '{"name": "B", "model": "M"}']),
    "device.retired": st.just("{}"),
}
devices_sent = st.lists(
    st.one_of(
        [
            st.builds(Sent, st.just(event_type), data, times, st.sampled_from(["d1", "d2"]))
            for event_type, data in _data.items()
        ]
    ),
    max_size=10,
)
"""Events of two devices."""
