"""The verbs for the holder of a claim: extend it, finish the task, or give it back.

Each is refused once the claim is over. The agent and the task's `claim_count`, a fencing token that never decreases,
identify a claim. So a worker that was presumed dead cannot change a task that another one has taken over, whatever its
clock. (A task that is deleted and stored anew is another task, with its own `claim_count`, usually 0.)
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec

from swarm_persistence.backoff import backoff_seconds
from swarm_persistence.durations import seconds
from swarm_persistence.engines.prepared import BoundSteps, PreparedWrite
from swarm_persistence.engines.reads import Count, Values
from swarm_persistence.engines.steps import Change, Claim, IfChanged, IfNone, LockRows, Step, Update
from swarm_persistence.errors import (
    InvalidQueryError,
    LeaseLostError,
    NotFoundError,
    OutcomeUnknownError,
    StorageError,
    UnreadableError,
    shown,
)
from swarm_persistence.models import ClaimOutcome, TaskModel, TaskStatus
from swarm_persistence.query.builder import bound
from swarm_persistence.query.query import Condition, FromNow, Query, one_of
from swarm_persistence.query.task_statuses import HELD, IS_HELD, IS_UNFINISHED
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.schema.values import count, identifier, json_text, text
from swarm_persistence.storage.arguments import several
from swarm_persistence.storage.claim_requests import LEASE_SECONDS
from swarm_persistence.storage.claims import ClaimVerbs
from swarm_persistence.storage.core import NOW, TOUCHED, by_id, id_of
from swarm_persistence.storage.dependencies import steps_to_meet, waiting_for
from swarm_persistence.storage.failures import fail_dependents, failed
from swarm_persistence.storage.held_claims import claim_key, held, releasing

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 300.0


class LeaseVerbs(ClaimVerbs):
    """Held claims: extend, report progress, complete, fail, release; and cancel, which needs no claim.

    Pass the copy that the claim returned, or one that was read since; it is updated in place. Each verb raises
    `LeaseLostError`, and writes nothing, if the claim is over: the task was given back, taken over by another agent,
    finished or cancelled. An expired lease ends the claim only when a worker requeues the task.
    """

    async def get_held_claims(self, tasks: Iterable[TaskModel]) -> list[TaskModel]:
        """Return the copies whose claims still hold, in one read.

        An expired lease alone does not end a claim. The copies are not changed.
        """
        copies = several(tasks, "tasks", "a list of TaskModel")
        ids = sorted({id_of(task) for task in copies})
        if not ids:
            return []
        held = Query(TASKS, (one_of("id", ids), IS_HELD))
        rows: list[Any] = await self._executor().read(Values(held, ("id", "assigned_to", "claim_count")))
        claims = {tuple(row) for row in rows}
        return [task for task in copies if (task.id, task.assigned_to, task.claim_count) in claims]

    async def extend_lease(
        self, task: TaskModel, *, lease: float | timedelta = LEASE_SECONDS, is_running: bool = False
    ) -> None:
        """Extend the claim to `lease` seconds from now; with `is_running`, also set the status to `RUNNING`."""
        extension = _extension_while_running if is_running else _extension
        await self._change_held(task, extension, FromNow(seconds(lease, "lease")))

    async def complete_task(self, task: TaskModel, result: Any = None) -> None:
        """Complete the task with this result; its dependents no longer wait for it.

        Raises:
            LeaseLostError: this claim of the task is over; nothing was written.
            SerializationError: the result is not JSON; nothing was written.

        """
        await self._change_held(task, completion, None if result is None else json_text(result, "task.result"))

    async def fail_task(
        self,
        task: TaskModel,
        error: str,
        *,
        retry_in: float | timedelta | None = None,
        max_retries: int | None = None,
    ) -> None:
        """Record a failure of the task: it is retried after a delay, or has failed for good.

        While `retry_count` is below `max_retries`, a retry is counted, and the task becomes pending again after
        `retry_in` seconds; by default after an exponential backoff from one second to five minutes, with a jitter of
        half of it either way. After that, the task has failed for good and keeps its error, and its dependents fail,
        unless their `fails_with_dependencies` is false. In this call, `max_retries` replaces the task's own limit: with
        0, the task fails for good.

        Raises:
            LeaseLostError: this claim of the task is over; nothing was written.

        """
        reason = text(error, "task.error")
        pause = None if retry_in is None else seconds(retry_in, "retry_in", is_zero_possible=True)
        limit = None if max_retries is None else bound("max_retries", max_retries)
        self._require_model(TASKS, task)
        copy = msgspec.structs.replace(task)
        while not (records := await self._try_to_fail(copy, reason, pause, limit)):
            # The counters have changed since the copy was read, but the claim may still hold.
            stored = await self._held(task)
            copy.retry_count, copy.max_retries = stored.retry_count, stored.max_retries
        self._refresh(task, records[0])

    async def report_progress(self, task: TaskModel, progress: float, text: str | None = None) -> None:
        """Set the `progress` of a claimed task, from 0 to 1, and its text; it stays once the task has ended.

        It is cleared when the task is given back or retried. Pass the copy that the claim returned; it is updated in
        place.

        Raises:
            LeaseLostError: this claim of the task is over; nothing was written.
            InvalidQueryError: the progress is not a number from 0 to 1.

        """
        await self._change_held(task, _progressed, *progress_of(progress, text))

    async def release_task(self, task: TaskModel, *, retry_in: float | timedelta = 0.0) -> None:
        """Release the claim: the task is pending again, after `retry_in` seconds, and no retry is counted."""
        if delay := seconds(retry_in, "retry_in", is_zero_possible=True):
            await self._change_held(task, _delayed_release, FromNow(delay))
        else:
            await self._change_held(task, _release)

    async def cancel_task(self, id: str) -> bool:
        """Cancel the task unless it is finished; return whether it was cancelled. Its holder loses the claim.

        Its dependents fail, unless their `fails_with_dependencies` is false.

        Raises:
            NotFoundError: no task has this id.

        """
        task_id = identifier(id, "task.id")
        changes: dict[str, Change] = {
            "status": TaskStatus.CANCELLED.value,
            "lease_expires_at": None,
            "completed_at": NOW,
            **TOUCHED,
        }
        step = Update(Query(TASKS, (*by_id(TASKS, task_id).conditions, IS_UNFINISHED)), changes)
        if await self._end_with_dependents(step, task_id, "was cancelled"):
            return True
        if await self._executor().read(Count(by_id(TASKS, task_id))):
            return False
        raise NotFoundError(f"task {task_id!r}")

    async def _try_to_fail(
        self, task: TaskModel, error: str, pause: float | None, limit: int | None
    ) -> list[TaskModel]:
        """Fail the task if its counters equal the copy's; return the stored task, or an empty list if they differ."""
        records: list[TaskModel]
        counters = (
            Condition("retry_count", "=", count(task.retry_count, "task.retry_count")),
            Condition("max_retries", "=", count(task.max_retries, "task.max_retries")),
        )
        query = Query(TASKS, (*held(*claim_key(task)), *counters), limit=1)
        if task.retry_count < (task.max_retries if limit is None else limit):
            retry = task.retry_count + 1
            delay = backoff_seconds(retry, FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS) if pause is None else pause
            records = await self._write_one(Claim(query, retried(ClaimOutcome.RETRIED, error, delay, retry)))
        else:
            records = await self._end_with_dependents(Claim(query, failed(error)), task.id, f"failed: {error}")
        return records

    async def _end_with_dependents(self, step: Claim[Any] | Update[Any], id: str, reason: str) -> Any:
        """Atomically run a step that ends a task without success, and fail its dependents."""
        lock = LockRows(TASKS, exclusive=(id,))
        _, results = await self._executor().write([lock, IfNone(waiting_for([id]), (step,))])
        if results is not None:
            return results[0]

        written: list[tuple[Any, TaskModel | None]] = []

        async def end() -> Any:
            result = await self._write_one(step)
            if result:
                await fail_dependents(self._executor(), id, reason)
                with suppress(UnreadableError):  # a task that cannot be read back ends all the same
                    written.append((result, result[0] if isinstance(step, Claim) else await self._get(TASKS, id)))
            return result

        try:
            return await self._as_one(end)
        except OutcomeUnknownError:
            if written and self._scope() is None:
                result, ended = written[-1]
                with suppress(StorageError):  # then it stays unknown
                    if await self._read_back(lock, id) == ended:
                        return result
            raise

    async def _read_back(self, lock: LockRows, id: str) -> TaskModel | None:
        """Return the stored task, once a write whose answer was lost is done or undone."""

        async def read_locked() -> TaskModel | None:
            await self._executor().write([lock])
            return await self._get(TASKS, id)

        return await self._as_one(read_locked)

    async def _change_held(self, task: TaskModel, change: PreparedWrite, *values: Any) -> None:
        (records,) = await self._executor().write(BoundSteps(change, *claim_key(task), *values))
        if not records:
            await self._held(task)
            raise AssertionError("the claim holds, and yet its task was not found")
        self._refresh(task, records[0])

    async def _held(self, task: TaskModel) -> TaskModel:
        """Return the stored task if the claim holds; else raise `LeaseLostError` with the task's present state."""
        stored = await self._get(TASKS, task.id)
        name = f"the claim number {task.claim_count} of task {task.id!r} by {task.assigned_to!r} is over"
        if stored is None:
            raise LeaseLostError(f"{name}: the task was deleted")
        is_same = (stored.assigned_to, stored.claim_count) == (task.assigned_to, task.claim_count)
        if is_same and stored.status in HELD:
            return stored
        if stored.assigned_to is not None and stored.claim_count != task.claim_count:
            raise LeaseLostError(f"{name}: {stored.assigned_to!r} has taken it over ({stored.status})")
        raise LeaseLostError(f"{name}: the task is {stored.status}")


