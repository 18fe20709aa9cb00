"""The defaults of new sessions are such that two doors would accept an id twice, and commits would not be durable."""

from __future__ import annotations

from tests.faults.test_postgres import BACK_SECONDS, database_of
from tests.faults.trial import Trial
from tests.support.data.hostile_defaults import HOSTILE, SLOW, make_hostile
from tests.support.servers.own_postgres import OwnPostgres

TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'headrace'"


async def test_the_defaults_of_new_sessions_are_hostile(postgres_trial: Trial, own_postgres: OwnPostgres) -> None:
    """hostile session defaults: serializable, read-only, not synchronous, 1 ms for a statement, another schema"""
    trial = postgres_trial
    database = await database_of(trial)
    defaults = HOSTILE | {"default_transaction_isolation": "'serializable'"}
    defaults = {name: value for name, value in defaults.items() if name not in SLOW}
    await make_hostile(trial.dsn, database, defaults)
    workers = [await trial.start() for _ in range(2)]
    await trial.load(*workers)
    await own_postgres.execute("CREATE SCHEMA elsewhere AUTHORIZATION headrace", database)
    await make_hostile(trial.dsn, database, {"search_path": "elsewhere"})
    ended = 0
    for _ in range(3):
        await trial.note_under_way()
        ended += len(await own_postgres.column(TERMINATE, database))
        await trial.resumed("the end of all sessions", within=BACK_SECONDS)
    trial.bit(hostile_settings=len(defaults) + 1, sessions_ended=ended)
    assert (
        await own_postgres.column(
            "SELECT relname FROM pg_class WHERE relnamespace = 'elsewhere'::regnamespace", database
        )
        == []
    )
    await trial.verdict()
