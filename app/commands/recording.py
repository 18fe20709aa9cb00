"""What commands add to the access log: the caller is the user of this machine."""

from __future__ import annotations

import getpass
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headrace.access.access_log import Action, ActionOutcome, Entry
from headrace.errors import DependencyAwayError, HeadraceError
from tables.access import access_log
from tables.database import AnyConnection, Database


def host_user() -> str:
    """The user who runs the command; empty if the user has no name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def host_caller() -> str:
    """The caller of a command."""
    return f"host:{host_user()}"


@asynccontextmanager
async def recorded(place: AnyConnection | Database, action: Action, target: str) -> AsyncIterator[dict[str, str | int]]:
    """Add what is done in the body of `with` to the access log, also where it fails.

    The value is the detail of the entry. A command that is killed leaves no entry.
    """
    detail: dict[str, str | int] = {}
    outcome = ActionOutcome.FAILED
    try:
        yield detail
        outcome = ActionOutcome.DONE
    except HeadraceError as error:
        outcome = ActionOutcome.FAILED if isinstance(error, DependencyAwayError) else ActionOutcome.REFUSED
        raise
    finally:
        await _record(place, Entry(action, host_caller(), "", target, outcome, detail=detail))


async def _record(place: AnyConnection | Database, entry: Entry) -> None:
    if isinstance(place, Database):
        async with place.acquire() as connection:
            await access_log.record(connection, entry)
    else:
        await access_log.record(place, entry)