@PreparedWrite
def _extension(id: str, agent_id: str, number: int, lease: FromNow) -> list[Step]:
    return [_change_of(id, agent_id, number, {"lease_expires_at": lease, **TOUCHED})]


@PreparedWrite
def _extension_while_running(id: str, agent_id: str, number: int, lease: FromNow) -> list[Step]:
    changes: dict[str, Change] = {"status": TaskStatus.RUNNING.value, "lease_expires_at": lease, **TOUCHED}
    return [_change_of(id, agent_id, number, changes)]


COMPLETED_FIELDS = ("version", "completed_at", "updated_at")
"""The fields that a completion sets to values unknown to its caller."""


@PreparedWrite
def completion(id: str, agent_id: str, number: int, result: str | None) -> list[Step]:
    return _completion(id, agent_id, number, result)


@PreparedWrite
def brief_completion(id: str, agent_id: str, number: int, result: str | None) -> list[Step]:
    """Complete as `completion` does, but return only `COMPLETED_FIELDS` instead of the whole task."""
    return _completion(id, agent_id, number, result, COMPLETED_FIELDS)


def _completion(id: str, agent_id: str, number: int, result: str | None, fields: tuple[str, ...] = ()) -> list[Step]:
    changes: dict[str, Change] = {
        "status": TaskStatus.COMPLETED.value,
        "result": result,
        "error": None,
        "lease_expires_at": None,
        "completed_at": NOW,
        **TOUCHED,
    }
    return [IfChanged(_change_of(id, agent_id, number, changes, fields), tuple(steps_to_meet([id])))]


