"""Held claims over HTTP: extend one, report progress, and end it, also as an operator."""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Response, post
from litestar.params import JSONBody
from msgspec import Struct
from msgspec.structs import asdict

from swarm_persistence import Storage, TaskModel
from swarm_persistence.storage import interventions
from swarm_persistence.storage.claim_requests import LEASE_SECONDS
from swarm_persistence.storage.interventions import task_as_claimed
from swarm_persistence.web.dependencies import Idempotent, InjectedStorage, RecordId
from swarm_persistence.web.idempotency import IdempotentRequest


class HeldClaim(Struct, kw_only=True, forbid_unknown_fields=True):
    """The claim that the call relies on: its agent, and the task's `claim_count` as the claim returned it."""

    agent_id: str
    claim_count: int


class LeaseExtension(HeldClaim, kw_only=True, forbid_unknown_fields=True):
    """How long a claim is extended, from now on."""

    lease: float = LEASE_SECONDS
    is_running: bool = False
    """Set the status to `running` as well."""


class TaskProgress(HeldClaim, kw_only=True, forbid_unknown_fields=True):
    """How far a task is."""

    progress: float
    """From 0 to 1."""
    text: str | None = None


class TaskCompletion(HeldClaim, kw_only=True, forbid_unknown_fields=True):
    """The result of a task."""

    result: Any = None


class TaskFailure(HeldClaim, kw_only=True, forbid_unknown_fields=True):
    """Why a task has failed, and when to try again."""

    error: str
    retry_in: float | None = None
    max_retries: int | None = None
    """Replaces the task's own limit: with 0, it fails for good."""


class TaskRelease(Struct, kw_only=True, forbid_unknown_fields=True):
    """The claim to release; without one, whichever there is, as an operator may do."""

    agent_id: str | None = None
    claim_count: int | None = None
    retry_in: float = 0.0


@post("/{id:str}/extend", status_code=200)
async def extend_lease(
    data: JSONBody[LeaseExtension], record_id: RecordId, storage: InjectedStorage, idempotent: Idempotent
) -> Response[TaskModel]:
    """Extend a claim; 409 if it is over."""
    return await _change(
        idempotent,
        storage,
        record_id,
        data,
        lambda task: storage.extend_lease(task, lease=data.lease, is_running=data.is_running),
    )


@post("/{id:str}/progress", status_code=200)
async def report_progress(
    data: JSONBody[TaskProgress], record_id: RecordId, storage: InjectedStorage, idempotent: Idempotent
) -> Response[TaskModel]:
    """Set how far a claimed task is; 409 if the claim is over."""
    return await _change(
        idempotent, storage, record_id, data, lambda task: storage.report_progress(task, data.progress, data.text)
    )


@post("/{id:str}/complete", status_code=200)
async def complete_task(
    data: JSONBody[TaskCompletion], record_id: RecordId, storage: InjectedStorage, idempotent: Idempotent
) -> Response[TaskModel]:
    """Complete a task with its result; 409 if the claim is over."""
    return await _change(idempotent, storage, record_id, data, lambda task: storage.complete_task(task, data.result))


@post("/{id:str}/fail", status_code=200)
async def fail_task(
    data: JSONBody[TaskFailure], record_id: RecordId, storage: InjectedStorage, idempotent: Idempotent
) -> Response[TaskModel]:
    """Record a failure: the task is tried again later, or has failed for good; 409 if the claim is over."""
    return await _change(
        idempotent,
        storage,
        record_id,
        data,
        lambda task: storage.fail_task(task, data.error, retry_in=data.retry_in, max_retries=data.max_retries),
    )


@post("/{id:str}/release", status_code=200)
async def release_task(
    data: JSONBody[TaskRelease], record_id: RecordId, storage: InjectedStorage, idempotent: Idempotent
) -> Response[TaskModel]:
    """Give a task back: it is pending again, and no retry is counted; 409 if the claim is over."""
    return await idempotent.record_once(lambda: interventions.release(storage, record_id, **asdict(data)))


async def _change(
    idempotent: IdempotentRequest,
    storage: Storage,
    id: str,
    claim: HeldClaim,
    change: Callable[[TaskModel], Awaitable[object]],
) -> Response[TaskModel]:
    """Change the task of a claim once, and answer with the changed task."""

    async def change_task() -> TaskModel:
        task = await task_as_claimed(storage, id, claim.agent_id, claim.claim_count)
        await change(task)
        return task

    return await idempotent.record_once(change_task)


HANDLERS = (extend_lease, report_progress, complete_task, fail_task, release_task)
