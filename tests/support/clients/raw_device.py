"""A device that sends bytes: what no client library would."""

from __future__ import annotations

import asyncio

from benchmarks.mqtt_packets import CONNACK_BYTES, PUBACK_BYTES, connect, publish

ANSWER_SECONDS = 10.0


class RawDevice:
    """One connection of MQTT 3.1.1."""

    def __init__(self, port: int, client_id: str, *, user: str, clean: bool = True) -> None:
        self._port = port
        self._connect = connect(client_id, user=user, password=f"secret of {user}", clean=clean)
        self.is_let_in = False

    async def __aenter__(self) -> RawDevice:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(self._connect)
        answer = await self._read(CONNACK_BYTES)
        self.is_let_in = len(answer) == CONNACK_BYTES and answer[3] == 0
        return self

    async def __aexit__(self, *_: object) -> None:
        """Without DISCONNECT: as a connection that breaks."""
        self._writer.transport.abort()

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False, dup: bool = False) -> bool:
        """Publish with QoS 1; True when it is acknowledged, False when the broker closes the connection."""
        self._writer.write(publish(topic, payload, 1, retain=retain, dup=dup))
        return len(await self._read(PUBACK_BYTES)) == PUBACK_BYTES

    async def _read(self, count: int) -> bytes:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._reader.readexactly(count)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
