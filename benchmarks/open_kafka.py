"""The embedded Kafka without its password, for all programs that are compared. A login costs nothing per record."""

from __future__ import annotations

import asyncio
from pathlib import Path

from app.embedded.kafka.broker import answering_cluster, launch
from app.embedded.kafka.class_path import provide
from app.embedded.kafka.files import format_data, write_settings
from app.embedded.log_tail import LogTail
from app.embedded.ports import LOOPBACK, free_port
from app.embedded.processes import wait_until_ready

READY_SECONDS = 120.0
SECURITY = "listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT\n"


async def start_open_kafka(folder: Path, port: int) -> str:
    """Start it in the data folder of embedded servers, whose `stop` ends it; its address, kafka://host:port."""
    place = folder / "kafka"
    class_path = await asyncio.to_thread(provide, folder / "jars")
    write_settings(place, port=port, controller_port=free_port(but=port), security=SECURITY)
    await asyncio.to_thread(format_data, place, class_path)
    logs = LogTail(place / "log")

    async def answers() -> bool:
        return await answering_cluster(port) is not None

    await wait_until_ready("Apache Kafka", answers, launch(place, class_path), logs, READY_SECONDS)
    return f"kafka://{LOOPBACK}:{port}"
