"""Tasks over HTTP: list, show, store, change, wait, watch, and decisions of people; other files have claims."""

import contextlib
from typing import Annotated

from litestar import Response, Router, get, post
from litestar.params import FromQuery, JSONBody, QueryParameter
from litestar.response import Stream
from msgspec import Struct

from swarm_persistence import TaskModel, UnmetDependency, WaitTimeoutError
from swarm_persistence.storage import interventions
from swarm_persistence.web.answers import answer, record_answer
from swarm_persistence.web.api import claims, held_claims
from swarm_persistence.web.api.parameters import LastEventId, Limit, Wait
from swarm_persistence.web.api.records import change_handler, existing, handlers_of_many, store_handler
from swarm_persistence.web.dependencies import AnyRequest, Idempotent, InjectedStorage, InjectedStreams, RecordId
from swarm_persistence.web.event_streams import event_stream
from swarm_persistence.web.lists import DEFAULT_RECORDS
from swarm_persistence.web.open_streams import wait_for

_Texts = Annotated[list[str] | None, QueryParameter(description="Only those; may be repeated.")]
_After = Annotated[
    str, QueryParameter(description='The id of an event of this stream; "now", or "" for all that is stored first.')
]


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


@get("/{id:str}")
async def show_task(
    record_id: RecordId, request: AnyRequest, storage: InjectedStorage, streams: InjectedStreams, wait: Wait = 0
) -> Response[TaskModel]:
    """Return one task; with `wait`, once it is finished, or as it is after so many seconds."""
    if wait:
        with contextlib.suppress(WaitTimeoutError):
            task = await wait_for(storage.wait_for_task(record_id, timeout=wait), request, streams)
            return record_answer(task)
    return record_answer(await existing(storage, TaskModel, record_id))


@get("/{id:str}/dependencies")
async def show_dependencies(record_id: RecordId, storage: InjectedStorage) -> Response[list[UnmetDependency]]:
    """Return what a pending task waits for: the dependencies that are not completed, stored or not."""
    await existing(storage, TaskModel, record_id)
    unmet = await storage.get_unmet_dependencies(task_ids=[record_id])
    return answer([*unmet.get(record_id, ())])


class BlockedTask(Struct, frozen=True):
    """A task that waits for dependencies, and for which."""

    task: TaskModel
    unmet_dependencies: list[UnmetDependency]


@get("/blocked")
async def list_blocked_tasks(storage: InjectedStorage, limit: Limit = DEFAULT_RECORDS) -> Response[list[BlockedTask]]:
    """Return the pending tasks that wait for a dependency, the most urgent first, each with those that it waits for.

    A dependency `is_missing` if it is not stored although the task is a minute old: its id may be mistyped.
    """
    tasks = await storage.get_blocked_tasks(limit)
    unmet = await storage.get_unmet_dependencies(task_ids=[task.id for task in tasks])
    return answer([BlockedTask(task, [*unmet[task.id]]) for task in tasks if task.id in unmet])


@get("/stream", media_type="text/event-stream")
async def stream_tasks(
    storage: InjectedStorage,
    streams: InjectedStreams,
    id: _Texts = None,
    task_type: _Texts = None,
    status: _Texts = None,
    group: FromQuery[str | None] = None,
    after: _After = "now",
    last_event_id: LastEventId = None,
) -> Stream:
    """Send each task whenever any process writes it, as Server-Sent Events.

    Writes that follow each other quickly are coalesced: the latest version is never missed. A client that connects
    again resumes where it was, by the `Last-Event-ID` that browsers send.
    """
    position = last_event_id or after or None
    changes = storage.watch_tasks(ids=id, types=task_type, statuses=status, group=group, after=position)
    return event_stream(changes, lambda _: changes.cursor, streams)


ROUTER = Router(
    "/tasks",
    route_handlers=[
        *handlers_of_many(TaskModel),
        store_handler(TaskModel),
        list_blocked_tasks,
        stream_tasks,
        show_task,
        change_handler(TaskModel),
        show_dependencies,
        *claims.HANDLERS,
        *held_claims.HANDLERS,
        approve_task,
        reject_task,
        cancel_task,
        retry_task,
    ],
    tags=["tasks"],
)
