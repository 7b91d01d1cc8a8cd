"""The verbs that assign tasks to an agent: a task by id, or the next ready ones."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from swarm_persistence.durations import seconds
from swarm_persistence.engines.interface import Executor
from swarm_persistence.engines.prepared import BoundSteps
from swarm_persistence.engines.reads import Count, IsAny, Values
from swarm_persistence.engines.steps import Step
from swarm_persistence.errors import InvalidQueryError, TransactionError, UnreadableError
from swarm_persistence.models import TaskModel
from swarm_persistence.query.builder import bound
from swarm_persistence.query.query import Query, one_of
from swarm_persistence.schema.tables import AGENTS, TASKS
from swarm_persistence.schema.values import identifier
from swarm_persistence.storage.abandoned_claims import UndeliveredClaim, held_by
from swarm_persistence.storage.arguments import texts
from swarm_persistence.storage.chosen_claims import ChosenClaims
from swarm_persistence.storage.claim_requests import (
    ANY_LIMITS,
    EXCEPTIONS,
    LEASE_SECONDS,
    MOST_MARKED,
    ClaimRequest,
    checked_request,
    claiming_by_id,
    claiming_ready,
)
from swarm_persistence.storage.core import by_id
from swarm_persistence.storage.readable import skip_unreadable, without
from swarm_persistence.storage.ready_tasks import ReadyTaskWatch
from swarm_persistence.storage.scopes import innermost_scope


class ClaimVerbs(ChosenClaims):
    """Claims: of a task by its id, or of the next ready task.

    If a claim is cancelled but was committed, it is released in the background. Within a transaction, the cancellation
    dooms the transaction; if a commit is cancelled but succeeded, the claims of the transaction are released.
    """

    async def claim_task(self, task_id: str, agent_id: str, *, lease: float | timedelta | None = None) -> bool:
        """Atomically assign the task to the agent if it is pending; return whether it was.

        Of any number of agents in any number of processes that claim one task, exactly one gets `True`. A missing task
        gives `False`, and so does one that the limit of its type leaves no room for. Without a `lease` (seconds or a
        timedelta), the claim holds until it is given up, or its registered agent is found lost. It reserves the task:
        `started_at` stays unset until `task.start()` is stored by `update_task`, as in the Rust crate.

        Raises:
            InvalidQueryError: no task has this id, and the arguments are swapped: it is an agent's, or `agent_id` is a
                task's.

        """
        return bool(await self._claim_by_id(task_id, agent_id, lease))

    async def _claim_by_id(self, task_id: str, agent_id: str, lease: float | timedelta | None) -> list[TaskModel]:
        id = identifier(task_id, TASKS.id_field)
        request = checked_request(agent_id, lease=lease)
        claimed: list[TaskModel]
        (claimed,) = await self._write_claim(BoundSteps(claiming_by_id, id, request.agent_id, request.lease))
        if not claimed and await self._executor().read(IsAny(ANY_LIMITS)):
            claimed = await self._as_one(lambda: self._claim_limited(id, request))
        if not claimed:
            await _refuse_swapped_ids(self._executor(), id, request.agent_id)
        return claimed

    async def claim_next_task(
        self,
        agent_id: str,
        *,
        task_types: Iterable[str] | None = None,
        capabilities: Iterable[str] | None = None,
        lease: float | timedelta = LEASE_SECONDS,
        wait: float | timedelta = 0.0,
        ageing: float | timedelta | None = None,
    ) -> TaskModel | None:
        """Atomically assign the next ready task to the agent and return it, or `None` if there is none.

        The next ready task is the pending one of the highest priority, then the one stored first, whose dependencies
        are all completed, whose `run_at` has passed, whose type is in `task_types`, if given, which requires no
        capabilities but those of the agent, and for which the limit of its type leaves room. `capabilities` replace
        those that the agent is registered with. With `ageing`, a task counts as one priority higher for each such time
        that it has waited since it was created or due.

        No two agents ever get the same task. The claim holds for `lease` seconds; extend it before it expires. If no
        task is ready, wait up to `wait` seconds for one. A commit of this process wakes the waiter at once, one of
        another process within 50 ms, or within half a second where PostgreSQL cannot notify (behind a pooler, or with
        no connection left to listen on).

        If more than 500 tasks become due between two claims, those with the earliest `run_at` are considered first; on
        PostgreSQL, the others up to half a second later. The agent need not be registered. A stored task that cannot be
        read is skipped as long as another one is ready.

        Raises:
            InvalidQueryError: the lease or the ageing is not above 0, the wait is negative, or the types are not texts.
            SerializationError: the only ready task cannot be read; it stays pending.
            TransactionError: a wait within a transaction, which would block all other writers.

        """
        request = checked_request(agent_id, task_types, capabilities, lease=lease, ageing=ageing)
        tasks = await self._claim_next(request, wait)
        return tasks[0] if tasks else None

    async def claim_next_tasks(
        self,
        agent_id: str,
        *,
        limit: int,
        task_types: Iterable[str] | None = None,
        capabilities: Iterable[str] | None = None,
        lease: float | timedelta = LEASE_SECONDS,
        wait: float | timedelta = 0.0,
        is_running: bool = False,
        ageing: float | timedelta | None = None,
    ) -> list[TaskModel]:
        """Assign up to `limit` next ready tasks in one write, and return them in order.

        Waits as `claim_next_task` does, until there is at least one. With `is_running`, for a caller that begins all of
        them at once, their status is `RUNNING` rather than `ASSIGNED`.
        """
        most = bound("limit", limit)
        request = checked_request(
            agent_id, task_types, capabilities, limit=most, lease=lease, ageing=ageing, is_running=is_running
        )
        return await self._claim_next(request, wait)

    def watch_ready_tasks(
        self, *, task_types: Iterable[str] | None = None, capabilities: Iterable[str] | None = None
    ) -> ReadyTaskWatch:
        """Return a watch that waits for tasks which `claim_next_task` could claim, without claiming any; close it.

        It sees commits from its creation on: created before a claim, it misses no task that becomes ready after the
        claim.

        Raises:
            InvalidQueryError: types that are not texts.
            TransactionError: within a transaction, which sees no commits of others.

        """
        self._require_no_transaction("watch_ready_tasks")
        types = None if task_types is None else texts(task_types, "task_types")
        able_to = None if capabilities is None else texts(capabilities, "capabilities")
        return ReadyTaskWatch(self, ClaimRequest(types=types, capabilities=able_to))

    async def _claim_next(self, request: ClaimRequest, wait: float | timedelta) -> list[TaskModel]:
        """Claim the next tasks, and wait for one if there is none."""
        seconds_to_wait = seconds(wait, "wait", is_zero_possible=True)
        if seconds_to_wait and self._scope() is not None:
            raise TransactionError(
                "waiting for a task is not possible within a transaction, which blocks other writers"
            )
        tasks = await self._claim_ready(request)
        if tasks or not seconds_to_wait or not request.limit:
            return tasks
        return await self._claim_once_ready(request, time.monotonic() + seconds_to_wait)

    async def _claim_ready(self, request: ClaimRequest) -> list[TaskModel]:
        """Claim the first tasks that are ready, or those that limits, capabilities and ageing choose."""
        if not request.limit:
            return []
        if request.ageing is not None or self._is_choosing:
            return await self._claim_chosen(request)
        skipped: list[UnreadableError] = []
        claim = claiming_ready(request.types, request.limit, request.is_running)
        tasks: list[TaskModel]
        while True:
            try:
                marked, tasks = await self._write_claim(BoundSteps(claim, request.agent_id, request.lease))
            except UnreadableError as error:
                # The write was rolled back. One unreadable row must not stop the swarm; it is logged and left as it is.
                skip_unreadable(error, skipped)
                claim = claiming_ready(request.types, request.limit, request.is_running, without(skipped))
                continue
            if tasks:
                return tasks
            if marked == MOST_MARKED:
                continue  # a matching task may be among the due tasks that are not marked yet
            if skipped:
                raise skipped[0]
            return await self._claim_chosen(request) if await self._must_choose() else []

    async def _must_choose(self) -> bool:
        """Tell whether limits or required capabilities prevented a claim from taking the first tasks."""
        self._is_choosing = await self._executor().read(IsAny(EXCEPTIONS))
        return self._is_choosing

    async def _write_claim(self, steps: Sequence[Step]) -> list[Any]:
        """Write steps of which the last one claims; release what a cancelled caller has claimed."""
        if innermost_scope() is not None and (scope := self._scope()) is not None:
            results = await scope.write(steps)
            self._release_if_undelivered(scope, results[-1])
            return results
        engine = self._engine_outside() if self._held_transactions.scopes else self._engine
        claim = UndeliveredClaim(self._abandoned_claims, engine)
        try:
            return await engine.deliver(steps, claim.abandoned)
        except (asyncio.CancelledError, GeneratorExit):
            claim.await_outcome()
            raise

    def _release_claims(self, tasks: Iterable[TaskModel]) -> None:
        """Release claims whose result did not reach the caller."""
        self._abandoned_claims.release(self._engine, held_by(tasks))

    async def _claim_once_ready(self, request: ClaimRequest, deadline: float) -> list[TaskModel]:
        watch = ReadyTaskWatch(self, request)
        try:
            # Tasks may have been committed since the previous claim, which found nothing.
            is_worthwhile = await watch.is_any_ready()
            while True:
                if is_worthwhile and (tasks := await self._claim_ready(request)):
                    return tasks
                rest = deadline - time.monotonic()
                if rest <= 0:
                    return []
                is_worthwhile = await watch.wait_to_claim(rest)
        finally:
            watch.close()


async def _refuse_swapped_ids(executor: Executor, task_id: str, agent_id: str) -> None:
    """Raise `InvalidQueryError` if the task is not stored, and its id is an agent's or the agent's id is a task's."""
    given = Query(TASKS, (one_of("id", [task_id, agent_id]),))
    tasks = {id for (id,) in await executor.read(Values(given, ("id",)))}
    if task_id in tasks:
        return
    if agent_id in tasks:
        raise InvalidQueryError(f"agent_id is {agent_id!r}, the id of a task; expected a task's id, then an agent's")
    if await executor.read(Count(by_id(AGENTS, task_id))):
        raise InvalidQueryError(f"task_id is {task_id!r}, the id of an agent; expected a task's id, then an agent's")
