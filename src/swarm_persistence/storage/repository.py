"""The repository: the records of one model, by id and by query."""

from collections.abc import AsyncIterator
from typing import Generic

from swarm_persistence.engines.reads import Count, Page, Select
from swarm_persistence.engines.steps import Delete, Step
from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.models import AgentModel, TaskModel
from swarm_persistence.query.builder import QueryBuilder, bound
from swarm_persistence.query.query import Condition, Query, unexpired, without_expired
from swarm_persistence.schema.tables import SEQUENCE, M, table_of
from swarm_persistence.storage.agents import steps_to_delete_agent
from swarm_persistence.storage.core import StorageCore, by_id
from swarm_persistence.storage.deletions import delete_task
from swarm_persistence.storage.pickling import NotPicklable
from swarm_persistence.storage.rewriting import save, update


class Repository(NotPicklable, Generic[M]):
    """The records of one model. Joins the transaction of the calling task, as the storage's methods do."""

    def __init__(self, storage: StorageCore, model: type[M]) -> None:
        self._storage = storage
        self._table = table_of(model)

    async def find_by_id(self, id: str) -> M | None:
        """Return the record, or `None` if there is none with this id."""
        return await self._storage._get(self._table, id)

    async def find_all(self) -> list[M]:
        """Return all records in the order in which they were stored."""
        return await self._storage._executor().read(Select(Query(self._table, unexpired(self._table))))

    async def save(self, entity: M) -> None:
        """Store the record, or replace the stored one of its id.

        Raises:
            ConflictError: the stored record has changed since this copy was read.
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        await save(self._storage, self._table, entity)

    async def update(self, entity: M) -> None:
        """Replace the stored record of this id.

        Raises:
            NotFoundError: no record has this id.
            ConflictError: the stored record has changed since this copy was read.
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        await update(self._storage, self._table, entity)

    async def delete(self, id: str) -> None:
        """Delete the record, if it exists.

        An agent's unfinished tasks become pending again. The tasks that wait for a deleted one fail, as if it had been
        cancelled, unless their `fails_with_dependencies` is false: these wait for a task of its id.
        """
        if self._table.model is TaskModel:
            await delete_task(self._storage, id)
            return
        is_agent = self._table.model is AgentModel
        steps: list[Step] = steps_to_delete_agent(id) if is_agent else [Delete(by_id(self._table, id))]
        await self._storage._executor().write(steps)

    async def query(self, builder: QueryBuilder[M]) -> list[M]:
        """Return the records that match the query, in its order."""
        return await self._storage._executor().read(Select(self._query_of(builder)))

    async def iterate(self, builder: QueryBuilder[M] | None = None, *, batch_size: int = 1000) -> AsyncIterator[M]:
        """Yield the records that match the query's conditions, or all, in the order in which they were stored.

        Reads in batches, so that memory use does not grow with the table. Each batch is a separate snapshot: outside of
        a transaction, records that are stored meanwhile are yielded as well.

        Raises:
            InvalidQueryError: the query has an order, a limit or an offset, which a batch could not keep.

        """
        async for batch in self.batches(builder, batch_size=batch_size):
            for record in batch:
                yield record

    async def batches(
        self, builder: QueryBuilder[M] | None = None, *, batch_size: int = 1000
    ) -> AsyncIterator[list[M]]:
        """Yield the records of `iterate` in batches."""
        query = self._query_of(QueryBuilder(self._table.model) if builder is None else builder)
        if query.order or query.limit is not None or query.offset:
            raise InvalidQueryError("records are iterated in the order of their arrival; leave order, limit and offset")
        if bound("batch_size", batch_size) == 0:
            raise InvalidQueryError("batch_size is 0, expected 1 or more")
        last = 0
        while True:
            conditions = (*query.conditions, Condition(SEQUENCE, ">", last))
            page = Query(self._table, conditions, limit=batch_size)
            batch, last = await self._storage._executor().read(Page(page))
            if batch:
                yield batch
            if len(batch) < batch_size:
                return

    async def count(self, builder: QueryBuilder[M] | None = None) -> int:
        """Count the records that match the query's conditions, or all; its limit and offset are ignored."""
        query = self._query_of(QueryBuilder(self._table.model) if builder is None else builder)
        return await self._storage._executor().read(Count(query))

    def _query_of(self, builder: QueryBuilder[M]) -> Query[M]:
        if not isinstance(builder, QueryBuilder):
            raise InvalidQueryError(f"the query is {shown(builder)}, expected a QueryBuilder")
        if builder.query.table is not self._table:
            wanted, given = self._table.model.__name__, builder.query.table.model.__name__
            raise InvalidQueryError(f"this repository holds {wanted} records, and the query is for {given}")
        return without_expired(builder.query)
