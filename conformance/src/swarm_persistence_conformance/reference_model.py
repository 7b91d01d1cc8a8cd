"""The reference model of tasks: predicts the result and the effect of each task verb, on plain dictionaries.

Its methods raise the errors that the storage's verbs must raise.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from datetime import datetime, timedelta
from graphlib import CycleError, TopologicalSorter
from typing import Any

from swarm_persistence import (
    ClaimOutcome,
    ConflictError,
    DependencyCycleError,
    KeyPolicy,
    LeaseLostError,
    NotFoundError,
    PastClaim,
    TaskModel,
    TaskStatus,
)
from swarm_persistence.testing import now
from swarm_persistence_conformance.reference_limits import HELD, ReferenceLimit, ReferenceLimits

_UNSUCCESSFUL = (TaskStatus.FAILED, TaskStatus.CANCELLED)


class ReferenceModel:
    """The stored tasks in their order of arrival, and for each the dependencies that are not completed yet."""

    def __init__(self) -> None:
        self.tasks: dict[str, TaskModel] = {}
        self.links: dict[str, set[str]] = {}
        self.limits = ReferenceLimits()

    def ready(self) -> list[TaskModel]:
        """Return the tasks that can be claimed now, in claim order."""
        return [task for task in self.pending() if not self.links[task.id] and not _is_delayed(task)]

    def blocked(self) -> list[TaskModel]:
        """Return the pending tasks with dependencies that are not completed."""
        return [task for task in self.pending() if self.links[task.id]]

    def pending(self) -> list[TaskModel]:
        """Return the pending tasks by priority; the stable sort keeps the order of arrival."""
        pending = [task for task in self.tasks.values() if task.status is TaskStatus.PENDING]
        return sorted(pending, key=lambda task: -task.priority.rank)

    def expired(self) -> list[TaskModel]:
        """Return the tasks whose leases have expired, the earliest first."""
        expired = [task for task in self.tasks.values() if task.status in HELD and _lease_end(task) <= now()]
        return sorted(expired, key=_lease_end)

    def holds(self, copy: TaskModel) -> bool:
        """Return whether the claim of this copy is still valid."""
        stored = self.tasks.get(copy.id)
        if stored is None or copy.assigned_to is None or stored.status not in HELD:
            return False
        return (stored.assigned_to, stored.claim_count) == (copy.assigned_to, copy.claim_count)

    def store(self, tasks: Iterable[TaskModel]) -> list[TaskModel]:
        """Store new tasks, all or none; return them, or the stored tasks of their idempotency keys."""
        tasks = list(tasks)
        before = deepcopy(self.tasks), deepcopy(self.links)
        answers: dict[int, TaskModel] = {}
        try:
            while left := {place: task for place, task in enumerate(tasks) if place not in answers}:
                self._store_new(left, answers)
        except (ConflictError, DependencyCycleError):
            self.tasks, self.links = before
            raise
        return [self.tasks[answers[place].id] for place in range(len(tasks))]

    def update(self, task: TaskModel, *, force: bool) -> TaskModel:
        """Replace a task."""
        self._refuse_cycle({task.id: set(task.dependencies)})
        stored = self.tasks.get(task.id)
        if stored is None:
            raise NotFoundError(task.id)
        if stored.version != task.version and not force:
            raise ConflictError(task.id)
        written = self._write(task, stored.version + 1)
        return written if force else _as_given(written, task)

    def save(self, task: TaskModel) -> TaskModel:
        """Store or replace a task."""
        self._refuse_cycle({task.id: set(task.dependencies)})
        stored = self.tasks.get(task.id)
        if stored is not None and stored.version != task.version:
            raise ConflictError(task.id)
        return _as_given(self._write(task, task.version + 1), task)

    def delete(self, id: str) -> None:
        """Delete a task, if there is one, and fail those that wait for it."""
        self.links.pop(id, None)
        self.limits.forget(id)
        if self.tasks.pop(id, None) is not None:
            self._fail_dependents(id, "was deleted")

    def delete_agent(self, agent_id: str) -> None:
        """Release the tasks that an agent holds."""
        for task in self.tasks.values():
            if task.assigned_to == agent_id and task.status in HELD:
                self._release(task)

    def claim(self, id: str, agent_id: str, lease: float | None) -> bool:
        """Claim a task by its id."""
        task = self.tasks.get(id)
        if task is None or task.status is not TaskStatus.PENDING or not self.limits.allows(task, self.tasks.values()):
            return False
        self._assign(task, agent_id, lease)
        return True

    def claim_next(
        self, agent_id: str, limit: int, types: Iterable[str] | None, capabilities: Iterable[str], lease: float
    ) -> list[TaskModel]:
        """Claim the next tasks of some types, or of any, that require no capabilities but these."""
        wanted = None if types is None else set(types)
        tasks = [task for task in self.ready() if wanted is None or task.task_type in wanted]
        tasks = [task for task in tasks if {*(task.required_capabilities or ())} <= {*capabilities}]
        claimed: list[TaskModel] = []
        for task in tasks:
            if len(claimed) < limit and self.limits.allows(task, self.tasks.values()):
                self._assign(task, agent_id, lease)
                task.started_at = now()
                claimed.append(task)
        return claimed

    def set_limit(self, task_type: str, limit: ReferenceLimit) -> None:
        """Set the limit of a type."""
        self.limits.set(task_type, limit, self.tasks.values())

    def retry(self, id: str) -> TaskModel:
        """Let a finished task begin anew."""
        stored = self.tasks.get(id)
        if stored is None:
            raise NotFoundError(id)
        if stored.status in (TaskStatus.PENDING, *HELD):
            raise ConflictError(id)
        task = deepcopy(stored)
        cleared = ("assigned_to", "result", "error", "started_at", "completed_at", "lease_expires_at")
        for field in (*cleared, "progress", "progress_text"):
            setattr(task, field, None)
        task.status, task.retry_count, task.updated_at = TaskStatus.PENDING, 0, now()
        return self.update(task, force=True)

    def extend(self, copy: TaskModel, lease: float) -> TaskModel:
        """Extend a lease."""
        return self._touch(self._held(copy), lease_expires_at=_after(lease))

    def complete(self, copy: TaskModel, result: Any) -> TaskModel:
        """Complete a task, and unblock its dependents."""
        task = self._held(copy)
        self._finish(task, TaskStatus.COMPLETED, result=result, error=None)
        self._follow(task)
        return task

    def fail(self, copy: TaskModel, error: str, run_at: datetime | None) -> TaskModel:
        """Schedule a retry at `run_at`, or fail the task for good."""
        task = self._held(copy)
        if task.retry_count < task.max_retries:
            self._retry(task, ClaimOutcome.RETRIED, error, run_at)
        else:
            self._finish(task, TaskStatus.FAILED, error=error)
            self._fail_dependents(task.id, f"failed: {error}")
        return task

    def release(self, copy: TaskModel, run_at: datetime | None) -> TaskModel:
        """Release a claim, until `run_at` if it is given."""
        task = self._held(copy)
        self._release(task, run_at=run_at or task.run_at)
        return task

    def cancel(self, id: str) -> bool:
        """Cancel a task that is not finished."""
        task = self.tasks.get(id)
        if task is None:
            raise NotFoundError(id)
        if task.status not in (TaskStatus.PENDING, *HELD):
            return False
        self._finish(task, TaskStatus.CANCELLED)
        self._fail_dependents(id, "was cancelled")
        return True

    def requeue(self) -> tuple[list[str], list[str]]:
        """Requeue expired tasks; return the ids of those that are pending again, and of those that failed for good."""
        requeued, failed = [], []
        for task in self.expired():
            error = f"the lease of {task.assigned_to!r} ran out"
            if task.retry_count < task.max_retries:
                self._retry(task, ClaimOutcome.LEASE_EXPIRED, error, None)
                requeued.append(task.id)
            else:
                self._finish(task, TaskStatus.FAILED, error=error)
                self._fail_dependents(task.id, f"failed: {error}")
                failed.append(task.id)
        return requeued, failed

    def dependents_of(self, id: str) -> list[str]:
        """Return the ids of the tasks that this one blocks."""
        return [task for task in self.tasks if id in self.links[task]]

    def _store_new(self, tasks: Mapping[int, TaskModel], answers: dict[int, TaskModel]) -> None:
        """Store the tasks whose key is not stored; of the others, answer the stored one, or take the key from it."""
        added: dict[int, TaskModel] = {}
        for place, task in tasks.items():
            # A duplicate stores nothing, so its dependencies do not count.
            if self._of_key(task.idempotency_key, added.values()) is None:
                added[place] = task
        self._refuse_cycle({task.id: set(task.dependencies) for task in added.values() if task.dependencies})
        ids = [task.id for task in added.values()]
        if len({*ids, *self.tasks}) < len(ids) + len(self.tasks):
            raise ConflictError(str(ids))
        for place, task in added.items():
            answers[place] = self.tasks[task.id] = _copy(task, version=task.version + 1)
        for id in ids:
            self._link(id)
        for id in ids:
            self._follow(self.tasks[id])
        self._fail_dependents_around(added.values())
        for place in [place for place in tasks if place not in added]:
            known = self._of_key(tasks[place].idempotency_key)
            if known is None:
                continue
            if known.key_policy is KeyPolicy.WHILE_ACTIVE and known.status in (TaskStatus.COMPLETED, *_UNSUCCESSFUL):
                known.idempotency_key, known.version = None, known.version + 1
            elif (known.task_type, known.payload) != (tasks[place].task_type, tasks[place].payload):
                raise ConflictError(tasks[place].id)
            else:
                answers[place] = known

    def _write(self, task: TaskModel, version: int) -> TaskModel:
        other = self._of_key(task.idempotency_key)
        if other is not None and other.id != task.id:
            raise ConflictError(task.id)
        before = self.tasks.get(task.id)
        if before is not None and before.status is TaskStatus.COMPLETED is not task.status:
            again = [each for each in self._unfinished() if task.id in each.dependencies and each.id != task.id]
            links = {each.id: self.links[each.id] | {task.id} for each in again}
            self._refuse_cycle({**links, task.id: set(task.dependencies)})
            self.links |= links
        written = self.tasks[task.id] = _copy(task, version=version)
        if before is not None:
            written.claim_count = max(before.claim_count, task.claim_count)
            written.past_claims = before.past_claims
            is_kept = before.assigned_to == task.assigned_to and task.status is not TaskStatus.PENDING
            if not is_kept and before.status is not TaskStatus.PENDING:
                _end_claim(written, before, **_end_of(before))
        self._link(task.id)
        self._follow(written)
        self._fail_dependents_around([task])
        return written

    def _unfinished(self) -> list[TaskModel]:
        return [task for task in self.tasks.values() if task.status in (TaskStatus.PENDING, *HELD)]

    def _link(self, id: str) -> None:
        met = {task.id for task in self.tasks.values() if task.status is TaskStatus.COMPLETED}
        self.links[id] = set(self.tasks[id].dependencies) - met

    def _follow(self, task: TaskModel) -> None:
        """Unblock the dependents of a task that is completed."""
        if task.status is TaskStatus.COMPLETED:
            for waiting in self.links.values():
                waiting.discard(task.id)

    def _fail_dependents_around(self, tasks: Iterable[TaskModel]) -> None:
        """Fail the dependents of these tasks, and of their dependencies, where those have failed or were cancelled."""
        around = {id for task in tasks for id in (task.id, *task.dependencies)}
        for task in [self.tasks[id] for id in self.tasks if id in around]:
            if task.status in _UNSUCCESSFUL:
                self._fail_dependents(task.id, _reason(task))

    def _assign(self, task: TaskModel, agent_id: str, lease: float | None) -> None:
        claim = {"status": TaskStatus.ASSIGNED, "assigned_to": agent_id, "claim_count": task.claim_count + 1}
        self._touch(task, lease_expires_at=None if lease is None else _after(lease), **claim)
        self.limits.count(task)

    def _release(
        self, task: TaskModel, outcome: ClaimOutcome = ClaimOutcome.RELEASED, error: str | None = None, **changes: Any
    ) -> None:
        _end_claim(task, task, outcome=outcome, ended_at=now(), error=error)
        holder = {"assigned_to": None, "started_at": None, "lease_expires_at": None}
        self._touch(task, status=TaskStatus.PENDING, **holder, **changes)

    def _retry(self, task: TaskModel, outcome: ClaimOutcome, error: str, run_at: datetime | None) -> None:
        task.error = error
        self._release(task, outcome, error, retry_count=task.retry_count + 1, run_at=run_at or task.run_at)

    def _finish(self, task: TaskModel, status: TaskStatus, **changes: Any) -> None:
        self._touch(task, status=status, lease_expires_at=None, completed_at=now(), **changes)

    def _fail_dependents(self, id: str, cause: str) -> None:
        doomed = [id]
        while doomed:
            waiting = {
                each: dependency
                for dependency in sorted(doomed, reverse=True)
                for each in self.dependents_of(dependency)
            }
            doomed = []
            for task in [self.tasks[each] for each in waiting]:
                dependency = waiting[task.id]
                why = cause if dependency == id else f"failed because {id!r} {cause}"
                if task.status is TaskStatus.PENDING and task.fails_with_dependencies:
                    self._finish(task, TaskStatus.FAILED, error=f"the dependency {dependency!r} {why}")
                    doomed.append(task.id)

    def _held(self, copy: TaskModel) -> TaskModel:
        if not self.holds(copy):
            raise LeaseLostError(copy.id)
        return self.tasks[copy.id]

    def _refuse_cycle(self, graph: Mapping[str, set[str]]) -> None:
        try:
            TopologicalSorter({**self.links, **graph}).prepare()
        except CycleError:
            raise DependencyCycleError(str(graph)) from None

    def _of_key(self, key: str | None, others: Iterable[TaskModel] = ()) -> TaskModel | None:
        known = (*self.tasks.values(), *others)
        return next((task for task in known if key is not None and task.idempotency_key == key), None)

    @staticmethod
    def _touch(task: TaskModel, **changes: Any) -> TaskModel:
        for field, value in {**changes, "updated_at": now(), "version": task.version + 1}.items():
            setattr(task, field, value)
        return task


def _copy(task: TaskModel, version: int) -> TaskModel:
    copy = deepcopy(task)
    copy.version = version
    return copy


def _as_given(written: TaskModel, task: TaskModel) -> TaskModel:
    """Return the caller's copy after a write, which keeps what it says of its claims unless the write was forced."""
    copy = deepcopy(written)
    copy.claim_count, copy.past_claims = task.claim_count, task.past_claims
    return copy


