"""Claims over HTTP: take the next task, extend the claim, and end it, also as an operator."""

import functools
import time
from typing import Any, cast

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Struct

from swarm_persistence import ConflictError, Storage, TaskModel
from swarm_persistence.storage import interventions
from swarm_persistence.web.answers import record_answer
from swarm_persistence.web.api.records import existing
from swarm_persistence.web.long_polls import wait_for
from swarm_persistence.web.open_streams import OpenStreams
from swarm_persistence.web.problems import HttpProblem
from swarm_persistence.web.repetition import Repetition

LEASE_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 60.0


class ClaimOfNext(Struct, kw_only=True, forbid_unknown_fields=True):
    """An agent that claims the next task, and of which types."""

    agent_id: str
    task_types: list[str] | None = None
    capabilities: list[str] | None = None
    lease: float = LEASE_SECONDS
    """Seconds; extend the claim before."""
    wait: float = 0.0
    """How many seconds to wait for a task, 60 at most."""
    ageing: float | None = None
    """A task counts as one priority higher for each so many seconds that it has waited."""


class ClaimOfOne(Struct, kw_only=True, forbid_unknown_fields=True):
    """An agent that claims a task."""

    agent_id: str
    lease: float | None = LEASE_SECONDS


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


@post("/claim", status_code=200)
async def claim_next_task(
    data: JSONBody[ClaimOfNext],
    request: Request[Any, Any, Any],
    storage: NamedDependency[Storage],
    streams: NamedDependency[OpenStreams],
    repetition: NamedDependency[Repetition],
) -> Response[TaskModel | None]:
    """Claim the next ready task: 200, or 204 if there is none within the time to wait.

    Of the highest priority first, then the one stored first. No other agent gets it while the claim holds. If the
    caller goes away while it waits, no task is claimed for it.
    """
    if not 0 <= data.wait <= LONGEST_WAIT_SECONDS:
        raise HttpProblem(422, f"wait is {data.wait}, expected 0 to {LONGEST_WAIT_SECONDS:g} seconds")
    work = _claim_once(data, storage, repetition) if repetition.has_key else _claim(data, storage)
    return await wait_for(work, request, streams)


async def _claim(data: JSONBody[ClaimOfNext], storage: Storage) -> Response[TaskModel | None]:
    claim = functools.partial(
        storage.claim_next_task,
        data.agent_id,
        task_types=data.task_types,
        capabilities=data.capabilities,
        lease=data.lease,
        ageing=data.ageing,
    )
    task = await claim()
    if task is None:
        # In a swarm without a worker of Python, no other process gives back what dead agents hold.
        await storage.requeue_expired_tasks(heartbeat_timeout=None)
        task = await claim(wait=data.wait)
    if task is None:
        return _nothing()
    return cast("Response[TaskModel | None]", record_answer(task))


class _NoTaskError(Exception):
    """No task is ready, and nothing is to be kept of the attempt."""


async def _claim_once(
    data: JSONBody[ClaimOfNext], storage: Storage, repetition: Repetition
) -> Response[TaskModel | None]:
    """Claim within the transaction that keeps the answer, which cannot wait; wait between the attempts."""

    async def claim() -> Response[TaskModel | None]:
        answered = await _claim(msgspec.structs.replace(data, wait=0.0), storage)
        if answered.status_code == 204:
            raise _NoTaskError
        return answered

    deadline = time.monotonic() + data.wait
    watch = storage.watch_ready_tasks(task_types=data.task_types, capabilities=data.capabilities)
    try:
        while True:
            try:
                return await repetition.once(claim)
            except _NoTaskError:
                rest = deadline - time.monotonic()
                if rest <= 0 or not await watch.wait(rest):
                    return _nothing()
    finally:
        watch.close()


