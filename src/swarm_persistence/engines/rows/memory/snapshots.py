"""Reads of one moment: a copy of the tables, which shares the rows with them."""

from collections.abc import Mapping
from typing import Any

from swarm_persistence.engines.interface import Aggregate, AggregateRow
from swarm_persistence.engines.rows.aggregates import aggregate_rows
from swarm_persistence.engines.rows.evaluator import (
    columns_of_rows,
    count_of,
    last_sequence_of,
    page_of,
    rows_of,
    settled,
)
from swarm_persistence.engines.rows.tables import RowTable
from swarm_persistence.errors import ClosedError
from swarm_persistence.query.query import Query
from swarm_persistence.schema.codec import Row, codec_of
from swarm_persistence.schema.tables import M, Table


class MemorySnapshot:
    """A moment of the tables."""

    def __init__(self, tables: Mapping[str, RowTable]) -> None:
        """Copy the tables; called inside the gate."""
        self._tables: Mapping[str, RowTable] | None = {name: table.copy() for name, table in tables.items()}

    async def get(self, table: Table[M], id: str) -> M | None:
        row = self._table(table).get(id)
        return None if row is None else codec_of(table.model).decode(row)

    async def select(self, query: Query[M]) -> list[M]:
        return [*map(codec_of(query.table.model).decode, self._rows(query))]

    async def page(self, query: Query[M]) -> tuple[list[M], int]:
        return page_of(query.table, self._rows(query))

    async def values(self, query: Query[Any], fields: tuple[str, ...]) -> list[Row]:
        return columns_of_rows(query.table, self._rows(query), fields)

    async def count(self, query: Query[Any]) -> int:
        return count_of(self._table(query.table), settled(query, self._table))

    async def aggregate(self, aggregate: Aggregate) -> list[AggregateRow]:
        return aggregate_rows(self._table(aggregate.query.table), aggregate)

    async def last_sequence(self, table: Table[Any], before: int | None = None) -> int:
        return last_sequence_of(self._table(table), before)

    async def numbers(self) -> Mapping[str, int]:
        return {name: table.last_sequence for name, table in self._used().items()}

    async def close(self) -> None:
        self._tables = None

    def _rows(self, query: Query[Any]) -> list[Row]:
        return rows_of(self._table(query.table), settled(query, self._table))

    def _table(self, table: Table[Any]) -> RowTable:
        return self._used()[table.name]

    def _used(self) -> Mapping[str, RowTable]:
        if self._tables is None:
            raise ClosedError("the snapshot is closed")
        return self._tables
