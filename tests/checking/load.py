"""Clients that post while things break, and write down what they were told.

Each session is a closed loop: it sends the next post when the last one was answered, and asks again with the same
events as long as it does not know what became of them. Keys are skewed as Zipf says: few devices send most.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from tests.checking.history import Outcome, Sent, digest
from tests.support.clients.way_in import PLAIN, WayIn

START = datetime(2026, 3, 1, tzinfo=UTC)
REQUEST_SECONDS = 10.0
RETRY_SECONDS = 0.1
SINGLE, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
OPEN = {429, 500, 502, 503, 504}
"""Answers after which nobody knows, or that ask to try again."""
TAKEN = {"accepted", "duplicate"}
METRICS = ("temperature", "humidité", "p/h")

Event = dict[str, Any]


@dataclass
class Journal:
    """What all sessions of a load sent and were told."""

    sent: list[Sent] = field(default_factory=list)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    """Posts by status, or by the name of the error where there was no answer."""
    accepted_at: list[float] = field(default_factory=list)
    """When posts were accepted (time.monotonic)."""
    slowest_seconds: float = 0
    """The longest time from a post to its answer or its error."""
    without_retry_after: int = 0
    """Answers 429 and 503 that did not say when to come again."""

    def count(self, outcome: Outcome) -> int:
        """How many events came out so."""
        return self.outcomes[outcome]

    @property
    def unanswered(self) -> int:
        """How many posts were not answered, or with an answer that leaves the outcome open."""
        return sum(times for answer, times in self.answers.items() if not answer.isdecimal() or int(answer) in OPEN)

    @property
    def longest_pause_seconds(self) -> float:
        """The longest time without an accepted post."""
        times = sorted(self.accepted_at)
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0)


class Load:
    """Sessions that post to any of some addresses until they are stopped; the same seed sends the same events."""

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        seed: int,
        sessions: int = 4,
        keys: int = 64,
        events_a_second: float = 200,
        most_in_a_batch: int = 20,
        refused_share: float = 0.02,
        make: Callable[[random.Random, str, str], Event] | None = None,
        way_in: WayIn = PLAIN,
    ) -> None:
        """`make` (chance, source, key) makes an event, a random one if it is not given."""
        self._way_in = way_in
        self.journal = Journal()
        self.in_flight = 0
        """Events whose post is not answered now."""
        self._addresses: list[str] = []
        self.use(addresses)
        self._devices = [f"device-{number}" for number in range(1, keys + 1)]
        self._weights = [1 / number for number in range(1, keys + 1)]
        self._seconds_an_event = sessions / events_a_second
        self._most_in_a_batch = most_in_a_batch
        self._refused_share = refused_share
        self._make = make or random_event
        self._names = [f"s{number}-{seed}" for number in range(sessions)]
        self._batches = itertools.count(1)
        self._given_up = asyncio.Event()
        self._stopping = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []

    def use(self, addresses: Sequence[str]) -> None:
        """Post to these from now on."""
        self._addresses = [f"{address}/api/v1/events" for address in addresses]

    async def post_once(self, events: int) -> None:
        """Post one batch, in a session of its own, and return when it is answered."""
        name = f"once-{next(self._batches)}-{self._names[0]}"
        async with self._way_in.session(REQUEST_SECONDS) as http:
            chance = random.Random(name)
            await self._send(http, chance, name, self._events(chance, name, events))

    def start(self) -> None:
        """Begin to post."""
        self._running = [asyncio.create_task(self._session(name)) for name in self._names]

    async def stop(self, *, patience_seconds: float = 30) -> Journal:
        """Send nothing new, and ask on about what is open; what is open after `patience_seconds` stays unknown."""
        self._stopping.set()
        if not self._running:
            return self.journal
        _, open_ = await asyncio.wait(self._running, timeout=patience_seconds)
        if open_:
            self._given_up.set()
        await asyncio.gather(*self._running)
        return self.journal

    @property
    def accepted(self) -> int:
        """Events that are accepted until now."""
        return self.journal.count(Outcome.ACCEPTED)

    async def _session(self, name: str) -> None:
        chance = random.Random(name)
        async with self._way_in.session(REQUEST_SECONDS) as http:
            while not self._stopping.is_set():
                started = time.monotonic()
                size = chance.choice((1, 1, 1, chance.randint(1, self._most_in_a_batch)))
                await self._send(http, chance, name, self._events(chance, name, size))
                await self._pause(started + size * self._seconds_an_event - time.monotonic())

    async def _send(self, http: aiohttp.ClientSession, chance: random.Random, name: str, events: list[Event]) -> None:
        self.in_flight += len(events)
        outcomes = await self._post_until_known(http, chance, events)
        self.in_flight -= len(events)
        for event, outcome in zip(events, outcomes, strict=True):
            sent = Sent(name, event["subject"], event["source"], event["id"], digest(event), outcome)
            self.journal.sent.append(sent)
            self.journal.outcomes[outcome] += 1

    def _events(self, chance: random.Random, name: str, size: int) -> list[Event]:
        events = []
        for device in chance.choices(self._devices, self._weights, k=size):
            event = self._make(chance, f"/sessions/{name}", device)
            if chance.random() < self._refused_share:
                event |= {"type": "reading.recorded", "data": {"metric": "temperature", "value": "warm"}}
            events.append(event)
        return events

    async def _post_until_known(
        self, http: aiohttp.ClientSession, chance: random.Random, events: list[Event]
    ) -> list[Outcome]:
        while not self._given_up.is_set():
            started = time.monotonic()
            try:
                outcomes = await self._post(http, chance.choice(self._addresses), events)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                self.journal.answers[type(error).__name__] += 1
                outcomes = None
            self.journal.slowest_seconds = max(self.journal.slowest_seconds, time.monotonic() - started)
            if outcomes is not None:
                return outcomes
            await asyncio.sleep(RETRY_SECONDS)
        return [Outcome.UNKNOWN] * len(events)

    async def _post(self, http: aiohttp.ClientSession, url: str, events: list[Event]) -> list[Outcome] | None:
        """What became of each event; None when that is open. Raises when there is no answer."""
        single = len(events) == 1
        body = json.dumps(events[0] if single else events, ensure_ascii=False)
        async with http.post(
            url, data=body.encode(), headers={"Content-Type": SINGLE if single else BATCH}
        ) as response:
            answer = await response.read()
            self.journal.answers[str(response.status)] += 1
            if response.status in {429, 503} and "Retry-After" not in response.headers:
                self.journal.without_retry_after += 1
        if response.status in OPEN:
            return None
        results = [json.loads(answer)] if single else json.loads(answer)["results"]
        outcomes = [Outcome.ACCEPTED if one["status"] in TAKEN else Outcome.REFUSED for one in results]
        if Outcome.ACCEPTED in outcomes:
            self.journal.accepted_at.append(time.monotonic())
        return outcomes

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()
            except TimeoutError:
                return


def random_event(chance: random.Random, source: str, device: str) -> Event:
    """An event of a fleet of devices, or of a type that no projection but `event_types` knows."""
    time_ = START + timedelta(seconds=chance.randrange(0, 3 * 3600), microseconds=chance.randrange(10**6))
    event: Event = {
        "specversion": "1.0",
        "id": f"{chance.getrandbits(64):016x}",
        "source": source,
        "subject": device,
        "time": time_.isoformat().replace("+00:00", "Z"),
    }
    kind = chance.choices(("reading.recorded", "device.registered", "device.retired", "door.opened"), (80, 8, 4, 8))[0]
    data: Any = {}
    if kind == "reading.recorded":
        data = {"metric": chance.choice(METRICS), "value": round(chance.uniform(-50, 50), chance.randrange(0, 5))}
    elif kind == "device.registered":
        data = {"name": f"Device {device}", "model": f"M{chance.randrange(3)}"}
    elif kind == "door.opened":
        data = [chance.randrange(100), {"é": None}]
    return event | {"type": kind, "data": data}
