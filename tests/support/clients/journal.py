"""Clients that post random events and keep a journal of what they were told."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import aiohttp

TAKEN = {200, 202}
START = datetime(2026, 1, 31, 22, 0, tzinfo=UTC)


@dataclass
class Journal:
    """What one client sent and was told."""

    acknowledged: list[dict[str, Any]] = field(default_factory=list)
    """Each event once, in the order in which it was first answered 2xx."""
    duplicates: int = 0
    unanswered: int = 0


def random_event(chance: random.Random, source: str, devices: list[str]) -> dict[str, Any]:
    """An event of a fleet of devices, or of a type that no projection knows; times in several spellings."""
    device = chance.choice(devices)
    moment = START + timedelta(microseconds=chance.randrange(0, 4 * 3600 * 10**6))
    spelled = chance.choice(
        (
            moment.isoformat().replace("+00:00", "Z"),
            moment.replace(microsecond=0).isoformat().replace("+00:00", "Z"),
            moment.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat(),
        )
    )
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(uuid.UUID(int=chance.getrandbits(128))),
        "source": source,
        "subject": device,
        "time": spelled,
    }
    kind = chance.choices(("reading", "registered", "retired", "unknown"), (80, 8, 4, 8))[0]
    if kind == "reading":
        value: Any = chance.choice((chance.randrange(-50, 50), round(chance.uniform(-50, 50), chance.randrange(1, 6))))
        data = {"metric": chance.choice(("temperature", "humidité", "p/h")), "value": value}
        return event | {"type": "reading.recorded", "data": data | chance.choice(({}, {"unit": "°C"}))}
    if kind == "registered":
        data = {"name": f"Device {device}"} | chance.choice(({}, {"model": f"M{chance.randrange(3)}"}))
        return event | {"type": "device.registered", "data": data}
    if kind == "retired":
        return event | {"type": "device.retired", "data": chance.choice(({}, {"reason": "worn out"}))}
    return event | {"type": chance.choice(("door.opened", "Ünknown.type")), "data": [1, {"n": 1.50}, None]}


class Client:
    """Posts events one after the other, single or in batches, some of them twice; retries what was not answered."""

    def __init__(self, address: str, name: str, *, events: int, seed: int) -> None:
        self._address = f"{address}/api/v1/events"
        self._chance = random.Random(f"{seed} {name}")
        devices = [f"{name}-{number}" for number in range(1, 9)]
        self._events = [random_event(self._chance, f"/clients/{name}", devices) for _ in range(events)]
        self.journal = Journal()

    async def run(self) -> None:
        """Post everything; returns when all of it was answered."""
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for batch in self._batches():
                statuses = await self._post_until_answered(session, batch)
                assert statuses == ["accepted"] * len(batch) or self.journal.unanswered, statuses
                self.journal.acknowledged += batch
                if self._chance.random() < 0.2:
                    await self._repeat(session)

    def _batches(self) -> Iterator[list[dict[str, Any]]]:
        left = self._events
        while left:
            size = self._chance.choice((1, 1, 1, 1, 20, 100))
            yield left[:size]
            left = left[size:]

    async def _repeat(self, session: aiohttp.ClientSession) -> None:
        known = self._chance.sample(self.journal.acknowledged, min(5, len(self.journal.acknowledged)))
        statuses = await self._post_until_answered(session, known)
        assert statuses == ["duplicate"] * len(known), statuses
        self.journal.duplicates += len(known)

    async def _post_until_answered(self, session: aiohttp.ClientSession, events: list[dict[str, Any]]) -> list[str]:
        while True:
            try:
                return await self._post(session, events)
            except (aiohttp.ClientError, TimeoutError):
                self.journal.unanswered += 1
                await asyncio.sleep(0.05)

    async def _post(self, session: aiohttp.ClientSession, events: list[dict[str, Any]]) -> list[str]:
        """Post; the status of each event. Raises ClientError when the answer is "not now"."""
        single = len(events) == 1
        kind = "application/cloudevents+json" if single else "application/cloudevents-batch+json"
        body = json.dumps(events[0] if single else events)
        async with session.post(self._address, data=body, headers={"Content-Type": kind}) as response:
            if response.status in {429, 503}:
                assert "Retry-After" in response.headers
                response.raise_for_status()
            answer = await response.json()
            assert response.status in TAKEN, (response.status, answer)
        return [answer["status"]] if single else [result["status"] for result in answer["results"]]
