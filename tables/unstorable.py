"""Errors with which PostgreSQL permanently refuses a value, and the bisection that finds the item that causes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import asyncpg

from headrace.errors import HeadraceError
from headrace.folding.state_json import StateError
from tables.database import is_away

Item = TypeVar("Item")

UNSTORABLE = (
    StateError,
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
"""PostgreSQL cannot store the value, or the row does not have the projection's state type: no retry helps."""


# What a server may answer to any statement, whatever is written: a missing right or table, or a standby.
_OF_THE_SERVER = (asyncpg.SyntaxOrAccessError, asyncpg.InvalidTransactionStateError)


def may_be_of_the_input(error: Exception) -> bool:
    """Whether what was written may have caused an unforeseen error, so that other input may be written."""
    return not (is_away(error) or isinstance(error, (*_OF_THE_SERVER, HeadraceError, MemoryError)))


class TooLargeError(HeadraceError):
    """The rows of several events are too large to be read or written together."""


async def halve(
    items: Sequence[Item],
    write: Callable[[Sequence[Item]], Awaitable[None]],
    set_aside: Callable[[Item, Exception], Awaitable[None]],
) -> None:
    """Write the items together; if they cannot be stored, or are too large together, write the halves, recursively.

    A single item that cannot be stored is passed to `set_aside` with its error. Other errors of `write` are raised.
    """
    try:
        await write(items)
    except UNSTORABLE as error:
        if len(items) == 1:
            await set_aside(items[0], error)
            return
    except TooLargeError:
        if len(items) == 1:
            raise
    else:
        return
    middle = len(items) // 2
    await halve(items[:middle], write, set_aside)
    await halve(items[middle:], write, set_aside)
