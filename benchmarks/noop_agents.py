"""A worker whose three agents do nothing: what Faust and its Kafka client cost, and nothing else.

The transport, the settings and the shape of the agents are those of the event handler; records are not decoded. The
last line of the output is JSON. Arguments: how many events the topic has.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from agents.kafka.fetch_batches import AsIs, RecordBatch
from app.settings import read_settings
from app.worker.broker_address import kafka_access
from app.worker.faust_app import Headrace

AGENTS = ("first", "second", "third")


class Counts:
    """How many events each agent was given, and CPU time from the first batch to the last."""

    def __init__(self, events: int) -> None:
        self.done = asyncio.Event()
        self._missing = dict.fromkeys(AGENTS, events)
        self._start: tuple[float, float] | None = None
        self._not_measured = 0

    def agent(self, name: str) -> Callable[[Any], Awaitable[None]]:
        """An agent's body."""

        async def body(stream: Any) -> None:
            async for event in stream.noack().events():
                self._note(name, _records(event.value))
                await stream.ack(event)

        return body

    def _note(self, name: str, records: int) -> None:
        self._missing[name] -= records
        if self._start is None:
            self._start = time.perf_counter(), _cpu_seconds()
            self._not_measured = records
        if not any(self._missing.values()):
            self.done.set()

    def result(self, events: int) -> dict[str, float]:
        """CPU microseconds an event, all three agents together, and events a second."""
        assert self._start is not None
        seconds, cpu = time.perf_counter() - self._start[0], _cpu_seconds() - self._start[1]
        measured = events - self._not_measured
        return {"cpu_us": cpu / measured * 1e6, "per_s": measured / seconds}


def _records(batch: RecordBatch) -> int:
    """How many records are in it; asking for its events would decode them."""
    return sum(len(values) for values in batch._values.values())


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def main(events: int) -> None:
    """Read the whole topic."""
    settings = read_settings(os.environ)
    app = Headrace(settings, handles_events=True, kafka=kafka_access(settings))
    topic, counts = app.topic(settings.topic, schema=AsIs()), Counts(events)
    for name in AGENTS:
        app.agent(topic, name=name)(counts.agent(name))
    app.finalize()
    await app.start()
    await counts.done.wait()
    sys.stdout.write(json.dumps(counts.result(events)) + "\n")
    sys.stdout.flush()
    await app.stop()


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(main(int(sys.argv[1])))
