"""Workers that are started from a copy of the product, the load on them, and the checker's word at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient

from tests.checking.check_topic import check_topic
from tests.checking.checker import check
from tests.checking.evidence import read_history, read_topic, settled
from tests.checking.findings import Finding
from tests.checking.history import Name, Sent
from tests.checking.load import Load
from tests.checking.poller import Poller
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

ENDED_SECONDS = 60.0
SETTLED_SECONDS = 30.0
SEED = 20_261_122


class PlantedSystem:
    """One database and one topic, and the workers on them."""

    def __init__(self, source: Path, folder: Path, dsn: str, kafka: str, topic: str) -> None:
        self.dsn = dsn
        self._source = source
        self._folder = folder
        self._kafka = kafka
        self.topic = topic
        self._workers: list[WorkerProcess] = []
        self._pollers: list[Poller] = []

    async def start(self, **settings: str) -> WorkerProcess:
        """A worker that is ready."""
        given = {
            "DATABASE_URL": self.dsn,
            "BROKER_URL": self._kafka,
            "TOPIC": self.topic,
            "CONSUMER_GROUP": self.topic,
        }
        worker = WorkerProcess(self._folder, **{**given, **settings})
        worker.source = self._source
        self._workers.append(worker)
        worker.start()
        await worker.ready()
        return worker

    async def restart(self, worker: WorkerProcess) -> None:
        """Start a worker again that has ended, at the same addresses and without its fault points."""
        worker.set(FAULT_POINTS="")
        worker.start()
        await worker.ready()

    async def group_has(self, *, members: int) -> None:
        """Return when the event handlers share the partitions."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._kafka.removeprefix("kafka://"))
        await admin.start()

        async def shared() -> bool:
            ((_, _, state, _, _, found),) = (await admin.describe_consumer_groups([self.topic]))[0].groups
            return state == "Stable" and len(found) == members

        try:
            await until(shared, ENDED_SECONDS, f"the group has not {members} members")
        finally:
            await admin.close()

    def read(self, worker: WorkerProcess) -> None:
        """Read rows from the worker's query service until the verdict."""
        rows = [("event_types", "reading.recorded"), ("devices", "device-1"), ("devices", "device-2")]
        poller = Poller(worker.query, worker.query, rows)
        self._pollers.append(poller)
        poller.start()

    async def verdict(
        self,
        load: Load,
        *,
        poison: frozenset[Name] = frozenset(),
        foreign: frozenset[bytes | None] = frozenset(),
        earlier: Sequence[Sent] = (),
    ) -> list[Finding]:
        """Let everything come to rest, and check; `earlier` was sent by other loads."""
        journal = await load.stop()
        await settled(self.dsn, SETTLED_SECONDS)
        reads = [read for poller in self._pollers for read in await poller.stop()]
        assert bool(reads) == bool(self._pollers), "nothing could be read"
        sent = [*earlier, *journal.sent]
        history = await read_history(
            self.dsn, self._kafka, self.topic, sent=sent, reads=reads, poison=poison, foreign=foreign
        )
        print(f"{len(history.stored)} events stored, {len(history.published)} records, {len(reads)} reads")
        return check(history)

    async def records(self) -> list[bytes | None]:
        """The values on the topic at this moment."""
        return [one.value for one in await read_topic(self._kafka, self.topic)]

    async def topic_now(self) -> list[Finding]:
        """What is wrong with the topic at this moment, while no relay works."""
        return check_topic(await read_history(self.dsn, self._kafka, self.topic))

    async def stop(self) -> None:
        """End what runs."""
        for poller in self._pollers:
            await poller.stop()
        for worker in self._workers:
            worker.kill()


async def has_ended(worker: WorkerProcess, code: int) -> None:
    """Return when the worker has ended with this exit code: the fault was real."""

    async def ended() -> bool:
        return worker.process.poll() is not None

    await until(ended, ENDED_SECONDS, "the worker still runs")
    assert worker.process.returncode == code, worker.log.read_text()[-4000:]


async def logged(worker: WorkerProcess, text: str) -> None:
    """Return when the worker has said it."""

    async def said() -> bool:
        return text in worker.log.read_text()

    await until(said, ENDED_SECONDS, f"the worker has not said {text!r}")


async def accepted(load: Load, events: int) -> None:
    """Return when so many more events are accepted."""
    goal = load.accepted + events

    async def enough() -> bool:
        return load.accepted >= goal

    await until(enough, ENDED_SECONDS, "the door takes nothing")


def kinds(findings: Sequence[Finding]) -> set[tuple[str, str]]:
    """The findings' kinds and places."""
    return {(finding.kind.value, finding.where) for finding in findings}
