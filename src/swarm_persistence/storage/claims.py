"""The verbs that assign a task to an agent: by id, or the next ready one."""

import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from swarm_persistence.durations import seconds
from swarm_persistence.engines.interface import Engine
from swarm_persistence.engines.prepared import BoundSteps, PreparedWrite
from swarm_persistence.engines.reads import IsAny
from swarm_persistence.engines.steps import Change, Claim, Increment, LockRows, Step, Upkeep
from swarm_persistence.errors import TransactionError, UnreadableError
from swarm_persistence.models import TaskLimit, TaskModel, TaskStatus
from swarm_persistence.query.builder import bound
from swarm_persistence.query.query import Condition, FromNow, Order, Query
from swarm_persistence.schema.tables import IS_COUNTED, IS_DELAYED, TASK_LIMITS, TASKS
from swarm_persistence.schema.values import identifier
from swarm_persistence.storage.abandoned_claims import AbandonedClaims, held_by
from swarm_persistence.storage.arguments import texts
from swarm_persistence.storage.claim_choice import EXCEPTIONS, Candidate, ClaimChoice, Wanted, of_types
from swarm_persistence.storage.core import NOW, TOUCHED
from swarm_persistence.storage.readable import pass_over, without
from swarm_persistence.storage.ready_tasks import ReadyTaskWatch
from swarm_persistence.storage.scopes import Scope, innermost_scope
from swarm_persistence.storage.swapped_ids import refuse_swapped_ids
from swarm_persistence.storage.task_limits import ANY_LIMIT, limits_by_type, room_of, steps_of_starts
from swarm_persistence.storage.tasks import IS_DUE, IS_PENDING, IS_READY, MOST_URGENT_FIRST, TaskVerbs

LEASE_SECONDS = 60.0
"""The default lease of a claim of the next task."""

MOST_MARKED = 500
"""How many due tasks one claim marks as ready: to mark a hundred thousand would delay the claim."""
_CLAIMS_KEPT = 256
_MOST_CHOICES = 5
"""How often a claim chooses anew if other claims have taken what it chose."""
_UNLIMITED = (ANY_LIMIT,)
_Types = tuple[str, ...] | None
_Claimant = tuple[str, FromNow | None]
_LET_DUE_BE_READY = Upkeep(Query(TASKS, IS_DUE, (Order("run_at"),), MOST_MARKED), {IS_DELAYED: 0})


