"""One fault: workers under load, what the fault did to them, how long they took to go on, and the checker's word."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tests.checking.checker import check
from tests.checking.evidence import UNLIMITED, read_history, read_topic, settled
from tests.checking.findings import Finding, Kind, report
from tests.checking.history import Name, Outcome, Sent, digest
from tests.checking.load import Load, random_event
from tests.checking.poller import Poller
from tests.faults.fault_outcomes import Outcomes
from tests.faults.faulty_worker import FaultyWorker
from tests.faults.questions import APPLIED, IN_FLIGHT, PROJECTIONS, PUBLISHED
from tests.support.clients.way_in import PLAIN
from tests.support.machine_load import slowness
from tests.support.waiting import until

START_EVENTS = 200
PATIENCE_SECONDS = 120.0
SETTLED_SECONDS = 90.0
PROBE_KEYS = 32
QUICK_PROBES = 3
QUICK_SECONDS = 1.5
PROBE_REQUEST_SECONDS = 5.0
TIMEOUT_SECONDS = 10.0
LOOKS = 50
ROWS = [("event_types", "reading.recorded"), ("devices", "device-1"), ("devices", "device-2")]

_numbers = itertools.count(1)


class Trial:
    """One database, one topic, the workers on them, and the load."""

    def __init__(self, folder: Path, *, dsn: str, kafka: str, topic: str, outcomes: Outcomes) -> None:
        self.dsn = dsn
        self.kafka = kafka
        self.topic = topic
        self.outcomes = outcomes
        self.workers: list[FaultyWorker] = []
        self.foreign: set[bytes | None] = set()
        self.poison: set[Name] = set()
        self.given_up: set[tuple[str, Name]] = set()
        self.too_large: set[Name] = set()
        self.unreadable: set[Name] = set()
        self.is_compacted = False
        self.removed: dict[int, int] = {}
        self.way_in = PLAIN
        """Of all clients; set before the first worker."""
        self._folder = folder
        self._load: Load | None = None
        self._pollers: list[Poller] = []
        self._probed: list[Sent] = []

    async def start(self, services: str = "ingestion,event_handler,query", **settings: str) -> FaultyWorker:
        """A worker that is ready."""
        worker = self.worker(services, **settings)
        worker.start()
        await worker.ready()
        return worker

    def worker(self, services: str = "ingestion,event_handler,query", **settings: str) -> FaultyWorker:
        """A worker that is not started."""
        given = {
            "DATABASE_URL": self.dsn,
            "BROKER_URL": self.kafka,
            "TOPIC": self.topic,
            "CONSUMER_GROUP": self.topic,
            "SERVICES": services,
        }
        made = FaultyWorker(self._folder, **{**given, **settings})
        made.use(self.way_in)
        self.workers.append(made)
        return made

    async def load(self, *workers: FaultyWorker, warm_up: int = START_EVENTS, turn: int = 0, **options: Any) -> Load:
        """Clients that post to these workers; returns when some events are accepted and applied.

        Each `turn` sends other events.
        """
        self._load = Load(
            [one.ingestion for one in workers],
            seed=self.outcomes.seed + 1_000_000 * turn,
            way_in=self.way_in,
            **options,
        )
        self._load.start()
        await self.accepted(warm_up)
        if warm_up and any("event_handler" in one.services for one in self.workers):
            await self.resumed("start")
            del self.outcomes.resumed_seconds["start"]
        return self._load

    def read(self, *workers: FaultyWorker) -> None:
        """Read rows from these workers' query services until the end."""
        for worker in workers:
            self._pollers.append(Poller(worker.query, worker.query, ROWS, way_in=self.way_in))
            self._pollers[-1].start()

    @property
    def clients(self) -> Load:
        """The load that runs."""
        assert self._load is not None, "no load"
        return self._load

    async def accepted(self, events: int) -> None:
        """Return when so many more events are accepted."""
        goal = self.clients.accepted + events

        async def enough() -> bool:
            return self.clients.accepted >= goal

        await until(enough, PATIENCE_SECONDS, lambda: f"the door takes nothing\n{self.logs()}")

    async def rest(self, *, kept: bool) -> int:
        """End the load, and return the last position when everything is applied.

        What it sent is checked in the verdict, unless a restore will remove it.
        """
        journal = await self.clients.stop(patience_seconds=PATIENCE_SECONDS)
        assert await settled(self.dsn, SETTLED_SECONDS) is not None, self.logs()
        if kept:
            self._probed += journal.sent
        return await self.ask("SELECT coalesce(max(position), 0) FROM event_store")

    async def will_lose(self, after: int) -> int:
        """What the topic has after a position is of a future that a restore removes; how many records that is."""
        lost = {one.value for one in await read_topic(self.kafka, self.topic) if _position(one.value) > after}
        self.foreign |= lost
        return len(lost)

    @property
    def failed_reads(self) -> int:
        """Requests of readers that were not answered."""
        return sum(poller.failed for poller in self._pollers)

    def note_accepted(self, event: dict[str, Any]) -> None:
        """An event that was accepted beside the load."""
        source = event["source"]
        self._probed.append(Sent(source, event["subject"], source, event["id"], digest(event), Outcome.ACCEPTED))

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Return when it holds."""
        await until(condition, PATIENCE_SECONDS, lambda: f"it does not come to that\n{self.logs()}")

    async def has_members(self, count: int) -> None:
        """Return when the consumer group has so many members and is at peace."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.removeprefix("kafka://"))
        await admin.start()

        async def stable() -> bool:
            try:
                (answer,) = await admin.describe_consumer_groups([self.topic])
            except KafkaError:
                return False
            ((_, _, state, _, _, members, *_),) = answer.groups
            return bool(state == "Stable" and len(members) == count)

        try:
            await until(stable, PATIENCE_SECONDS, lambda: f"the group does not have {count} members\n{self.logs()}")
        finally:
            await admin.close()

    async def note_under_way(self) -> None:
        """Note how many events are on their way (posts, outbox, not applied); between two posts there may be none."""
        for _ in range(LOOKS):
            here = self.clients.in_flight + await self.ask(IN_FLIGHT)
            self.outcomes.in_flight = max(self.outcomes.in_flight, here)
            if here:
                return

    def bit(self, **times: int) -> None:
        """Note how often the fault was injected; AssertionError when it was not."""
        for injected, count in times.items():
            self.outcomes.bit[injected.replace("_", " ")] = count
        assert any(times.values()), f"the fault was not injected: {times}\n{self.logs()}"

    async def resumed(self, what: str, *, within: float | None = None, published: bool = False) -> float:
        """Wait until everything goes on for every key; returns the seconds since the call.

        Again and again an event of each of many keys is posted, until all of these are applied by every projection (or
        published) as quickly as ever, twice: what a starting event handler finds in the store does not count. Noted as
        the time to resume after `what`; AssertionError when it is more than `within`, which grows with the load.
        """
        started = resumed_at = time.monotonic()
        quick = 0
        while quick < QUICK_PROBES:
            before = time.monotonic()
            assert before - started < PATIENCE_SECONDS, f"it does not go on as quickly as ever\n{self.logs()}"
            await self._probe(published=published)
            if time.monotonic() - before > QUICK_SECONDS:
                quick = 0
            else:
                quick += 1
                resumed_at = time.monotonic() if quick == 1 else resumed_at
        seconds = resumed_at - started
        self.outcomes.resumed_seconds[what] = round(seconds, 2)
        print(f"resumed {seconds:.2f} s after {what}")
        at_most = None if within is None else within * slowness()
        assert at_most is None or seconds <= at_most, f"{seconds:.1f} s, not {at_most:.1f}\n{self.logs()}"
        return seconds

    async def _probe(self, *, published: bool) -> None:
        source = f"/probes/{next(_numbers)}-{self.outcomes.seed}"
        chance = random.Random(source)
        events = [random_event(chance, source, f"probe-{number}") for number in range(PROBE_KEYS)]
        await self._post_until_accepted(events)
        for event in events:
            self._probed.append(Sent(source, event["subject"], source, event["id"], digest(event), Outcome.ACCEPTED))

        async def there() -> bool:
            try:
                question = (PUBLISHED, source) if published else (APPLIED, source, PROJECTIONS)
                return await self.ask(*question) == PROBE_KEYS
            except (asyncpg.PostgresError, OSError, TimeoutError):
                return False

        await until(there, PATIENCE_SECONDS, lambda: f"it does not go on\n{self.logs()}")

    async def _post_until_accepted(self, events: list[dict[str, Any]]) -> None:
        doors = [one for one in self.workers if "ingestion" in one.services]
        deadline = time.monotonic() + PATIENCE_SECONDS
        async with self.way_in.session(PROBE_REQUEST_SECONDS) as http:
            for door in itertools.cycle(doors):
                if door.is_frozen:
                    continue
                try:
                    async with http.post(f"{door.ingestion}/api/v1/events", json=events) as response:
                        if response.status == 202:
                            return
                except (aiohttp.ClientError, OSError, TimeoutError):
                    pass  # asked again below, as long as there is patience
                assert time.monotonic() < deadline, f"the door takes nothing\n{self.logs()}"
                await asyncio.sleep(0.05)

    async def verdict(self) -> list[Finding]:
        """Let everything come to rest, check, note it, and fail where something is wrong."""
        journal = await self.clients.stop(patience_seconds=PATIENCE_SECONDS)
        rest = await settled(self.dsn, SETTLED_SECONDS)
        reads = [read for poller in self._pollers for read in await poller.stop()]
        history = await read_history(
            self.dsn,
            self.kafka,
            self.topic,
            sent=[*journal.sent, *self._probed],
            reads=reads,
            poison=frozenset(self.poison),
            given_up=frozenset(self.given_up),
            foreign=frozenset(self.foreign),
            too_large=frozenset(self.too_large),
            unreadable=frozenset(self.unreadable),
            is_compacted=self.is_compacted,
            removed=self.removed,
        )
        findings = check(history)
        told = self.outcomes
        told.events = len(history.stored)
        told.copies = len(history.published) - len(history.stored) - len(self.foreign)
        told.lost = sum(one.kind is Kind.LOST for one in findings)
        told.doubled = sum(one.kind is Kind.DUPLICATED for one in findings)
        told.wrong = len(findings) - told.lost - told.doubled
        told.longest_pause_seconds = round(journal.longest_pause_seconds, 2)
        print(told)
        assert findings == [], f"{report(findings)}\n{self.logs()}"
        assert rest is not None, f"it does not come to rest\n{self.logs()}"
        assert told.in_flight, "nothing was in flight, so nothing could be lost"
        assert journal.without_retry_after == 0
        assert journal.answers["500"] == 0, self.logs()
        return findings

    async def stop(self) -> None:
        """End what runs."""
        if self._load is not None:
            await self._load.stop(patience_seconds=0)
        for poller in self._pollers:
            await poller.stop()
        for worker in self.workers:
            if worker.runs:
                worker.kill()

    def logs(self, characters: int = 3_000) -> str:
        """The end of each worker's log."""
        return "\n".join(
            f"--- {one.log.name} ({one.services}; {one.state})\n{one.log.read_text()[-characters:]}"
            for one in self.workers
            if one.log.exists()
        )

    def said(self, text: str, *workers: FaultyWorker) -> int:
        """How many lines of the logs have this text."""
        return sum(
            text in line
            for one in workers or self.workers
            if one.log.exists()
            for line in one.log.read_text().splitlines()
        )

    async def until_said(self, text: str, *workers: FaultyWorker) -> None:
        """Return when a worker has said it."""

        async def said() -> bool:
            return self.said(text, *workers) > 0

        await until(said, PATIENCE_SECONDS, lambda: f"nobody has said {text!r}\n{self.logs()}")

    async def ask_text(self, query: str) -> str:
        """The text that a query finds."""
        return str(await self._asked(query))

    async def ask(self, query: str, *arguments: object) -> int:
        """The number that a query finds."""
        return int(await self._asked(query, *arguments))

    async def _asked(self, query: str, *arguments: object) -> Any:
        """The value that a query finds, on a connection of its own."""
        connection = await asyncpg.connect(
            self.dsn, timeout=TIMEOUT_SECONDS, command_timeout=TIMEOUT_SECONDS, server_settings=UNLIMITED
        )
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            connection.terminate()


def _position(value: bytes | None) -> int:
    sequence: str = json.loads(value or b"{}").get("sequence", "0")
    return int(sequence)
