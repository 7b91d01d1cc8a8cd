"""The reads that an engine and its transactions have in common: each is one statement, run where they say."""

from collections.abc import Awaitable
from typing import Any, Generic, Protocol, TypeVar

from swarm_persistence.engines.interface import Aggregate, AggregateRow
from swarm_persistence.query.query import Query
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import M, Table

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class ReadPlans(Protocol[R_co]):
    """Compiles reads into what a driver runs."""

    def get(self, table: Table[Any], id: str) -> R_co:
        """Return what reads the record of an id."""
        ...

    def select(self, query: Query[Any]) -> R_co:
        """Return what reads a query's records."""
        ...

    def page(self, query: Query[Any]) -> R_co:
        """Return what reads a query's records and the sequence of the last."""
        ...

    def values(self, query: Query[Any], fields: tuple[str, ...]) -> R_co:
        """Return what reads some columns of a query's rows."""
        ...

    def count(self, query: Query[Any]) -> R_co:
        """Return what counts a query's rows."""
        ...

    def aggregate(self, aggregate: Aggregate) -> R_co:
        """Return what computes an aggregate."""
        ...

    def last_sequence(self, table: Table[Any], before: int | None) -> R_co:
        """Return what finds the highest sequence of a table, those of deleted rows included."""
        ...


class Reading(Generic[R]):
    """Compiles reads; whoever inherits it runs them."""

    _plans: ReadPlans[R]

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

    def last_sequence(self, table: Table[Any], before: int | None = None) -> Awaitable[int]:
        return self._read(self._plans.last_sequence(table, before))

    def _read(self, read: R) -> Awaitable[Any]:
        raise NotImplementedError
