"""The rows of a projection, cached and in PostgreSQL; both paths that apply a batch read and write them here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from headrace.events.topic_record import Record
from headrace.folding.folding import Folding
from headrace.folding.row_cache import RowCache, rows_to_write
from headrace.folding.rows import ParkedEvent, ReadRow, Span
from headrace.process.fault_points import PROJECTOR_WRITING
from headrace.projection import Projection
from tables.database import AnyConnection
from tables.projections import writing

State = TypeVar("State")


class ProjectedRows(Generic[State]):
    """The fold of a projection, and the cache of its rows and progress."""

    def __init__(self, projection: Projection[State], *, max_state_bytes: int) -> None:
        self.name = projection.name
        self.folding = Folding(projection, max_state_bytes=max_state_bytes)
        self.cache: RowCache[State] = RowCache()
        self.seconds: float | None = None
        """The timeout of reads and writes of rows; None for the connection's."""
        self._epoch: int | None = None

    def use(self, epoch: int | None) -> None:
        """Write only while this epoch is open. What was cached in another one may be of another database."""
        if epoch != self._epoch:
            self.cache.forget()
            self._epoch = epoch

    def remember(self, keys: Iterable[str], found: Mapping[str, ReadRow]) -> None:
        """Cache the rows of these keys as they were read. Raises StateError if a row cannot be decoded."""
        for key in keys:
            self.cache.remember(key, self.folding.cached_row(found.get(key)))

    def states(self, keys: Iterable[str]) -> dict[str, State | None]:
        """The cached states of these keys, in a new dict that a fold may change."""
        return self.cache.states(keys)

    def restore(
        self,
        states: dict[str, State | None],
        found: Mapping[str, ReadRow],
        events: Sequence[Record],
        waiting: Sequence[ParkedEvent],
    ) -> None:
        """Undo what failing handlers did to `states` and to the cached rows, which were read as `found`.

        Raises StateError if a handler raises that did not before.
        """
        texts = {key: row.state for key, row in found.items()}
        self.remember(self.folding.restore(states, texts, events, waiting), found)

    async def write(
        self,
        connection: AnyConnection,
        spans: Mapping[int, Span],
        states: Mapping[str, State | None],
        changed: Mapping[str, int],
        *,
        if_none_is_parked: bool = False,
    ) -> None:
        """Write the changed rows and the progress in one statement, then cache the rows.

        Raises StateError as `StateJson.encode` does, and the errors of `tables.projections.writing.write`.
        """
        folding = self.folding
        rows, after = rows_to_write(self.cache, states, changed, folding.states, folding.max_state_bytes)
        if PROJECTOR_WRITING.armed:
            await PROJECTOR_WRITING.passed()
        await writing.write(
            connection,
            self.name,
            spans,
            rows,
            if_none_is_parked=if_none_is_parked,
            epoch=self._epoch,
            seconds=self.seconds,
        )
        for key, row in after.items():
            self.cache.remember(key, row)

    async def read_missing(self, connection: AnyConnection, keys: Iterable[str]) -> None:
        """Read and cache the rows that are not cached yet. Raises StateError if a row cannot be decoded."""
        if missing := self.cache.missing(keys):
            self.remember(missing, await writing.read_rows(connection, self.name, missing, seconds=self.seconds))
