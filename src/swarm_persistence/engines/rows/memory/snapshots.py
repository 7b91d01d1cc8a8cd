"""A snapshot: a copy of the tables, which shares their rows."""

from collections.abc import Mapping
from typing import Any, TypeVar

from swarm_persistence.engines.reads import Read
from swarm_persistence.engines.rows.reading import evaluate, finish
from swarm_persistence.engines.rows.tables import RowTable
from swarm_persistence.errors import ClosedError
from swarm_persistence.schema.tables import Table

T = TypeVar("T")


class MemorySnapshot:
    """The tables as they were when the snapshot was taken."""

    def __init__(self, tables: Mapping[str, RowTable]) -> None:
        """Copy the tables; called under the lock."""
        self._tables: Mapping[str, RowTable] | None = {name: table.copy() for name, table in tables.items()}

    async def read(self, read: Read[T]) -> T:
        result: T = finish(read, evaluate(read, self._table))
        return result

    async def numbers(self) -> Mapping[str, int]:
        return {name: table.last_sequence for name, table in self._used().items()}

    async def close(self) -> None:
        self._tables = None

    def _table(self, table: Table[Any]) -> RowTable:
        return self._used()[table.name]

    def _used(self) -> Mapping[str, RowTable]:
        if self._tables is None:
            raise ClosedError("the snapshot is closed")
        return self._tables
