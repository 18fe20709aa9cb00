"""Errors with which PostgreSQL refuses what it is given, whatever is retried, and the search for what causes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import asyncpg

from headrace.folding.state_json import StateError

Item = TypeVar("Item")

UNSTORABLE = (
    StateError,
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
"""PostgreSQL cannot hold the value, or the row is not of the projection's state type: no retry helps."""


async def halve(
    items: Sequence[Item],
    write: Callable[[Sequence[Item]], Awaitable[None]],
    set_aside: Callable[[Item, Exception], Awaitable[None]],
) -> None:
    """Write the items together; if they cannot be stored, write the halves, down to the one item that is set aside with
    its error. Raises what `write` raises for other reasons.
    """
    try:
        await write(items)
    except UNSTORABLE as error:
        if len(items) == 1:
            await set_aside(items[0], error)
            return
        middle = len(items) // 2
        await halve(items[:middle], write, set_aside)
        await halve(items[middle:], write, set_aside)