class ClaimVerbs(TaskVerbs):
    """Claims: of a task by its id, or of the next ready task.

    If a claim is cancelled but was committed, it is released in the background. Within a transaction, the cancellation
    dooms the transaction; if a commit is cancelled but succeeded, the claims of the transaction are released.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._abandoned_claims = AbandonedClaims()

    async def claim_task(self, task_id: str, agent_id: str, *, lease: float | timedelta | None = None) -> bool:
        """Atomically assign the task to the agent if it is pending; return whether it was.

        Of any number of agents in any number of processes that claim one task, exactly one gets `True`. A missing task
        gives `False`, and so does one that the limit of its type leaves no room for. Without a `lease` (seconds or a
        timedelta), the claim holds until it is given up, or its registered agent is found lost.

        Raises:
            InvalidQueryError: no task has this id, and the arguments are swapped: it is an agent's, or `agent_id` is a
                task's.

        """
        return bool(await self._claim_by_id(task_id, agent_id, lease))

    async def _claim_by_id(self, task_id: str, agent_id: str, lease: float | timedelta | None) -> list[TaskModel]:
        id = identifier(task_id, TASKS.id_field)
        claimant = checked_claimant(agent_id, lease)
        (tasks,) = await self._write_claim(BoundSteps(_claiming_by_id, id, *claimant))
        claimed: list[TaskModel] = tasks
        if not claimed and await self._is_any_limit_set():
            claimed = await self._as_one(lambda: self._claim_limited(id, claimant))
        if not claimed:
            await refuse_swapped_ids(self._executor(), id, claimant[0])
        return claimed

    async def _is_any_limit_set(self) -> bool:
        return await self._executor().read(IsAny(_UNLIMITED))

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
        tasks = await self.claim_next_tasks(
            agent_id,
            limit=1,
            task_types=task_types,
            capabilities=capabilities,
            lease=lease,
            wait=wait,
            ageing=ageing,
        )
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
        seconds_to_wait = seconds(wait, "wait", is_zero_possible=True)
        claimant = checked_claimant(agent_id, lease)
        wanted = checked_wanted(agent_id, task_types, capabilities, limit, ageing)
        if seconds_to_wait and self._scope() is not None:
            raise TransactionError(
                "waiting for a task is not possible within a transaction, which blocks other writers"
            )
        if wanted.is_empty:
            return []
        tasks = await self._claim_ready(wanted, claimant, is_running=bool(is_running))
        if tasks or not seconds_to_wait:
            return tasks
        deadline = time.monotonic() + seconds_to_wait
        return await self._claim_once_ready(wanted, claimant, deadline, is_running=bool(is_running))

    def watch_ready_tasks(
        self, *, task_types: Iterable[str] | None = None, capabilities: Iterable[str] | None = None
    ) -> ReadyTaskWatch:
        """Return a watch that waits for tasks which `claim_next_task` could find, and claims none; close it.

        It sees commits from when it is made: made before a claim, it misses no task that becomes ready after it.

        Raises:
            InvalidQueryError: types that are not texts.
            TransactionError: within a transaction, which sees no commits of others.

        """
        self._require_no_transaction("watch_ready_tasks")
        return ReadyTaskWatch(self, checked_wanted(None, task_types, capabilities, 1, None))

    async def _claim_ready(self, wanted: Wanted, claimant: _Claimant, *, is_running: bool) -> list[TaskModel]:
        if wanted.ageing is None and not self._is_choosing:
            ready = ReadyClaim(wanted.types, wanted.limit, is_running)
            if (tasks := await self._claim_first(ready, claimant)) or not await self._must_choose():
                return tasks
        return await self._claim_chosen(wanted, claimant, is_running=is_running)

    async def _must_choose(self) -> bool:
        """Tell whether limits or required capabilities have kept a claim from taking the first tasks."""
        self._is_choosing = await self._executor().read(IsAny(EXCEPTIONS))
        return self._is_choosing

    async def _claim_chosen(self, wanted: Wanted, claimant: _Claimant, *, is_running: bool) -> list[TaskModel]:
        """Claim the tasks that limits, capabilities and ageing choose; one transaction chooses and claims."""
        passed_over: list[UnreadableError] = []
        status = TaskStatus.RUNNING if is_running else TaskStatus.ASSIGNED
        changes = {**claimed_by(*claimant, status), "started_at": NOW}
        while True:
            (marked,) = await self._executor().write((_LET_DUE_BE_READY,))
            others = without(passed_over)
            try:
                tasks = await self._as_one(lambda: self._choose_and_claim(wanted, changes, others))  # noqa: B023
            except UnreadableError as error:
                pass_over(error, passed_over)
                continue
            if tasks or marked < MOST_MARKED:
                if passed_over and not tasks:
                    raise passed_over[0]
                return tasks

    async def _choose_and_claim(
        self, wanted: Wanted, changes: Mapping[str, Change], others: tuple[Condition, ...]
    ) -> list[TaskModel]:
        executor = self._executor()
        limits = await self._locked_limits(wanted.types)
        for _ in range(_MOST_CHOICES):
            choice = ClaimChoice(executor, wanted, limits, others)
            candidates = await choice.candidates()
            self._is_choosing = bool(limits) or choice.is_any_required
            if not candidates:
                return []
            if tasks := await self._claim_candidates(candidates, limits, changes):
                return tasks
        return []

    async def _locked_limits(self, types: Sequence[str] | None) -> dict[str, TaskLimit]:
        """Return the limits, those of some types locked: what they count changes by this transaction only."""
        limits = await limits_by_type(self._executor())
        locked = sorted(limits if types is None else limits.keys() & set(types))
        if not locked:
            return limits
        await self._executor().write((LockRows(TASK_LIMITS, exclusive=tuple(locked), skips_missing=True),))
        return await limits_by_type(self._executor())

    async def _claim_candidates(
        self, candidates: Sequence[Candidate], limits: Mapping[str, TaskLimit], changes: Mapping[str, Change]
    ) -> list[TaskModel]:
        """Claim the chosen tasks that no other claim has taken meanwhile, in their order."""
        counted = {**changes, IS_COUNTED: 1}
        steps = [
            Claim(
                Query(TASKS, (Condition("id", "=", each.id), *IS_READY), limit=1),
                counted if each.task_type in limits else changes,
            )
            # All claims lock in the same order.
            for each in sorted(candidates, key=lambda each: each.sequence)
        ]
        tasks = await self._claim_in_transaction(steps)
        await self._count_starts(tasks, limits)
        order = {each.id: place for place, each in enumerate(candidates)}
        return sorted(tasks, key=lambda task: order[task.id])

    async def _claim_limited(self, id: str, claimant: _Claimant) -> list[TaskModel]:
        """Claim a task by its id, if the limit of its type leaves room for it."""
        task = await self._get(TASKS, id)
        if task is None or task.status is not TaskStatus.PENDING:
            return []
        limits = await self._locked_limits((task.task_type,))
        limit, changes = limits.get(task.task_type), claimed_by(*claimant)
        if limit is not None:
            if not (await room_of(self._executor(), limit)).has(task.concurrency_key):
                return []
            changes = {**changes, IS_COUNTED: 1}
        conditions = (Condition("id", "=", id), Condition("task_type", "=", task.task_type), IS_PENDING)
        tasks = await self._claim_in_transaction([Claim(Query(TASKS, conditions, limit=1), changes)])
        await self._count_starts(tasks, limits)
        return tasks

    async def _claim_in_transaction(self, claims: Sequence[Claim[TaskModel]]) -> list[TaskModel]:
        scope = self._scope()
        assert scope is not None
        tasks: list[TaskModel] = [task for records in await scope.write(claims) for task in records]
        if held := held_by(tasks):
            # The release waits for the write lock, and so for the outcome of the commit.
            scope.if_unheard(lambda: self._abandoned_claims.release(self._engine, held))
        return tasks

    async def _count_starts(self, tasks: Sequence[TaskModel], limits: Mapping[str, TaskLimit]) -> None:
        steps = [
            step
            for task_type in dict.fromkeys(task.task_type for task in tasks if task.task_type in limits)
            for step in steps_of_starts(limits[task_type], [task for task in tasks if task.task_type == task_type])
        ]
        if steps:
            await self._executor().write(steps)

    async def _claim_first(self, ready: "ReadyClaim", claimant: _Claimant) -> list[TaskModel]:
        passed_over: list[UnreadableError] = []
        claim = claiming_ready(ready)
        tasks: list[TaskModel]
        while True:
            try:
                marked, tasks = await self._write_claim(BoundSteps(claim, *claimant))
            except UnreadableError as error:
                # The write was rolled back. One unreadable row must not stop the swarm; it is logged and left as it is.
                pass_over(error, passed_over)
                claim = claiming_ready(ready, without(passed_over))
                continue
            if not tasks and marked == MOST_MARKED:
                continue  # a matching task may be among the due tasks that are not marked yet
            if passed_over and not tasks:
                raise passed_over[0]
            return tasks

    def _write_claim(self, steps: Sequence[Step]) -> Awaitable[list[Any]]:
        """Write steps of which the last one claims."""
        if innermost_scope() is not None and (scope := self._scope()) is not None:
            return self._claim_within(scope, steps)
        engine = self._engine_outside() if self._held_transactions.scopes else self._engine
        return self._abandoned_claims.deliver(engine, steps)

    async def _claim_within(self, scope: Scope, steps: Sequence[Step]) -> list[Any]:
        results = await scope.write(steps)
        if held := held_by(results[-1]):
            # The release waits for the write lock, and so for the outcome of the commit.
            scope.if_unheard(lambda: self._abandoned_claims.release(self._engine, held))
        return results

    def _release_claims(self, tasks: Iterable[TaskModel]) -> None:
        """Release claims whose result did not reach the caller."""
        self._abandoned_claims.release(self._engine, held_by(tasks))

    async def _claim_once_ready(
        self, wanted: Wanted, claimant: _Claimant, deadline: float, *, is_running: bool
    ) -> list[TaskModel]:
        watch = ReadyTaskWatch(self, wanted)
        try:
            is_worthwhile = await watch.is_any_ready()  # what was committed after the claim before, which found nothing
            while True:
                if is_worthwhile and (tasks := await self._claim_ready(wanted, claimant, is_running=is_running)):
                    return tasks
                rest = deadline - time.monotonic()
                if rest <= 0:
                    return []
                is_worthwhile = await watch.wait_to_claim(rest)
        finally:
            watch.close()


def checked_wanted(
    agent_id: str | None,
    task_types: Iterable[str] | None,
    capabilities: Iterable[str] | None,
    limit: int,
    ageing: float | timedelta | None,
) -> Wanted:
    """Return the checked arguments that say which tasks are wanted."""
    return Wanted(
        texts(task_types, "task_types"),
        bound("limit", limit),
        agent_id,
        texts(capabilities, "capabilities"),
        None if ageing is None else seconds(ageing, "ageing"),
    )


def checked_claimant(agent_id: str, lease: float | timedelta | None) -> _Claimant:
    """Return the checked values of a claim."""
    held_for = None if lease is None else FromNow(seconds(lease, "lease"))
    return identifier(agent_id, "task.assigned_to"), held_for


class ReadyClaim(NamedTuple):
    """A claim of the next tasks: of which types, how many at most, and whether the caller begins them at once."""

    types: _Types
    limit: int
    is_running: bool


def claimed_by(agent_id: str, lease: FromNow | None, status: TaskStatus = TaskStatus.ASSIGNED) -> dict[str, Change]:
    """Return the changes that claim a task."""
    return {
        "status": status.value,
        "assigned_to": agent_id,
        "lease_expires_at": lease,
        "claim_count": Increment(),
        **TOUCHED,
    }


@PreparedWrite
def _claiming_by_id(id: str, agent_id: str, lease: FromNow | None) -> list[Step]:
    return [
        Claim(Query(TASKS, (Condition("id", "=", id), IS_PENDING), limit=1), claimed_by(agent_id, lease), _UNLIMITED)
    ]


@lru_cache(_CLAIMS_KEPT)
def claiming_ready(claim: ReadyClaim, others: tuple[Condition, ...] = ()) -> PreparedWrite:
    """Return the steps of a claim of tasks that match other conditions."""
    status = TaskStatus.RUNNING if claim.is_running else TaskStatus.ASSIGNED
    ready = Query(TASKS, (*IS_READY, *of_types(claim.types), *others), MOST_URGENT_FIRST, claim.limit)
    return PreparedWrite(
        lambda agent_id, lease: [
            _LET_DUE_BE_READY,
            Claim(ready, {**claimed_by(agent_id, lease, status), "started_at": NOW}, EXCEPTIONS),
        ]
    )
