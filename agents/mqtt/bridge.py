"""Devices' messages -> the door's validation -> the outbox.

Guarantee: a message is acknowledged only after its event is committed in the outbox, or it is kept with the reason for
its refusal; acknowledgements go out in the order in which the messages came. While PostgreSQL is away, the database is
full or the outbox is past its limit, nothing is acknowledged: the broker keeps what it has not yet sent, and sends
again what a worker that died had not acknowledged. An event that comes again is a duplicate by its source and id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from agents.background import Background
from agents.mqtt.client import MqttClient, IncomingMessage
from headrace.events import rfc3339
from headrace.events.envelope import Event, InvalidEnvelope, Limits
from headrace.events.intake_counts import IntakeCounts
from headrace.events.known_types import EventTypes
from headrace.events.mqtt_message import Message, answer_topic, read_event
from headrace.events.outcome import Outcome
from headrace.events.problem_document import CONTENT_TYPE as PROBLEM
from headrace.events.refusals import REFUSED, Refusal, invalid, misfit, taken_body
from headrace.process.fault_points import MQTT_COMMITTED
from headrace.process.mqtt_address import MqttAddress
from headrace.process.waiting import backoff_seconds
from tables.database import Database
from tables.intake import dead_letters
from tables.intake.backlog import Backlog
from tables.intake.dead_letters import Letter
from tables.intake.group_commit import MAX_GROUP_EVENTS, GroupCommit

TOPICS = "devices/+/events"
SHARED_TOPICS = f"$share/headrace/{TOPICS}"
JSON = "application/json"
MOST_WAIT_SECONDS = 2.0
FIRST_LOOK_SECONDS = 3.0

log = logging.getLogger(__name__)


class MqttBridge(Background):
    """The subscriber of one worker. One life is one connection."""

    needs = "the MQTT broker"

    def __init__(
        self,
        address: MqttAddress,
        database: Database,
        group_commit: GroupCommit,
        event_types: EventTypes,
        limits: Limits,
        *,
        max_in_flight: int,
        backlog: Backlog | None = None,
    ) -> None:
        super().__init__()
        self.counts = IntakeCounts()
        self._connected = asyncio.Event()
        self._address = address
        self._database = database
        self._group_commit = group_commit
        self._event_types = event_types
        self._limits = limits
        self._max_in_flight = max_in_flight
        self._backlog = backlog
        self._client: MqttClient | None = None

    @property
    def is_connected(self) -> bool:
        """Whether it receives what devices publish."""
        return self._connected.is_set()

    async def on_start(self) -> None:
        """Raises InvalidSettingError when a file that is set cannot be used."""
        if self._address.tls:
            await asyncio.to_thread(self._address.tls_context)

    async def on_started(self) -> None:
        """Give a broker that is there the time to know the subscription before the worker says that it is up.

        Until the first subscription a broker acknowledges what devices publish, and keeps nothing of it.
        """
        try:
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                await self._connected.wait()
        except TimeoutError:
            log.warning("%s does not answer yet; devices are not heard until it does.", self._address)

    def wake(self) -> None:
        if self._client is not None:
            self._client.wake()

    async def run(self) -> None:
        """Connect, and take messages until the connection ends and all that came over it is taken."""
        wanted, unwanted = (SHARED_TOPICS, TOPICS) if self._address.shared else (TOPICS, SHARED_TOPICS)
        client = await MqttClient.connect(
            self._address, max_in_flight=self._max_in_flight, subscribe_to=wanted, not_to=unwanted
        )
        self._client = client
        self._connected.set()
        log.info("Connected to %s as %s.", self._address, self._address.client_id)
        try:
            while not self.should_stop:
                messages = await client.receive(MAX_GROUP_EVENTS)
                if messages:
                    await self._take(client, messages)
                elif client.is_lost:
                    self.throttled.warning("The connection to %s is lost.", self._address)
                    return
        finally:
            self._connected.clear()
            await client.close()

    async def _take(self, client: MqttClient, messages: Sequence[IncomingMessage]) -> None:
        """Commit a group of messages, answer and acknowledge them; nothing of this when the worker stops first."""
        received_at = rfc3339.now()
        taken = [self._read(received.message, received_at) for received in messages]
        events = [one for one in taken if isinstance(one, Event)]
        waits = backoff_seconds(most=MOST_WAIT_SECONDS)
        while not self.should_stop:
            try:
                results = _with_outcomes(taken, await self._submit(events))
                await self._keep_refused(messages, results)
                if MQTT_COMMITTED.armed:
                    await MQTT_COMMITTED.passed()
            except Exception as error:  # noqa: BLE001 - what is not acknowledged is not lost, whatever it was
                self.throttled.warning("Messages of devices wait, not acknowledged: %r", error)
                await self.sleep(next(waits))
                continue
            for received, (one, outcome) in zip(messages, results, strict=True):
                self._count(outcome)
                self._answer(client, received.message, one, outcome)
            client.done(messages)
            return

    def _read(self, message: Message, received_at: str) -> Event | Refusal:
        try:
            event = read_event(message, self._limits, received_at)
        except InvalidEnvelope as error:
            return invalid(error)
        errors = self._event_types.errors(event)
        return misfit(event, errors) if errors else event

    async def _submit(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Raises what GroupCommit.submit raises: then the same events may be submitted again."""
        if not events:
            return []
        while self._backlog is not None and self._backlog.retry_after_seconds is not None and not self.should_stop:
            self.throttled.warning("Messages of devices wait, not acknowledged: the outbox is full.")
            await self.sleep(MOST_WAIT_SECONDS)
        return await self._group_commit.submit(events)

    async def _keep_refused(
        self, messages: Sequence[IncomingMessage], results: Sequence[tuple[Event | Refusal, Outcome | None]]
    ) -> None:
        letters = [
            _letter(received.message, one)
            for received, (one, _) in zip(messages, results, strict=True)
            if isinstance(one, Refusal)
        ]
        if letters:
            async with self._database.acquire() as connection:
                await dead_letters.keep(connection, letters)

    def _count(self, outcome: Outcome | None) -> None:
        if outcome is Outcome.ACCEPTED:
            self.counts.accepted += 1
        elif outcome is Outcome.DUPLICATE:
            self.counts.duplicate += 1
        else:
            self.counts.rejected += 1

    def _answer(self, client: MqttClient, message: Message, one: Event | Refusal, outcome: Outcome | None) -> None:
        topic = answer_topic(message) if message.response_topic else None
        if topic is None:
            return
        if isinstance(one, Refusal):
            sent = client.answer(topic, bytes(one.body()), PROBLEM, message.correlation_data)
        else:
            assert outcome is not None
            sent = client.answer(topic, taken_body(one, outcome), JSON, message.correlation_data)
        if not sent:
            self.throttled.warning("%s takes answers too slowly; some are left out.", self._address)


def _with_outcomes(
    taken: Sequence[Event | Refusal], outcomes: Sequence[Outcome]
) -> list[tuple[Event | Refusal, Outcome | None]]:
    """Events that are kept, with their outcome; refusals without one."""
    left = iter(outcomes)
    results: list[tuple[Event | Refusal, Outcome | None]] = []
    for one in taken:
        outcome = next(left) if isinstance(one, Event) else None
        refusal = None if outcome is None else REFUSED.get(outcome)
        results.append((one, outcome) if refusal is None else (refusal, None))
    return results


def _letter(message: Message, refusal: Refusal) -> Letter:
    reason = "; ".join(f"{error.pointer}: {error.detail}".removeprefix(": ") for error in refusal.errors)
    # A broker lets no NUL into a topic, but one that is told so is not proof.
    topic = message.topic.replace("\0", "�")
    return Letter(topic, message.payload, refusal.code, reason or refusal.detail, bytes(refusal.body()).decode())