@PreparedWrite
def _release(id: str, agent_id: str, number: int) -> list[Step]:
    return [_change_of(id, agent_id, number, releasing(ClaimOutcome.RELEASED))]


@PreparedWrite
def _delayed_release(id: str, agent_id: str, number: int, run_at: FromNow) -> list[Step]:
    return [_change_of(id, agent_id, number, releasing(ClaimOutcome.RELEASED, run_at))]


def _change_of(
    id: str, agent_id: str, number: int, changes: Mapping[str, Change], fields: tuple[str, ...] = ()
) -> Claim[TaskModel]:
    return Claim(Query(TASKS, held(id, agent_id, number), limit=1), changes, fields=fields)


def retried(outcome: ClaimOutcome, error: str, delay: float, retry_count: int) -> dict[str, Change]:
    """Return the changes that retry a task after a delay in seconds."""
    changes = releasing(outcome, FromNow(delay) if delay else None, error)
    return {**changes, "error": error, "retry_count": retry_count}


def progress_of(progress: Any, progress_text: Any) -> tuple[float, str | None]:
    """Return a progress and its text, checked."""
    if isinstance(progress, bool) or not isinstance(progress, int | float) or not 0 <= progress <= 1:
        raise InvalidQueryError(f"progress is {shown(progress)}, expected a number from 0 to 1")
    return float(progress), None if progress_text is None else text(progress_text, "task.progress_text")


@PreparedWrite
def _progressed(id: str, agent_id: str, number: int, progress: float, text: str | None) -> list[Step]:
    return [_change_of(id, agent_id, number, {"progress": progress, "progress_text": text, **TOUCHED})]