def _end_claim(task: TaskModel, claimed: TaskModel, **end: Any) -> None:
    """Append the claim of a task as it was claimed to the past ones."""
    if claimed.assigned_to is not None:
        agent_id, started_at = claimed.assigned_to, claimed.started_at
        claim = PastClaim(number=claimed.claim_count, agent_id=agent_id, started_at=started_at, **end)
        task.past_claims = (*task.past_claims, claim)[-100:]


def _end_of(task: TaskModel) -> dict[str, Any]:
    """Return how the latest claim of a task has ended, or that it ends now."""
    is_failed = task.status is TaskStatus.FAILED
    return {
        "outcome": ClaimOutcome.RELEASED if task.status in HELD else ClaimOutcome(task.status),
        "ended_at": task.completed_at or now(),
        "error": task.error if is_failed else None,
    }


def _after(seconds: float) -> datetime:
    return now() + timedelta(seconds=seconds)


def _is_delayed(task: TaskModel) -> bool:
    return task.run_at is not None and task.run_at > now()


def _lease_end(task: TaskModel) -> datetime:
    return task.lease_expires_at or datetime.max.replace(tzinfo=now().tzinfo)


def _reason(task: TaskModel) -> str:
    if task.status is TaskStatus.CANCELLED:
        return "was cancelled"
    return f"failed: {task.error}" if task.error else "failed"
