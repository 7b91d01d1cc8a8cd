"""The verb that deletes old records, in batches small enough not to block other writers for long."""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from swarm_persistence.durations import seconds
from swarm_persistence.engines.reads import Count, Values
from swarm_persistence.engines.steps import Delete, IfChanged, IfNone, LockRows, Step
from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.models import AgentStatus, TaskStatus
from swarm_persistence.query.query import Condition, FromNow, Order, Query, one_of
from swarm_persistence.query.task_statuses import FINISHED, IS_UNFINISHED
from swarm_persistence.query.values import query_value
from swarm_persistence.schema.tables import (
    AGENTS,
    DOCUMENTS,
    EVENTS,
    MESSAGES,
    METRICS,
    TASK_LINKS,
    TASKS,
    UNMET_DEPENDENCIES,
    Table,
)
from swarm_persistence.storage.arguments import flag, several
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.deletions import delete_rows
from swarm_persistence.storage.dependencies import dependents_of, waiting_for
from swarm_persistence.storage.passes import BATCH, batches_of_ids
from swarm_persistence.storage.readable import readable_values


class Pruned(msgspec.Struct, frozen=True):
    """The number of records that `prune` has deleted, by kind."""

    tasks: int = 0
    events: int = 0
    messages: int = 0
    metrics: int = 0
    documents: int = 0
    agents: int = 0


class PruningVerbs(StorageCore):
    """Housekeeping: delete old records."""

    async def prune(
        self,
        older_than: float | timedelta | datetime,
        *,
        tasks: bool = True,
        events: bool = True,
        messages: bool = True,
        metrics: bool = True,
        documents: bool = True,
        agents: bool = True,
        task_statuses: Iterable[TaskStatus | str] = FINISHED,
        dry_run: bool = False,
    ) -> Pruned:
        """Delete old records that are finished or handled, and return how many.

        `older_than` is an aware datetime, or an age (seconds or a timedelta) before the present time of the database's
        clock. Deleted are: finished tasks, by the time when they were completed, failed or cancelled; events; messages
        that are read or acknowledged; metrics; documents that have expired, whatever their age; agents in shutdown, by
        their last update. A finished task with unfinished dependents is kept. A task that is stored later and depends
        on a deleted one waits until a task of that id is stored and completed, as for every unknown id.

        The end of a task is stamped by the same clock as the age; only a task that was stored or updated as finished
        has the times of its record. Events, messages and metrics have the `timestamp` of the program that created them:
        if its clock is behind, they are deleted earlier.

        With `dry_run`, nothing is deleted: it returns how many records would be. It reads as the deletion does, and
        takes no write lock.

        Each batch is a separate write, between which others can write; if the call is cancelled, what was deleted so
        far stays deleted. Within a transaction, all of it belongs to the transaction.

        Raises:
            InvalidQueryError: an argument is invalid, or a status is not one of a finished task.

        """
        limit = _limit(older_than)
        finished = _finished(task_statuses)
        for value, name in ((tasks, "tasks"), (events, "events"), (messages, "messages"), (metrics, "metrics")):
            flag(value, name)
        flag(documents, "documents")
        flag(agents, "agents")
        flag(dry_run, "dry_run")
        prune = self._count if dry_run else self._prune
        prune_expired = self._count_expired if dry_run else self._prune_expired
        return Pruned(
            tasks=await prune(TASKS, *_finished_before(finished, limit)) if tasks else 0,
            events=await prune(EVENTS, (_before("timestamp", limit),)) if events else 0,
            messages=await prune(MESSAGES, *_handled_before(limit)) if messages else 0,
            metrics=await prune(METRICS, (_before("timestamp", limit),)) if metrics else 0,
            documents=await prune_expired() if documents else 0,
            agents=await prune(AGENTS, (_IS_SHUT_DOWN, _before("updated_at", limit))) if agents else 0,
        )

    async def _count(self, table: Table[Any], *stale: tuple[Condition, ...]) -> int:
        """Count what `_prune` would delete, along the same pass."""
        count = 0
        for conditions in stale:
            async for ids in batches_of_ids(self, table, conditions):
                count += len(ids) - (len(await self._needed(ids)) if table is TASKS else 0)
        return count

    async def _count_expired(self) -> int:
        return await self._executor().read(Count(Query(DOCUMENTS, (Condition("expires_at", "<=", FromNow()),))))

    async def _prune(self, table: Table[Any], *stale: tuple[Condition, ...]) -> int:
        # A dropped partition could not be rolled back.
        dropped = 0 if self._scope() is not None else await self._engine_outside().drop_parts(table, stale)
        return dropped + sum([await self._prune_all(table, conditions) for conditions in stale])

    async def _prune_all(self, table: Table[Any], stale: tuple[Condition, ...]) -> int:
        deleted = 0
        async for ids in batches_of_ids(self, table, stale):
            deleted += await (
                self._delete_tasks(ids, stale) if table is TASKS else delete_rows(self, table, ids, stale)
            )
        return deleted

    async def _prune_expired(self) -> int:
        """Delete expired documents along the index of their expiry."""
        expired = Condition("expires_at", "<=", FromNow())
        deleted = 0
        while True:
            query = Query(DOCUMENTS, (expired,), (Order("expires_at"),), BATCH)
            rows, _ = await readable_values(self._executor(), query, ("id",))
            if rows:
                deleted += await delete_rows(self, DOCUMENTS, [row[0] for row in rows], (expired,))
            if len(rows) < BATCH:
                return deleted
            await asyncio.sleep(0)  # in memory, nothing else yields to other tasks

    async def _delete_tasks(self, ids: list[str], stale: tuple[Condition, ...]) -> int:
        """Delete tasks and their links, except tasks with unfinished dependents."""
        while True:
            needed = await self._needed(ids)
            ids = [id for id in ids if id not in needed]
            if not ids:
                return 0
            linked = await self._executor().read(
                Values(Query(TASKS, (one_of("id", ids), Condition(UNMET_DEPENDENCIES, ">", 0))), ("id",))
            )
            without_links = (one_of("id", ids), Condition(UNMET_DEPENDENCIES, "=", 0), *stale)
            steps = (Delete(Query(TASKS, without_links)), *(_with_links(str(row[0]), stale) for row in linked))
            # A dependent of one of them may be stored meanwhile.
            lock = LockRows(TASKS, exclusive=tuple(ids), skips_missing=True)
            still_unneeded = IfNone(dependents_of(ids, IS_UNFINISHED), steps)
            results: list[int] | None
            _, results = await self._executor().write([lock, still_unneeded])
            if results is not None:
                return sum(results)

    async def _needed(self, ids: list[str]) -> set[Any]:
        """Return those of these tasks that have unfinished dependents."""
        rows = await self._executor().read(Values(dependents_of(ids, IS_UNFINISHED), ("id",)))
        if not rows:
            return set()
        of_dependents = one_of("task_id", [str(row[0]) for row in rows])
        links = Query(TASK_LINKS, (*waiting_for(ids).conditions, of_dependents))
        return {row[0] for row in await self._executor().read(Values(links, ("dependency_id",)))}


