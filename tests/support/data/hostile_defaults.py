"""Session settings that nobody would choose for Headrace, and that its database or its role may have."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

# Also those that do no harm: docs/deployment.md says why.
HOSTILE = {
    "default_transaction_isolation": "'repeatable read'",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "synchronous_commit": "off",
    "row_security": "on",
    "exit_on_error": "on",
    "statement_timeout": "'1ms'",
    "lock_timeout": "'1ms'",
    "idle_in_transaction_session_timeout": "'1ms'",
    "idle_session_timeout": "'100ms'",
    "transaction_timeout": "'500ms'",
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
    "timezone": "'Asia/Kolkata'",
    "datestyle": "'German, DMY'",
    "intervalstyle": "'sql_standard'",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "client_encoding": "LATIN1",
    "client_min_messages": "debug1",
    "session_replication_role": "replica",
    "array_nulls": "off",
    "quote_all_identifiers": "on",
    "check_function_bodies": "off",
    "xmloption": "document",
    "jit": "on",
    "jit_above_cost": "0",
    "plan_cache_mode": "force_generic_plan",
    "enable_indexscan": "off",
    "enable_nestloop": "off",
    "enable_sort": "off",
    "debug_parallel_query": "on",
    "work_mem": "'64kB'",
    "lc_messages": "'C'",
}
"""Values as SQL, by name."""


SLOW = frozenset(
    {
        "jit",
        "jit_above_cost",
        "plan_cache_mode",
        "enable_indexscan",
        "enable_nestloop",
        "enable_sort",
        "debug_parallel_query",
    }
    | {"client_min_messages", "transaction_timeout"}
)
"""Those that change nothing but how long statements take, or that the questions of tests cannot bear."""


async def make_hostile(dsn: str, database: str, defaults: Mapping[str, str] = HOSTILE) -> None:
    """Set them for new sessions of the role `headrace` in the database. `dsn`: an address that a superuser may use."""
    superuser = await asyncpg.connect(dsn, user="postgres", timeout=20, command_timeout=20)
    try:
        for name, value in defaults.items():
            await superuser.execute(f"ALTER ROLE headrace IN DATABASE {database} SET {name} = {value}")
    finally:
        await superuser.close(timeout=5)
