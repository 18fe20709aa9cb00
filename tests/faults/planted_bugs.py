"""The bugs that the suite must find: what is edited, which fault makes it bite, and what the checker must name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tests.checking.findings import Finding, Kind
from tests.faults import scenarios
from tests.faults.planted_system import PlantedSystem
from tests.faults.planting import Edit

Scenario = Callable[[PlantedSystem], Awaitable[list[Finding]]]


class PlantedBug(NamedTuple):
    """A mistake somebody could make."""

    name: str
    edits: tuple[Edit, ...]
    scenario: Scenario
    kind: Kind
    where: str
    setting: tuple[Edit, ...] = ()
    """Edits without which the scenario has nothing to show, in the copy with the bug and in that without: a handler
    that fails, or a second line of defence out of the way."""


BUGS = (
    PlantedBug(
        "the relay deletes before it publishes",
        (
            Edit(
                "agents/relay/relay.py",
                "            elif await self._publish(connection, events):\n",
                "            else:\n"
                "                await outbox.delete(connection, [event.seq for event in events])\n"
                "                await self._publish(connection, events)\n",
            ),
        ),
        scenarios.killed_in_publishing,
        Kind.LOST,
        "topic",
    ),
    PlantedBug(
        "two relays share the outbox by SKIP LOCKED",
        (
            Edit(
                "tables/intake/outbox.py", "fetchval(TRY_LOCK, key)", "fetchval('SELECT $1::bigint IS NOT NULL', key)"
            ),
            Edit("tables/intake/outbox.py", "WHERE o.seq <> ALL ($1::bigint[])", "WHERE o.seq = ANY ($1::bigint[])"),
            Edit(
                "agents/relay/relay.py",
                "            if RELAY_STORING.armed:\n",
                "            claim = connection.transaction()\n"
                "            await claim.start()\n"
                "            claimed = 'SELECT seq FROM outbox ORDER BY seq LIMIT 10 FOR UPDATE SKIP LOCKED'\n"
                "            published = [row['seq'] for row in await connection.fetch(claimed)]\n"
                "            if RELAY_STORING.armed:\n",
            ),
            Edit(
                "agents/relay/relay.py",
                "            if not events:\n",
                "            if not events:\n                await claim.rollback()\n",
            ),
            Edit(
                "agents/relay/relay.py",
                "                published = [event.seq for event in events]\n",
                "                await claim.commit()\n",
            ),
        ),
        scenarios.one_of_two_relays_is_slow,
        Kind.REORDERED,
        "event store",
    ),
    PlantedBug(
        "a position comes from a sequence in the publishing transaction",
        (
            Edit(
                "tables/intake/outbox.py",
                "UPDATE relay_state SET last_position = last_position + (SELECT count(*) FROM waiting)",
                "UPDATE relay_state SET last_position ="
                " setval('planted', nextval('planted') - 1 + (SELECT count(*) FROM waiting))",
            ),
            Edit(
                "agents/relay/relay.py",
                "            events = await outbox.store_next(connection, published, ",
                "            publishing = connection.transaction()\n"
                "            await publishing.start()\n"
                "            events = await outbox.store_next(connection, published, ",
            ),
            Edit(
                "agents/relay/relay.py",
                "            if not events:\n",
                "            if not events:\n                await publishing.commit()\n",
            ),
            Edit(
                "agents/relay/relay.py",
                "                published = [event.seq for event in events]\n",
                "                published = [event.seq for event in events]\n"
                "                await publishing.commit()\n",
            ),
        ),
        scenarios.killed_after_publishing,
        Kind.DUPLICATED,
        "topic",
    ),
    PlantedBug(
        "a fetch is acknowledged before it is committed",
        (
            Edit(
                "agents/projector/projector.py",
                "            await projector.apply(event.value)\n            await stream.ack(event)\n",
                "            await stream.ack(event)\n            await projector.apply(event.value)\n",
            ),
            # Otherwise the events are read from the event store some seconds later.
            Edit("agents/projector/undelivered_events.py", "QUIET_SECONDS = 3.0", "QUIET_SECONDS = 3_600.0"),
        ),
        scenarios.a_second_event_handler_comes_and_dies,
        Kind.STALE,
        "progress",
    ),
    PlantedBug(
        "there is no fence of progress",
        (
            Edit("tables/projections/writing.py", " AND progress.position < m.first\n", "\n"),
            Edit(
                "headrace/folding/row_cache.py",
                "        if position > (progress[partition] if last is None else last):\n",
                "        if True:\n",
            ),
        ),
        scenarios.killed_after_the_projection_is_committed,
        Kind.DUPLICATED,
        "projections",
        setting=scenarios.ONLY_THE_TOPIC,
    ),
    PlantedBug(
        "the relay rests on LISTEN alone",
        (
            Edit(
                "agents/relay/relay.py",
                "await self._wake_up.wait(self._watchdog_seconds)",
                "await self._wake_up.wait(86_400)",
            ),
            Edit(
                "agents/relay/outbox_listener.py",
                "        await connection.execute(database.HEARTBEAT, timeout=TIMEOUT_SECONDS)\n",
                "        return\n",
            ),
        ),
        scenarios.the_listening_connection_hears_nothing,
        Kind.STALE,
        "outbox",
        # PostgreSQL would end the session of a relay that waits indefinitely, and another relay would take over.
        setting=(Edit("agents/relay/relay.py", "IDLE_TIMEOUT_SECONDS = 20.0\n", "IDLE_TIMEOUT_SECONDS = 86_400.0\n"),),
    ),
    PlantedBug(
        "the door answers before the commit",
        (
            Edit(
                "tables/intake/group_commit.py",
                "                group = self._take_group()\n",
                "                group = self._take_group()\n"
                "                for submission in group:\n"
                "                    submission.future.set_result(submission.outcomes)\n"
                "                await asyncio.sleep(0.02)\n",
            ),
        ),
        scenarios.killed_before_the_outbox_is_written,
        Kind.LOST,
        "event store",
    ),
    PlantedBug(
        "the followers of a parked event are applied",
        (
            Edit("headrace/folding/folding.py", "                blocked.block([Group(key)], event.position)\n", ""),
            Edit(
                "agents/projector/parking.py",
                "    blocked.block(await parked.blocked(connection, projection, groups), 0)\n",
                "",
            ),
        ),
        scenarios.one_event_is_poison,
        Kind.REORDERED,
        "parked",
        setting=scenarios.POISON,
    ),
    PlantedBug(
        "the epoch of a record is not checked",
        (
            Edit(
                "headrace/events/genuine_records.py",
                "        if record is not None and epoch in ends and record.position <= ends[epoch]:\n",
                "        if record is not None:\n",
            ),
        ),
        scenarios.restored_under_a_newer_topic,
        Kind.PHANTOM,
        "projections",
        setting=scenarios.ONLY_THE_TOPIC,
    ),
)
