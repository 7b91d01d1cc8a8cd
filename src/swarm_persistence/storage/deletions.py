"""The verbs that delete many records: those that match a query, and all of a group; in short writes."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from swarm_persistence.engines.reads import Aggregate, AggregateFunction, Count, Values
from swarm_persistence.engines.steps import Delete, IfNone, LockRows, Step
from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence.query.collections import collection_argument, collections_below
from swarm_persistence.query.query import Condition, Query, one_of, without_expired
from swarm_persistence.schema.tables import AGENTS, DOCUMENTS, PUBLIC_TABLES, SCHEDULES, TASK_LINKS, TASKS, M, Table
from swarm_persistence.schema.values import decode_json, identifier
from swarm_persistence.storage.agents import step_to_delete_agent
from swarm_persistence.storage.arguments import flag, several
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.dependencies import waiting_for
from swarm_persistence.storage.document_lists import DocumentListVerbs
from swarm_persistence.storage.failures import fail_dependents
from swarm_persistence.storage.passes import SPAN, UNBOUNDED, batches_of_ids
from swarm_persistence.storage.readable import readable_values


class Erased(msgspec.Struct, frozen=True):
    """The number of records that `erase` has deleted, or would delete, by kind: a field for each table with a group."""

    tasks: int = 0
    agents: int = 0
    events: int = 0
    messages: int = 0
    metrics: int = 0
    documents: int = 0
    schedules: int = 0


# Tasks first: those of a deleted agent would become pending.
_OF_GROUPS = sorted((table for table in PUBLIC_TABLES if table.has_group), key=lambda table: table is not TASKS)


class DeletionVerbs(DocumentListVerbs):
    """Deletion of many records."""

    async def delete_where(self, query: QueryBuilder[M], *, dry_run: bool = False) -> int:
        """Delete the records that match the query's conditions, the last first, and return how many.

        With `dry_run`, count them, and delete nothing.

        The effect is that of deleting each record by itself: the tasks that wait for a deleted task fail, as if that
        had been cancelled, and the unfinished tasks of a deleted agent become pending again. Records that are stored,
        or start to match, during the call may be left.

        Each batch is a separate write, between which others can write; if the call is cancelled, what was deleted so
        far stays deleted. Within a transaction, all of it belongs to the transaction.

        Raises:
            InvalidQueryError: the query has no condition, which would delete all records, or it has an order, a limit
                or an offset.

        """
        if not isinstance(query, QueryBuilder):
            raise InvalidQueryError(f"the query is {shown(query)}, expected a QueryBuilder")
        wanted = query.query
        if wanted.order or wanted.limit is not None or wanted.offset:
            raise InvalidQueryError("all records that match a query are deleted; leave order, limit and offset")
        if not wanted.conditions:
            raise InvalidQueryError(
                "the query has no condition and would delete all records; to do that, add where_not_null('id')"
            )
        matching = without_expired(wanted)
        if flag(dry_run, "dry_run"):
            return await self._executor().read(Count(matching))
        is_by_id = any(each.field == "id" and each.operator in ("=", "IN") for each in wanted.conditions)
        return await self._delete_all(wanted.table, matching.conditions, UNBOUNDED if is_by_id else SPAN)

    async def erase(self, group: str, *, collections: Iterable[Sequence[str]] = (), dry_run: bool = False) -> Erased:
        """Delete all tasks, agents, events, messages and metrics of a group, and return how many.

        Schedules whose tasks have the group are deleted as well. Documents have no group: those of the given
        `collections`, and of the collections below these, are deleted. Dependents in other groups fail, and other
        groups' tasks that a deleted agent holds become pending again, as with `delete_where`.

        It runs in short writes, as `delete_where` does. After an interruption, call it again to delete the rest.
        Records that the group's own programs store during the call may be left, so stop those programs first. With
        `dry_run`, count, and delete nothing.

        Raises:
            SerializationError: the group is not text, or is empty.

        """
        name = identifier(group, "group")
        within = several(collections, "collections", "a list of collections")
        for place, path in enumerate(within):
            if not collection_argument(path, f"collections[{place}]"):
                raise InvalidQueryError(f"collections[{place}] is {shown(path)}, which all documents lie below")
        is_of_group = (Condition("group", "=", name),)
        if flag(dry_run, "dry_run"):
            return await self._erasable(name, is_of_group, within)
        # First: a schedule would store new tasks of the group.
        ids = await self._schedules_of(name)
        schedules = await delete_rows(self, SCHEDULES, ids, ()) if ids else 0
        counts = {table.name: await self._delete_all(table, is_of_group, UNBOUNDED) for table in _OF_GROUPS}
        documents = sum([await self.delete_documents(path, below=True) for path in within])
        return Erased(**counts, documents=documents, schedules=schedules)

    async def _erasable(
        self, group: str, is_of_group: tuple[Condition, ...], collections: Sequence[Sequence[str]]
    ) -> Erased:
        async def count(table: Table[Any], conditions: tuple[Condition, ...]) -> int:
            return await self._executor().read(Count(without_expired(Query(table, conditions))))

        paths = {tuple(path) for path in collections}
        # Of two collections, one below the other, the lower one is within the upper one.
        upper = [path for path in paths if not any(path[:length] in paths for length in range(len(path)))]
        documents = [await count(DOCUMENTS, collections_below(collection_argument(path))) for path in upper]
        counts = {table.name: await count(table, is_of_group) for table in _OF_GROUPS}
        return Erased(**counts, documents=sum(documents), schedules=len(await self._schedules_of(group)))

    async def _schedules_of(self, group: str) -> list[str]:
        rows, _ = await readable_values(self._executor(), Query(SCHEDULES), ("id", "task_fields"))
        return [str(id) for id, fields in rows if decode_json(fields).get("group") == group]

    async def _delete_all(self, table: Table[Any], conditions: tuple[Condition, ...], span: int) -> int:
        # The last first: dependents are mostly stored after their dependencies, and need not fail if both are deleted.
        batches = batches_of_ids(self, table, conditions, from_last=True, span=span)
        return sum([await delete_rows(self, table, ids, conditions) async for ids in batches])


async def delete_rows(
    core: StorageCore, table: Table[Any], ids: Sequence[str], conditions: tuple[Condition, ...]
) -> int:
    """Delete those of these rows that still match the conditions, with what belongs to them; return how many."""
    if table is TASKS:
        return await delete_tasks(core, ids, conditions)
    if table is AGENTS:
        return sum(await core._executor().write([step_to_delete_agent(id, conditions) for id in ids]))
    return int(await core._write_one(Delete(Query(table, (one_of("id", ids), *conditions)))))


_COUNT = (AggregateFunction("count"),)


async def delete_task(core: StorageCore, id: str) -> None:
    """Delete a task, if it is stored; the tasks that wait for it fail as if it had been cancelled."""
    await delete_tasks(core, [identifier(id, TASKS.id_field)])


async def delete_tasks(core: StorageCore, ids: Sequence[str], conditions: Sequence[Condition] = ()) -> int:
    """Delete those of these tasks that match the conditions, atomically, and return how many.

    The tasks that wait for one of them, and are not among them, fail as if it had been cancelled.
    """
    lock = LockRows(TASKS, exclusive=tuple(ids))
    tasks, links = Query(TASKS, (one_of("id", ids), *conditions)), Query(TASK_LINKS, (one_of("task_id", ids),))
    # Only links of deleted tasks are deleted: with conditions, that takes a read of the tasks.
    steps: tuple[Step, ...] = (Delete(tasks), Delete(links))
    plain = IfNone(links, (Delete(tasks),)) if conditions else None
    _, results = await core._executor().write([lock, IfNone(waiting_for(ids), steps if plain is None else (plain,))])
    first = None if results is None else results[0]
    if first is not None:
        return int(first[0] if plain is not None else first)

    async def delete() -> int:
        executor = core._executor()
        await executor.write([lock])
        found = [str(row[0]) for row in await executor.read(Values(tasks, ("id",)))]
        if not found:
            return 0
        those, theirs = Query(TASKS, (one_of("id", found),)), Query(TASK_LINKS, (one_of("task_id", found),))
        await executor.write([Delete(those), Delete(theirs)])
        for id, _ in await executor.read(Aggregate(waiting_for(found), ("dependency_id",), _COUNT)):
            await fail_dependents(executor, str(id), "was deleted")
        return len(found)

    return await core._as_one(delete)
