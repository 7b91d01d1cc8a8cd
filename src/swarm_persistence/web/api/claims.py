"""Claims over HTTP: claim the next task, at once or after a wait, or a task by its id."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, TypeVar, cast

from litestar import Response, post
from litestar.params import JSONBody
from msgspec import Meta, Struct

from swarm_persistence import ConflictError, Storage, TaskModel
from swarm_persistence.storage.claim_requests import LEASE_SECONDS
from swarm_persistence.storage.interventions import claim_or_requeue
from swarm_persistence.web.answers import answer, record_answer
from swarm_persistence.web.api.records import existing
from swarm_persistence.web.dependencies import (
    AnyRequest,
    Idempotent,
    InjectedStorage,
    InjectedStreams,
    RecordId,
)
from swarm_persistence.web.idempotency import IdempotentRequest
from swarm_persistence.web.open_streams import wait_for
from swarm_persistence.web.problems import HttpProblem

T = TypeVar("T")

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
    is_running: bool = False
    """Set the status to `running` at once, rather than `assigned`."""


class ClaimOfSeveral(ClaimOfNext, kw_only=True, forbid_unknown_fields=True):
    """An agent that claims the next tasks, and how many at most."""

    limit: Annotated[int, Meta(ge=1, le=1000)]


class ClaimOfOne(Struct, kw_only=True, forbid_unknown_fields=True):
    """An agent that claims a task."""

    agent_id: str
    lease: float | None = LEASE_SECONDS


@post("/claim", status_code=200)
async def claim_next_task(
    data: JSONBody[ClaimOfNext],
    request: AnyRequest,
    storage: InjectedStorage,
    streams: InjectedStreams,
    idempotent: Idempotent,
) -> Response[TaskModel | None]:
    """Claim the next ready task: 200, or 204 if there is none within the time to wait.

    Of the highest priority first, then the one stored first. No other agent gets it while the claim holds. If the
    caller goes away while it waits, no task is claimed for it.
    """

    def show(tasks: list[TaskModel]) -> Response[TaskModel | None]:
        nothing: Any = b""
        found = record_answer(tasks[0]) if tasks else Response(nothing, status_code=204)
        return cast("Response[TaskModel | None]", found)

    return await wait_for(_claims(data, 1, storage, idempotent, show), request, streams)


@post("/claim/batch", status_code=200)
async def claim_next_tasks(
    data: JSONBody[ClaimOfSeveral],
    request: AnyRequest,
    storage: InjectedStorage,
    streams: InjectedStreams,
    idempotent: Idempotent,
) -> Response[list[TaskModel]]:
    """Claim up to `limit` next ready tasks in one write, in their order; an empty list if there is none in time.

    As `/tasks/claim`: it waits until there is at least one.
    """
    return await wait_for(_claims(data, data.limit, storage, idempotent, answer), request, streams)


async def _claims(
    data: ClaimOfNext,
    limit: int,
    storage: Storage,
    idempotent: IdempotentRequest,
    show: Callable[[list[TaskModel]], Response[T]],
) -> Response[T]:
    if not 0 <= data.wait <= LONGEST_WAIT_SECONDS:
        raise HttpProblem(422, f"wait is {data.wait}, expected 0 to {LONGEST_WAIT_SECONDS:g} seconds")

    claim_next = partial(
        storage.claim_next_tasks,
        data.agent_id,
        limit=limit,
        task_types=data.task_types,
        capabilities=data.capabilities,
        lease=data.lease,
        is_running=data.is_running,
        ageing=data.ageing,
    )

    async def claim(wait: float) -> list[TaskModel]:
        return await claim_or_requeue(storage, claim_next, wait)

    return (
        await _claim_once(data, claim, storage, idempotent, show)
        if idempotent.has_key
        else show(await claim(data.wait))
    )


class _NoTaskError(Exception):
    """No task is ready; the attempt is not recorded."""


async def _claim_once(
    data: ClaimOfNext,
    claim: Callable[[float], Awaitable[list[TaskModel]]],
    storage: Storage,
    idempotent: IdempotentRequest,
    show: Callable[[list[TaskModel]], Response[T]],
) -> Response[T]:
    """Claim in the transaction that stores the answer, which cannot wait; wait between attempts."""

    async def attempt() -> Response[T]:
        tasks = await claim(0.0)
        if not tasks:
            raise _NoTaskError
        return show(tasks)

    deadline = time.monotonic() + data.wait
    watch = storage.watch_ready_tasks(task_types=data.task_types, capabilities=data.capabilities)
    try:
        while True:
            try:
                return await idempotent.once(attempt)
            except _NoTaskError:
                rest = deadline - time.monotonic()
                if rest <= 0 or not await watch.wait(rest):
                    return show([])
    finally:
        watch.close()


@post("/{id:str}/claim", status_code=200)
async def claim_task(
    data: JSONBody[ClaimOfOne], record_id: RecordId, storage: InjectedStorage, idempotent: Idempotent
) -> Response[TaskModel]:
    """Claim one task; 409 if it is not pending."""

    async def claim() -> Response[TaskModel]:
        if not await storage.claim_task(record_id, data.agent_id, lease=data.lease):
            task = await existing(storage, TaskModel, record_id)
            raise ConflictError(f"task {record_id!r} is {task.status}; only a pending task can be claimed")
        return record_answer(await existing(storage, TaskModel, record_id))

    return await idempotent.once(claim)


HANDLERS = (claim_next_task, claim_next_tasks, claim_task)
