"""Decisions of people over HTTP: approve or reject a task that no worker handles; cancel or retry any."""

from litestar import Response, post
from litestar.params import JSONBody
from msgspec import Struct

from swarm_persistence import TaskModel
from swarm_persistence.storage import interventions
from swarm_persistence.web.dependencies import Idempotent, InjectedStorage, RecordId


class Decision(Struct, kw_only=True, forbid_unknown_fields=True):
    """The person who decides, and the reason."""

    by: str
    comment: str | None = None


@post("/{id:str}/approve", status_code=200)
async def approve_task(
    data: JSONBody[Decision], record_id: RecordId, storage: InjectedStorage, idempotent: Idempotent
) -> Response[TaskModel]:
    """Complete a pending task that waits for a decision; 409 if it is decided, or waits for its dependencies."""
    return await idempotent.record_once(lambda: storage.approve_task(record_id, data.by, data.comment))


@post("/{id:str}/reject", status_code=200)
async def reject_task(
    data: JSONBody[Decision], record_id: RecordId, storage: InjectedStorage, idempotent: Idempotent
) -> Response[TaskModel]:
    """Fail a pending task that waits for a decision, for good; 409 if it is decided, or waits for its dependencies."""
    return await idempotent.record_once(lambda: storage.reject_task(record_id, data.by, data.comment))


@post("/{id:str}/cancel", status_code=200)
async def cancel_task(record_id: RecordId, storage: InjectedStorage, idempotent: Idempotent) -> Response[TaskModel]:
    """Cancel a task that is not finished, whichever agent holds it; 409 if it is finished."""
    return await idempotent.record_once(lambda: interventions.cancel(storage, record_id))


@post("/{id:str}/retry", status_code=200)
async def retry_task(record_id: RecordId, storage: InjectedStorage, idempotent: Idempotent) -> Response[TaskModel]:
    """Make a finished task pending again, as if it had never run; 409 if it is not finished."""
    return await idempotent.record_once(lambda: storage.retry_task(record_id))


HANDLERS = (approve_task, reject_task, cancel_task, retry_task)
