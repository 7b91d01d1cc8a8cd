"""Claims over HTTP: claim the next task, at once or when there is one, or a task by its id."""

import time
from typing import Any, cast

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Struct

from swarm_persistence import ConflictError, Storage, TaskModel
from swarm_persistence.storage.claims import LEASE_SECONDS
from swarm_persistence.storage.remote_claims import claim_or_requeue
from swarm_persistence.web.answers import record_answer
from swarm_persistence.web.api.records import existing
from swarm_persistence.web.long_polls import wait_for
from swarm_persistence.web.open_streams import OpenStreams
from swarm_persistence.web.problems import HttpProblem
from swarm_persistence.web.repetition import Repetition

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
    task = await claim_or_requeue(
        storage,
        data.agent_id,
        task_types=data.task_types,
        capabilities=data.capabilities,
        lease=data.lease,
        ageing=data.ageing,
        wait=data.wait,
    )
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


def _nothing() -> Response[TaskModel | None]:
    nothing: Any = b""
    return Response(nothing, status_code=204)


HANDLERS = (claim_next_task, claim_task)
