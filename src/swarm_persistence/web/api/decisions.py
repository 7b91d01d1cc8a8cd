"""Decisions over HTTP: a person approves or rejects a task that no worker handles."""

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Struct

from swarm_persistence import Storage, TaskModel
from swarm_persistence.web.answers import record_answer
from swarm_persistence.web.repetition import Repetition


class Decision(Struct, kw_only=True, forbid_unknown_fields=True):
    """The person who decides, and the reason."""

    by: str
    comment: str | None = None


@post("/{id:str}/approve", status_code=200)
async def approve_task(
    data: JSONBody[Decision],
    record_id: NamedDependency[str],
    storage: NamedDependency[Storage],
    repetition: NamedDependency[Repetition],
) -> Response[TaskModel]:
    """Complete a pending task that waits for a decision; 409 if it is decided, or waits for its dependencies."""

    async def approve() -> Response[TaskModel]:
        return record_answer(await storage.approve_task(record_id, data.by, data.comment))

    return await repetition.once(approve)


@post("/{id:str}/reject", status_code=200)
async def reject_task(
    data: JSONBody[Decision],
    record_id: NamedDependency[str],
    storage: NamedDependency[Storage],
    repetition: NamedDependency[Repetition],
) -> Response[TaskModel]:
    """Fail a pending task that waits for a decision, for good; 409 if it is decided, or waits for its dependencies."""

    async def reject() -> Response[TaskModel]:
        return record_answer(await storage.reject_task(record_id, data.by, data.comment))

    return await repetition.once(reject)


HANDLERS = (approve_task, reject_task)
