"""The reads that the engine and its transactions have in common: each is one statement, run where they say."""

from collections.abc import Awaitable
from typing import Any

from swarm_persistence.engines.interface import Aggregate, AggregateRow
from swarm_persistence.engines.sql.postgres.acts import Act
from swarm_persistence.engines.sql.postgres.plans import Plans
from swarm_persistence.query.query import Query
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import M, Table


class Reading:
    """Compiles reads; whoever inherits it runs them."""

    _plans: Plans

    def get(self, table: Table[M], id: str) -> Awaitable[M | None]:
        return self._read(self._plans.get(table, id))

    def select(self, query: Query[M]) -> Awaitable[list[M]]:
        return self._read(self._plans.select(query))

    def page(self, query: Query[M]) -> Awaitable[tuple[list[M], int]]:
        return self._read(self._plans.page(query))

    def values(self, query: Query[Any], fields: tuple[str, ...]) -> Awaitable[list[Row]]:
        return self._read(self._plans.values(query, fields))

    def count(self, query: Query[Any]) -> Awaitable[int]:
        return self._read(self._plans.count(query))

    def aggregate(self, aggregate: Aggregate) -> Awaitable[list[AggregateRow]]:
        return self._read(self._plans.aggregate(aggregate))

    def _read(self, act: Act) -> Awaitable[Any]:
        raise NotImplementedError
