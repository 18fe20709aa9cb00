"""Devices that publish with QoS 1 as fast as the broker acknowledges. paho would take more of the machine than what is
measured."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import islice

from benchmarks.client import event
from benchmarks.mqtt_packets import CONNACK_BYTES, PUBACK_BYTES, connect, publish
from benchmarks.wrk import RoundFailedError

CONNECTIONS = 8
MOST_UNACKNOWLEDGED = 100
DEVICES = 1_000
MOST_MID = 0xFFFF
STUCK_SECONDS = 60.0


class _Publisher(asyncio.Protocol):
    """One connection; what it receives are a CONNACK and PUBACKs, so their bytes are their number."""

    def __init__(self, packets: Iterator[bytes]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._packets = packets
        self._transport: asyncio.Transport | None = None
        self._sent = 0
        self._received_bytes = -CONNACK_BYTES

    @property
    def acknowledged(self) -> int:
        """How many messages."""
        return self._received_bytes // PUBACK_BYTES

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is one without saying so
        transport.write(connect(f"publisher-{id(self)}"))  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._received_bytes += len(data)
        unacknowledged = self._sent - self.acknowledged
        if self._received_bytes < 0 or unacknowledged > MOST_UNACKNOWLEDGED // 2:
            return
        next_ones = list(islice(self._packets, MOST_UNACKNOWLEDGED - unacknowledged))
        self._sent += len(next_ones)
        if next_ones:
            self._transport.write(b"".join(next_ones))
        elif not unacknowledged and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(RoundFailedError(f"the broker closed a publisher's connection: {exc}"))

    def close(self) -> None:
        """End the connection."""
        self.done.cancel()
        if self._transport is not None:
            self._transport.abort()


async def publish_all(port: int, run: str, events: int) -> None:
    """Publish so many events of 1,000 devices; returns when the broker has acknowledged all.

    The events of a device are published over one connection, in order. Raises RoundFailedError.
    """
    loop = asyncio.get_running_loop()
    publishers: list[_Publisher] = []
    try:
        for number in range(CONNECTIONS):
            packets = _packets(run, range(number, events, CONNECTIONS))
            _, publisher = await loop.create_connection(lambda packets=packets: _Publisher(packets), "127.0.0.1", port)  # type: ignore[misc]
            publishers.append(publisher)
        await _finished(publishers)
    finally:
        for publisher in publishers:
            publisher.close()


async def _finished(publishers: Sequence[_Publisher]) -> None:
    left = {publisher.done for publisher in publishers}
    acknowledged = -1
    while left:
        finished, left = await asyncio.wait(left, timeout=STUCK_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
        for one in finished:
            one.result()
        before, acknowledged = acknowledged, sum(publisher.acknowledged for publisher in publishers)
        if left and acknowledged == before:
            raise RoundFailedError(f"the broker has acknowledged {acknowledged} messages, and no more")


def _packets(run: str, numbers: range) -> Iterator[bytes]:
    for mid, number in enumerate(numbers):
        device = f"device-{number % DEVICES}"
        yield publish(f"devices/{device}/events", event(run, number, device).encode(), mid % MOST_MID + 1)
