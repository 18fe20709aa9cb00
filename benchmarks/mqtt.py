"""Devices over MQTT: our bridge, and paho's own loop without a database, behind the same mosquitto and publishers.

Publishers send QoS 1 messages as fast as mosquitto acknowledges; what a subscriber has not taken waits there. The rate
is from the first PUBLISH until the last event is accepted: stored by our worker, whose relay publishes meanwhile;
received and acknowledged by paho (benchmarks/paho_loop.py). mosquitto keeps nothing on disk here: with what is shipped
it would be the disk that is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.embedded.mqtt.broker import mosquitto
from app.embedded.ports import free_port

from benchmarks.check import check_counts
from benchmarks.comparison import Comparison, Options, Round, Shown
from benchmarks.cpu import CpuMeter
from benchmarks.mqtt_publishers import publish_all
from benchmarks.paho_loop import RECEIVED, SUBSCRIBED
from benchmarks.place import Place
from benchmarks.processes import Running, python
from benchmarks.wrk import RoundFailedError

# A second of it takes longer than a second: the publishers are faster than the subscribers.
MESSAGES_A_SECOND = 10_000
SECONDS = 5.0
WARM_UP_MESSAGES = 2_000
STUCK_SECONDS = 120.0
POLL_SECONDS = 0.01
WORKER, PAHO, MOSQUITTO = "ingestion worker", "paho", "mosquitto"
CONFIG = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 1000
log_type error
"""

Measured = tuple[float, dict[str, float]]


async def measure(place: Place, options: Options) -> Round:
    """paho's loop, then ours."""
    messages = int((options.seconds or SECONDS) * MESSAGES_A_SECOND)
    async with _broker(place) as (broker, port):
        paho, paho_cpu = await _paho(place, broker, port, messages)
    async with _broker(place) as (broker, port):
        ours, our_cpu = await _ours(place, broker, port, messages)
    return Round(
        {"accepted_per_s": ours, "paho_per_s": paho, "times_paho": ours / paho},
        {"bridge": our_cpu, "paho": paho_cpu},
    )


async def _paho(place: Place, broker: Running, port: int, messages: int) -> Measured:
    total = str(WARM_UP_MESSAGES + messages)
    process = Running(python("-m", "benchmarks.paho_loop", str(port), total), place.folder / f"paho-{port}.log")
    try:
        await _said(process, SUBSCRIBED)
        await publish_all(port, "warm-up", WARM_UP_MESSAGES)
        meter, start = CpuMeter({PAHO: process.measured, MOSQUITTO: broker.measured}), time.perf_counter()
        await publish_all(port, "run", messages)
        await _said(process, RECEIVED)
        seconds = time.perf_counter() - start
        return messages / seconds, meter.microseconds(messages)
    finally:
        await process.stop()


async def _said(process: Running, line: str) -> None:
    try:
        async with asyncio.timeout(STUCK_SECONDS):
            while line not in process.log_tail():  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        raise RoundFailedError(f"no {line!r} after {STUCK_SECONDS:.0f} s:\n{process.log_tail()}") from error


async def _ours(place: Place, broker: Running, port: int, messages: int) -> Measured:
    async with place.system() as system:
        await system.start(WORKER, "ingestion", MQTT_URL=f"mqtt://127.0.0.1:{port}", MQTT_CLIENT_ID=system.topic)
        await publish_all(port, "warm-up", WARM_UP_MESSAGES)
        await system.until_published(WARM_UP_MESSAGES)
        meter, start = system.cpu_meter({MOSQUITTO: broker.measured}), time.perf_counter()
        await publish_all(port, "run", messages)
        await system.until(system.last_position, WARM_UP_MESSAGES + messages)
        seconds = time.perf_counter() - start
        cpu = meter.microseconds(messages)
        await system.until_published(WARM_UP_MESSAGES + messages)
        await check_counts(system.connection, accepted=WARM_UP_MESSAGES + messages, unanswered=0)
    return messages / seconds, cpu


@asynccontextmanager
async def _broker(place: Place) -> AsyncIterator[tuple[Running, int]]:
    """A mosquitto that takes connections, and its port."""
    program = mosquitto()
    if program is None:
        raise RoundFailedError("mosquitto is not installed")
    port = free_port(but=0)
    config = place.folder / f"mosquitto-{port}.conf"
    config.write_text(CONFIG.format(port=port))
    process = Running([program, "-c", str(config)], place.folder / f"mosquitto-{port}.log")
    try:
        async with asyncio.timeout(STUCK_SECONDS):
            while not await _listens(port):
                process.check_alive()
                await asyncio.sleep(POLL_SECONDS)
        yield process, port
    finally:
        await process.stop()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


MQTT = Comparison(
    "mqtt",
    "devices over MQTT, against paho's own loop",
    [
        Shown("times_paho", at_least=0.5, label="MQTT bridge, of paho's loop"),
        Shown("accepted_per_s"),
        Shown("paho_per_s"),
    ],
    measure,
)
