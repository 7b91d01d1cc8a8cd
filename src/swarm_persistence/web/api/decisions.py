"""Decisions of people over HTTP: approve or reject a task that no worker handles; cancel or retry any."""

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Struct

from swarm_persistence import Storage, TaskModel
from swarm_persistence.storage import interventions
from swarm_persistence.web.answers import record_answer
from swarm_persistence.web.idempotency import IdempotentRequest


class Decision(Struct, kw_only=True, forbid_unknown_fields=True):
    """The person who decides, and the reason."""

    by: str
    comment: str | None = None


@post("/{id:str}/approve", status_code=200)
async def approve_task(
    data: JSONBody[Decision],
    record_id: NamedDependency[str],
    storage: NamedDependency[Storage],
    idempotent: NamedDependency[IdempotentRequest],
) -> Response[TaskModel]:
    """Complete a pending task that waits for a decision; 409 if it is decided, or waits for its dependencies."""

    async def approve() -> Response[TaskModel]:
        return record_answer(await storage.approve_task(record_id, data.by, data.comment))

    return await idempotent.once(approve)


@post("/{id:str}/reject", status_code=200)
async def reject_task(
    data: JSONBody[Decision],
    record_id: NamedDependency[str],
    storage: NamedDependency[Storage],
    idempotent: NamedDependency[IdempotentRequest],
) -> Response[TaskModel]:
    """Fail a pending task that waits for a decision, for good; 409 if it is decided, or waits for its dependencies."""

    async def reject() -> Response[TaskModel]:
        return record_answer(await storage.reject_task(record_id, data.by, data.comment))

    return await idempotent.once(reject)


@post("/{id:str}/cancel", status_code=200)
async def cancel_task(
    record_id: NamedDependency[str], storage: NamedDependency[Storage], idempotent: NamedDependency[IdempotentRequest]
) -> Response[TaskModel]:
    """Cancel a task that is not finished, whichever agent holds it; 409 if it is finished."""

    async def cancel() -> Response[TaskModel]:
        return record_answer(await interventions.cancel(storage, record_id))

    return await idempotent.once(cancel)


@post("/{id:str}/retry", status_code=200)
async def retry_task(
    record_id: NamedDependency[str], storage: NamedDependency[Storage], idempotent: NamedDependency[IdempotentRequest]
) -> Response[TaskModel]:
    """Make a finished task pending again, as if it had never run; 409 if it is not finished."""

    async def retry() -> Response[TaskModel]:
        return record_answer(await storage.retry_task(record_id))

    return await idempotent.once(retry)


HANDLERS = (approve_task, reject_task, cancel_task, retry_task)
