"""Claims in one transaction: of tasks chosen by limits, capabilities and ageing, or of one task under a limit."""

from collections.abc import Mapping, Sequence

from swarm_persistence.engines.interface import Engine
from swarm_persistence.engines.steps import Change, Claim, LockRows
from swarm_persistence.errors import UnreadableError
from swarm_persistence.models import TaskLimit, TaskModel, TaskStatus
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.tables import IS_COUNTED, TASK_LIMITS, TASKS
from swarm_persistence.storage.abandoned_claims import AbandonedClaims, held_by
from swarm_persistence.storage.claim_choice import Candidate, ClaimChoice
from swarm_persistence.storage.claim_requests import (
    LET_DUE_BE_READY,
    MOST_MARKED,
    ClaimRequest,
    claimed_by,
    started_by,
)
from swarm_persistence.storage.readable import skip_unreadable, without
from swarm_persistence.storage.scopes import Scope
from swarm_persistence.storage.task_limits import limits_by_type, room_of, steps_of_starts
from swarm_persistence.storage.tasks import IS_PENDING, IS_READY, TaskVerbs

_MOST_CHOICES = 5
"""How often a claim chooses again after other claims have taken the tasks that it chose."""


class ChosenClaims(TaskVerbs):
    """Claims whose tasks are chosen in one transaction, and claims within a caller's transaction."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._abandoned_claims = AbandonedClaims()
        self._limited_types: frozenset[str] = frozenset()

    async def _claim_chosen(self, request: ClaimRequest) -> list[TaskModel]:
        """Choose tasks by limits, capabilities and ageing, and claim them in the same transaction."""
        skipped: list[UnreadableError] = []
        changes = started_by(request.agent_id, request.lease, is_running=request.is_running)
        while True:
            (marked,) = await self._executor().write((LET_DUE_BE_READY,))
            others = without(skipped)
            try:
                tasks = await self._as_one(lambda: self._choose_and_claim(request, changes, others))  # noqa: B023
            except UnreadableError as error:
                skip_unreadable(error, skipped)
                continue
            if tasks or marked < MOST_MARKED:
                if skipped and not tasks:
                    raise skipped[0]
                return tasks

    async def _choose_and_claim(
        self, request: ClaimRequest, changes: Mapping[str, Change], others: tuple[Condition, ...]
    ) -> list[TaskModel]:
        executor = self._executor()
        limits = await self._locked_limits(request.types)
        for _ in range(_MOST_CHOICES):
            choice = ClaimChoice(executor, request, limits, others)
            candidates = await choice.candidates()
            self._is_choosing = bool(limits) or choice.is_any_required
            if not candidates:
                return []
            if tasks := await self._claim_candidates(candidates, limits, changes):
                return tasks
        return []

    async def _locked_limits(self, types: Sequence[str] | None) -> dict[str, TaskLimit]:
        """Return the limits; those of some types are locked, so that only this transaction changes their counts."""
        executor = self._executor()
        locked: set[str] = set()
        # What was limited at the last claim mostly is so still: then the limits are read once, with the locks held.
        limited = self._limited_types
        while True:
            to_lock = limited if types is None else limited.intersection(types)
            if not to_lock <= locked:
                await executor.write((LockRows(TASK_LIMITS, exclusive=tuple(sorted(to_lock)), skips_missing=True),))
                locked |= to_lock
            limits = await limits_by_type(executor)
            limited = self._limited_types = frozenset(limits)
            if (limited if types is None else limited.intersection(types)) <= locked:
                return limits

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

    async def _claim_limited(self, id: str, request: ClaimRequest) -> list[TaskModel]:
        """Claim a task by its id, if the limit of its type leaves room for it."""
        task = await self._get(TASKS, id)
        if task is None or task.status is not TaskStatus.PENDING:
            return []
        limits = await self._locked_limits((task.task_type,))
        limit, changes = limits.get(task.task_type), claimed_by(request.agent_id, request.lease)
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
        self._release_if_undelivered(scope, tasks)
        return tasks

    def _release_if_undelivered(self, scope: Scope, tasks: Sequence[TaskModel]) -> None:
        """Release these claims of a transaction if it commits and the outcome does not reach its caller."""
        if held := held_by(tasks):
            # The release waits for the write lock, and so for the outcome of the commit.
            scope.if_undelivered(lambda: self._abandoned_claims.release(self._engine, held))

    async def _count_starts(self, tasks: Sequence[TaskModel], limits: Mapping[str, TaskLimit]) -> None:
        steps = [
            step
            for task_type in dict.fromkeys(task.task_type for task in tasks if task.task_type in limits)
            for step in steps_of_starts(limits[task_type], [task for task in tasks if task.task_type == task_type])
        ]
        if steps:
            await self._executor().write(steps)
