"""Reads of one moment: a transaction that writes nothing. No other one can write meanwhile."""

from collections.abc import Awaitable, Mapping
from typing import Any

from swarm_persistence.engines.interface import Aggregate, AggregateRow
from swarm_persistence.engines.rows.indexeddb.sessions import IndexedDbSession
from swarm_persistence.query.query import Query
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import M, Table


class IndexedDbSnapshot:
    """The moment at which a transaction began: IndexedDB keeps no old state of what is written."""

    def __init__(self, session: IndexedDbSession) -> None:
        self._session = session

    def get(self, table: Table[M], id: str) -> Awaitable[M | None]:
        return self._session.get(table, id)

    def select(self, query: Query[M]) -> Awaitable[list[M]]:
        return self._session.select(query)

    def page(self, query: Query[M]) -> Awaitable[tuple[list[M], int]]:
        return self._session.page(query)

    def values(self, query: Query[Any], fields: tuple[str, ...]) -> Awaitable[list[Row]]:
        return self._session.values(query, fields)

    def count(self, query: Query[Any]) -> Awaitable[int]:
        return self._session.count(query)

    def aggregate(self, aggregate: Aggregate) -> Awaitable[list[AggregateRow]]:
        return self._session.aggregate(aggregate)

    def last_sequence(self, table: Table[Any], before: int | None = None) -> Awaitable[int]:
        return self._session.last_sequence(table, before)

    def numbers(self) -> Awaitable[Mapping[str, int]]:
        return self._session.numbers()

    async def close(self) -> None:
        await self._session.rollback()