# Not "=", along whose index the agents would have to be sorted by arrival.
_IS_SHUT_DOWN = Condition("status", "IN", (AgentStatus.SHUTDOWN.value,))


def _with_links(id: str, stale: tuple[Condition, ...]) -> Step:
    links = Delete(Query(TASK_LINKS, (Condition("task_id", "=", id),)))
    return IfChanged(Delete(Query(TASKS, (Condition("id", "=", id), *stale))), (links,))


def _finished_before(statuses: tuple[str, ...], limit: int | FromNow) -> list[tuple[Condition, ...]]:
    """Return the conditions of finished tasks, including those without `completed_at`."""
    if not statuses:
        return []
    finished = one_of("status", statuses)
    return [
        (finished, _before("completed_at", limit)),
        (finished, Condition("completed_at", "IS NULL"), _before("updated_at", limit)),
    ]


def _handled_before(limit: int | FromNow) -> list[tuple[Condition, ...]]:
    """Return the conditions of read messages, and of unread ones that are acknowledged."""
    return [
        (Condition("read", "=", 1), _before("timestamp", limit)),
        (Condition("read", "=", 0), Condition("acknowledged_at", "IS NOT NULL"), _before("timestamp", limit)),
    ]


def _before(field: str, limit: int | FromNow) -> Condition:
    return Condition(field, "<", limit)


def _limit(older_than: object) -> int | FromNow:
    """Return the time before which records are old; an age counts back by the database's clock."""
    if not isinstance(older_than, datetime):
        return FromNow(-seconds(older_than, "older_than", is_zero_possible=True))
    if older_than.utcoffset() is None:
        raise InvalidQueryError(f"older_than is {shown(older_than)}, expected an aware datetime, or an age in seconds")
    limit = query_value(EVENTS.column("timestamp"), older_than, "older_than")
    assert isinstance(limit, int)
    return limit


def _finished(statuses: Iterable[TaskStatus | str]) -> tuple[str, ...]:
    wanted = several(statuses, "task_statuses", "a list of statuses")
    for place, status in enumerate(wanted):
        if status not in FINISHED:
            known = ", ".join(each.value for each in FINISHED)
            raise InvalidQueryError(f"task_statuses[{place}] is {shown(status)}, expected one of {known}")
    return tuple(dict.fromkeys(TaskStatus(status).value for status in wanted))
