"""What PostgreSQL was asked to execute, and by whom: its own log, as JSON."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.servers.own_postgres import OwnPostgres

EXECUTED = re.compile(r"(?:execute [^:]*|statement): (.*)", re.DOTALL)


async def log_statements(server: OwnPostgres, users: list[str]) -> None:
    """From their next sessions on, log all statements of these users."""
    await server.execute("ALTER SYSTEM SET log_destination = 'stderr,jsonlog'")
    await server.execute("SELECT pg_reload_conf()")
    for user in users:
        await server.execute(f"ALTER ROLE {user} SET log_statement = 'all'")


def statements(folder: Path) -> Mapping[str, set[str]]:
    """By user, the texts of the statements that were executed."""
    found: dict[str, set[str]] = defaultdict(set)
    for line in _lines(folder):
        if executed := EXECUTED.fullmatch(line.get("message", "")):
            found[line.get("user", "")].add(executed[1])
    return found


def refused(folder: Path) -> list[str]:
    """The statements that were refused for lack of rights."""
    return [f"{line.get('user')}: {line}" for line in _lines(folder) if line.get("state_code") == "42501"]


def _lines(folder: Path) -> Iterator[Any]:
    for file in sorted((folder / "postgres" / "log").glob("*.json")):
        for line in file.read_text("utf-8").splitlines():
            yield json.loads(line)