@post("/{id:str}/claim", status_code=200)
async def claim_task(
    data: JSONBody[ClaimOfOne],
    record_id: NamedDependency[str],
    storage: NamedDependency[Storage],
    repetition: NamedDependency[Repetition],
) -> Response[TaskModel]:
    """Claim one task; 409 if it is not pending."""

    async def claim() -> Response[TaskModel]:
        if not await storage.claim_task(record_id, data.agent_id, lease=data.lease):
            task = await existing(storage, TaskModel, record_id)
            raise ConflictError(f"task {record_id!r} is {task.status}; only a pending task can be claimed")
        return record_answer(await existing(storage, TaskModel, record_id))

    return await repetition.once(claim)


@post("/{id:str}/extend", status_code=200)
async def extend_lease(
    data: JSONBody[LeaseExtension],
    record_id: NamedDependency[str],
    storage: NamedDependency[Storage],
    repetition: NamedDependency[Repetition],
) -> Response[TaskModel]:
    """Extend a claim; 409 if it is over."""

    async def extend() -> Response[TaskModel]:
        task = await _held(storage, record_id, data)
        await storage.extend_lease(task, lease=data.lease, is_running=data.is_running)
        return record_answer(task)

    return await repetition.once(extend)


@post("/{id:str}/progress", status_code=200)
async def report_progress(
    data: JSONBody[TaskProgress],
    record_id: NamedDependency[str],
    storage: NamedDependency[Storage],
    repetition: NamedDependency[Repetition],
) -> Response[TaskModel]:
    """Set how far a claimed task is; 409 if the claim is over."""

    async def report() -> Response[TaskModel]:
        task = await _held(storage, record_id, data)
        await storage.report_progress(task, data.progress, data.text)
        return record_answer(task)

    return await repetition.once(report)


@post("/{id:str}/complete", status_code=200)
async def complete_task(
    data: JSONBody[TaskCompletion],
    record_id: NamedDependency[str],
    storage: NamedDependency[Storage],
    repetition: NamedDependency[Repetition],
) -> Response[TaskModel]:
    """Complete a task with its result; 409 if the claim is over."""

    async def complete() -> Response[TaskModel]:
        task = await _held(storage, record_id, data)
        await storage.complete_task(task, data.result)
        return record_answer(task)

    return await repetition.once(complete)


@post("/{id:str}/fail", status_code=200)
async def fail_task(
    data: JSONBody[TaskFailure],
    record_id: NamedDependency[str],
    storage: NamedDependency[Storage],
    repetition: NamedDependency[Repetition],
) -> Response[TaskModel]:
    """Record a failure: the task is tried again later, or has failed for good; 409 if the claim is over."""

    async def fail() -> Response[TaskModel]:
        task = await _held(storage, record_id, data)
        await storage.fail_task(task, data.error, retry_in=data.retry_in, max_retries=data.max_retries)
        return record_answer(task)

    return await repetition.once(fail)


@post("/{id:str}/release", status_code=200)
async def release_task(
    data: JSONBody[TaskRelease],
    record_id: NamedDependency[str],
    storage: NamedDependency[Storage],
    repetition: NamedDependency[Repetition],
) -> Response[TaskModel]:
    """Give a task back: it is pending again, and no retry is counted; 409 if the claim is over."""

    async def release() -> Response[TaskModel]:
        task = await interventions.release(
            storage, record_id, agent_id=data.agent_id, claim_count=data.claim_count, retry_in=data.retry_in
        )
        return record_answer(task)

    return await repetition.once(release)


async def _held(storage: Storage, id: str, claim: HeldClaim) -> TaskModel:
    """Return the task as this claim has it; the storage checks with each write whether it holds."""
    task: TaskModel = await existing(storage, TaskModel, id)
    return msgspec.structs.replace(task, assigned_to=claim.agent_id, claim_count=claim.claim_count)


def _nothing() -> Response[TaskModel | None]:
    nothing: Any = b""
    return Response(nothing, status_code=204)


HANDLERS = (
    claim_next_task,
    claim_task,
    extend_lease,
    report_progress,
    complete_task,
    fail_task,
    release_task,
)
