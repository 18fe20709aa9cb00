"""Times: strict RFC 3339 in, UTC out, every digit of the fraction kept."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.events import rfc3339

PROPERTY = settings(max_examples=40, deadline=None)


@pytest.mark.parametrize(
    ("sent", "utc"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("2026-01-01t00:00:00z", "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00Z"),
        ("2026-01-01T00:00:00-00:00", "2026-01-01T00:00:00Z"),
        ("2026-01-01T23:59:00-23:59", "2026-01-02T23:58:00Z"),
        ("2026-01-01T00:00:00.120Z", "2026-01-01T00:00:00.120Z"),
        ("2026-01-01T02:00:00.12345678901234567890+02:00", "2026-01-01T00:00:00.12345678901234567890Z"),
        ("2024-02-29T12:00:00Z", "2024-02-29T12:00:00Z"),
        ("2000-02-29T12:00:00Z", "2000-02-29T12:00:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"),
        ("1990-12-31T23:59:60Z", "1991-01-01T00:00:00Z"),
        ("1990-12-31T15:59:60.5-08:00", "1991-01-01T00:00:00.5Z"),
    ],
)
def test_a_time_is_moved_to_utc(sent: str, utc: str) -> None:
    assert rfc3339.to_utc(sent) == utc


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "now",
        "2026-01-01",
        "2026-01-01T00:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00Z\n",
        "\n2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00,5Z",
        "20260101T000000Z",
        "2026-W01-1T00:00:00Z",
        "2026-1-01T00:00:00Z",
        "-001-01-01T00:00:00Z",
        "12026-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-32T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:61Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T23:59:60+01:00",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+01:60",
        "2026-01-01T00:00:00+0100",
        "2026-01-01T00:00:00+01",
        "2026-01-01T00:00:00\u221205:00",
        "\u0662\u0660\u0662\u0666-01-01T00:00:00Z",
        "2026-01-01T00:00:00.\u0665Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-14:00",
        "9999-12-31T23:59:60Z",
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(sent: str) -> None:
    with pytest.raises(ValueError, match=r"^must be an RFC 3339 time .* years 0001 to 9999"):
        rfc3339.to_utc(sent)


_offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@PROPERTY
@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=_offsets))  # noqa: DTZ001 - bounds have no zone here
def test_it_agrees_with_datetime(moment: datetime) -> None:
    utc = rfc3339.to_utc(moment.isoformat())
    assert datetime.fromisoformat(utc) == moment
    assert utc.endswith("Z")
    assert rfc3339.to_utc(utc) == utc


@PROPERTY
@given(st.integers(0, 9_999), st.integers(0, 13), st.integers(0, 32))
def test_exactly_the_dates_of_the_calendar_are_accepted(year: int, month: int, day: int) -> None:
    text = f"{year:04d}-{month:02d}-{day:02d}"
    try:
        datetime.fromisoformat(text)
    except ValueError:
        with pytest.raises(ValueError, match="must be"):
            rfc3339.to_utc(f"{text}T12:00:00Z")
    else:
        assert rfc3339.to_utc(f"{text}T12:00:00Z") == f"{text}T12:00:00Z"


_times = st.tuples(
    st.sampled_from(["2026-01-01T00:00:59", "2026-01-01T00:01:00", "2026-01-01T00:01:01", "9999-12-31T23:59:59"]),
    st.text("0159", max_size=8),
)


@PROPERTY
@example(("2026-01-01T00:00:59", "0"), ("2026-01-01T00:00:59", ""))
@example(("2026-01-01T00:00:59", "50"), ("2026-01-01T00:00:59", "5"))
@example(("2026-01-01T00:00:59", ""), ("2026-01-01T00:00:59", "5"))
@given(_times, _times)
def test_instants_sort_by_time(one: tuple[str, str], other: tuple[str, str]) -> None:
    def key(time: tuple[str, str]) -> str:
        return rfc3339.instant(f"{time[0]}{'.' if time[1] else ''}{time[1]}Z")

    def seconds(time: tuple[str, str]) -> Fraction:
        whole = datetime.fromisoformat(f"{time[0]}Z") - datetime(1970, 1, 1, tzinfo=UTC)
        return Fraction(whole // timedelta(seconds=1)) + Fraction(f"0.{time[1] or 0}")

    assert (key(one) < key(other)) == (seconds(one) < seconds(other))
    assert (key(one) == key(other)) == (seconds(one) == seconds(other))


@pytest.mark.parametrize(
    ("utc", "cut"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.5Z"),
        ("2026-01-01T00:00:00.123456Z", "2026-01-01T00:00:00.123456Z"),
        ("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_fraction_is_cut_to_microseconds(utc: str, cut: str) -> None:
    assert rfc3339.to_microseconds(utc) == cut


def test_now_is_canonical_and_between_before_and_after() -> None:
    before = datetime.now(UTC)
    now = rfc3339.now()
    after = datetime.now(UTC)
    assert before <= datetime.fromisoformat(now) <= after
    assert rfc3339.to_utc(now) == now
    assert len(now) == len("2026-01-01T00:00:00.000000Z")


def test_now_is_the_time_in_utc_to_the_microsecond() -> None:
    before = datetime.now(UTC).replace(tzinfo=None)
    told = rfc3339.now()
    after = datetime.now(UTC).replace(tzinfo=None)
    assert len(told) == len("2026-11-22T12:00:00.000001Z")
    assert before <= datetime.fromisoformat(told.removesuffix("Z")) <= after
    assert rfc3339.to_utc(told) == told or told.endswith("0Z")


def test_the_earlier_and_the_later_time_are_those_by_instant() -> None:
    seconds = ["0001-01-01T00:00:00", "2026-11-22T10:00:00", "2026-11-22T10:00:01", "9999-12-31T23:59:59"]
    times = [f"{one}{fraction}Z" for one in seconds for fraction in ("", ".0", ".5", ".50", ".05", ".123456")]
    for one, other in itertools.product(times, times):
        for key in (rfc3339.instant, lambda time: (rfc3339.instant(time), time)):
            assert rfc3339.earlier(one, other, key) == min(one, other, key=key)
            assert rfc3339.later(one, other, key) == max(one, other, key=key)
