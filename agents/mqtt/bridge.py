"""Device messages -> validation as in HTTP ingestion -> the outbox.

Guarantee: a message is acknowledged only after its event is committed in the outbox, or after the message is stored as
a dead letter. Acknowledgements are sent in the order of arrival.

While PostgreSQL is unavailable, the disk is full or the outbox is over its limit, nothing is acknowledged. The broker
keeps unsent messages, and redelivers those that a dead worker had not acknowledged. A redelivered event is a duplicate
by its source and id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from agents.background import Background
from agents.mqtt.client import MqttClient
from agents.mqtt.group_submission import GroupSubmission, with_outcomes
from agents.mqtt.paho_client import IncomingMessage
from headrace.events import rfc3339
from headrace.events.checked_event import checked
from headrace.events.device_sources import DeviceSources
from headrace.events.envelope import Limits, ParsedEvent
from headrace.events.intake_counts import IntakeCounts
from headrace.events.known_types import EventTypes
from headrace.events.mqtt_message import Message, answer_topic, read_event, size_of
from headrace.events.outcome import Outcome
from headrace.events.problem_document import CONTENT_TYPE as PROBLEM
from headrace.events.refusals import Refusal, taken_body
from headrace.process.action_log import ActionLog
from headrace.process.fault_points import MQTT_COMMITTED
from headrace.process.log_actions import LogAction
from headrace.process.mqtt_address import SHARE, MqttAddress
from headrace.process.parts import OK, Condition
from headrace.process.turns import Slices, off_the_loop
from headrace.process.waiting import backoff_seconds
from tables.database import Database
from tables.intake import dead_letters
from tables.intake.backlog import Backlog
from tables.intake.dead_letters import RefusedMessage
from tables.intake.group_commit import MAX_GROUP_EVENTS, GroupCommit

TOPICS = "devices/+/events"
JSON = "application/json"
MAX_WAIT_SECONDS = 2.0
START_WAIT_SECONDS = 3.0

log = ActionLog(__name__)


class MqttBridge(Background):
    """The subscriber of one worker. Each call of `run` is one connection."""

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
        sources: DeviceSources | None = None,
    ) -> None:
        """`sources`: those that a device may use; None: any."""
        super().__init__()
        self.counts = IntakeCounts()
        self._connected = asyncio.Event()
        self._address = address
        self._database = database
        self._submission = GroupSubmission(group_commit)
        self._event_types = event_types
        self._limits = limits
        self._sources = sources
        self._max_in_flight = max_in_flight
        self._backlog = backlog
        self._client: MqttClient | None = None
        self._refused_topics: dict[str, None] = {}

    @property
    def is_connected(self) -> bool:
        """Whether the bridge is connected and subscribed."""
        return self._connected.is_set()

    def condition(self) -> Condition:
        """Whether device messages are received."""
        if self.is_connected:
            return OK
        return Condition("away", f"not connected to {self._address.broker}")

    async def on_start(self) -> None:
        """Load the TLS files. Raises InvalidSettingError if a configured file cannot be used."""
        if self._address.tls:
            await asyncio.to_thread(self._address.tls_context)

    async def on_started(self) -> None:
        """Wait a few seconds for the subscription before the worker reports that it is ready.

        Before the first subscription, a broker acknowledges device messages and discards them.
        """
        try:
            async with asyncio.timeout(START_WAIT_SECONDS):
                await self._connected.wait()
        except TimeoutError:
            text = "No device messages until the MQTT broker at {broker} answers"
            log.warning(LogAction.MQTT_UNAVAILABLE, text, broker=self._address.broker)

    def log_unavailable(self, error: Exception) -> None:
        broker = self._address.broker
        text = "No device messages until the MQTT broker at {broker} answers: {error}"
        self.throttled.warning(LogAction.MQTT_UNAVAILABLE, text, broker=broker, error=error)

    def wake(self) -> None:
        if self._client is not None:
            self._client.wake()

    async def run(self) -> None:
        """Connect, and ingest messages until the connection has ended and all that it delivered are ingested."""
        own = f"$share/{self._address.share}/{TOPICS}"
        wanted = own if self._address.shared else TOPICS
        # What an earlier session may have left; earlier versions shared as `headrace`, whatever the password.
        unwanted = {TOPICS, own, f"$share/{SHARE}/{TOPICS}"} - {wanted}
        client = await MqttClient.connect(
            self._address,
            max_in_flight=self._max_in_flight,
            subscribe_to=wanted,
            unsubscribe_from=sorted(unwanted),
            refused_topics=self._refused_topics,
        )
        self._client = client
        self._connected.set()
        log.info(
            LogAction.MQTT_CONNECTED,
            "Connected to the MQTT broker at {broker} as {client_id}",
            broker=self._address.broker,
            client_id=self._address.client_id,
        )
        try:
            while not self.should_stop:
                messages = await client.receive(MAX_GROUP_EVENTS)
                if messages:
                    await self._ingest(client, messages)
                elif client.is_lost:
                    self.throttled.warning(
                        LogAction.MQTT_DISCONNECTED,
                        "The connection to the MQTT broker at {broker} is lost; reconnecting",
                        broker=self._address.broker,
                    )
                    return
        finally:
            self._connected.clear()
            await client.close()

    async def _ingest(self, client: MqttClient, messages: Sequence[IncomingMessage]) -> None:
        """Commit a group of messages, then respond to and acknowledge them; none of it if the worker stops first."""
        parsed = await self._read(messages)
        events = [one for one in parsed if isinstance(one, ParsedEvent)]
        outcomes: list[Outcome | Refusal] = []
        waits = backoff_seconds(most=MAX_WAIT_SECONDS)
        while not self.should_stop:
            try:
                await self._wait_for_room(len(events))
                await self._submission.submit(events, outcomes)
                results = with_outcomes(parsed, outcomes)
                await self._store_refused(messages, results)
                if MQTT_COMMITTED.armed:
                    await MQTT_COMMITTED.passed()
            except Exception as error:  # noqa: BLE001 - unacknowledged messages are not lost, whatever the error
                self._log_held(error)
                await self.sleep(next(waits))
                continue
            slices = Slices()
            for received, (one, outcome) in zip(messages, results, strict=True):
                self._count(outcome)
                self._respond(client, received.message, one, outcome)
                await slices.end_if_over()
            client.acknowledge(messages)
            return

    async def _read(self, messages: Sequence[IncomingMessage]) -> list[ParsedEvent | Refusal]:
        """Read messages without holding the event loop, in order.

        A message that cannot be handled becomes a dead letter: it would otherwise be redelivered indefinitely.
        """
        received_at = rfc3339.now()
        parsed: list[ParsedEvent | Refusal] = []
        slices = Slices()
        for received in messages:
            message = received.message
            read = partial(read_event, message, self._limits, received_at, self._sources)
            parsed.append(await off_the_loop(partial(checked, read, self._event_types), size_of(message)))
            await slices.end_if_over()
        return parsed

    async def _wait_for_room(self, events: int) -> None:
        """Wait for space in the outbox."""
        while (
            events
            and self._backlog is not None
            and self._backlog.retry_after_seconds is not None
            and not self.should_stop
        ):
            self._log_held("the outbox is full")
            await self.sleep(MAX_WAIT_SECONDS)

    async def _store_refused(
        self, messages: Sequence[IncomingMessage], results: Sequence[tuple[ParsedEvent | Refusal, Outcome | None]]
    ) -> None:
        letters: list[RefusedMessage] = []
        slices = Slices()
        for received, (one, _) in zip(messages, results, strict=True):
            if isinstance(one, Refusal):
                letters.append(_dead_letter(received.message, one))
                await slices.end_if_over()
        if letters:
            async with self._database.acquire() as connection:
                await dead_letters.store(connection, letters)

    def _count(self, outcome: Outcome | None) -> None:
        if outcome is Outcome.ACCEPTED:
            self.counts.accepted += 1
        elif outcome is Outcome.DUPLICATE:
            self.counts.duplicate += 1
        else:
            self.counts.rejected += 1

    def _respond(
        self, client: MqttClient, message: Message, one: ParsedEvent | Refusal, outcome: Outcome | None
    ) -> None:
        """Publish the answer. If it cannot be published, it is dropped: the message is already handled."""
        try:
            self._publish_answer(client, message, one, outcome)
        except Exception as error:  # noqa: BLE001 - for example a topic or correlation data that paho refuses
            self.throttled.warning(
                LogAction.MQTT_ANSWERS_DROPPED,
                "An answer to a device cannot be published to the MQTT broker at {broker}: {error}",
                broker=self._address.broker,
                error=error,
            )

    def _publish_answer(
        self, client: MqttClient, message: Message, one: ParsedEvent | Refusal, outcome: Outcome | None
    ) -> None:
        topic = answer_topic(message) if message.response_topic else None
        if topic is None:
            return
        if isinstance(one, Refusal):
            sent = client.respond(topic, bytes(one.body()), PROBLEM, message.correlation_data)
        else:
            assert outcome is not None
            sent = client.respond(topic, taken_body(one, outcome), JSON, message.correlation_data)
        if not sent:
            self.throttled.warning(
                LogAction.MQTT_ANSWERS_DROPPED,
                "The MQTT broker at {broker} reads too slowly; some answers to devices are dropped",
                broker=self._address.broker,
            )

    def _log_held(self, error: Exception | str) -> None:
        self.throttled.warning(LogAction.MQTT_HELD, "Holding device messages unacknowledged: {error}", error=error)


def _dead_letter(message: Message, refusal: Refusal) -> RefusedMessage:
    reason = "; ".join(f"{error.pointer}: {error.detail}".removeprefix(": ") for error in refusal.errors)
    return RefusedMessage(
        message.topic, message.payload, refusal.code, reason or refusal.detail, bytes(refusal.body()).decode()
    )
