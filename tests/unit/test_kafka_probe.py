"""Which cluster answers on a port: asked of small servers that answer as a broker would, or as none would."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable

import pytest
from aiokafka.protocol.admin import ApiVersionResponse_v0
from aiokafka.protocol.metadata import MetadataResponse_v5

from app.embedded.kafka import broker
from app.embedded.kafka.broker import answering_cluster
from app.embedded.ports import LOOPBACK, free_port

API_VERSIONS, METADATA = 18, 3
BROKER = (1, "host", 9092, None)

Answer = Callable[[int, int], bytes]


async def probed(answer: Answer) -> str | None:
    """What the probe says of a server that answers each request, known by its kind and its number, like this."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack(">i", await reader.readexactly(4))
                kind, _, number = struct.unpack_from(">hhi", await reader.readexactly(length))
                writer.write(answer(kind, number))
        except EOFError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    try:
        return await answering_cluster(server.sockets[0].getsockname()[1])
    finally:
        server.close()


def answer_of(cluster: str | None, *brokers: tuple[object, ...], number_off_by: int = 0) -> Answer:
    def answer(kind: int, number: int) -> bytes:
        if kind == API_VERSIONS:
            return framed(number, ApiVersionResponse_v0(0, [(METADATA, 0, 13)]).encode())
        return framed(number + number_off_by, MetadataResponse_v5(0, list(brokers), cluster, 1, []).encode())

    return answer


def framed(number: int, response: bytes) -> bytes:
    return struct.pack(">ii", 4 + len(response), number) + response


@pytest.mark.parametrize("brokers", [[BROKER], [BROKER, (2, "other", 9093, "rack")]])
async def test_the_cluster_of_a_broker_that_answers(brokers: list[tuple[object, ...]]) -> None:
    assert await probed(answer_of("abc", *brokers)) == "abc"


async def test_a_cluster_without_a_ready_broker_is_none() -> None:
    assert await probed(answer_of("abc")) is None


async def test_a_broker_without_a_cluster_is_none() -> None:
    assert await probed(answer_of(None, BROKER)) is None


async def test_the_answer_to_another_request_is_none() -> None:
    assert await probed(answer_of("abc", BROKER, number_off_by=1)) is None


@pytest.mark.parametrize("noise", [b"\0\0\0\0", struct.pack(">i", -5), struct.pack(">iih", 6, 1, 0), b"\0\0\0\x06ab"])
async def test_bytes_that_are_no_answer_are_none(noise: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "PROBE_SECONDS", 0.3)
    assert await probed(lambda _kind, _number: noise) is None


async def test_a_server_that_says_nothing_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "PROBE_SECONDS", 0.3)
    assert await probed(lambda _kind, _number: b"") is None


async def test_nobody_there_is_none_and_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert await answering_cluster(free_port(but=0)) is None
    assert not caplog.records
