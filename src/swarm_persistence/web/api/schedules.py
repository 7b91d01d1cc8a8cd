"""Schedules over HTTP: list, show, put, pause, resume, delete."""

from litestar import Response, Router, delete, post

from swarm_persistence import ScheduleModel
from swarm_persistence.web.api.parameters import IfMatch
from swarm_persistence.web.api.records import common_handlers, delete_if_it_matches
from swarm_persistence.web.dependencies import Idempotent, InjectedStorage, RecordId


@post("/{id:str}/pause", status_code=200)
async def pause_schedule(
    record_id: RecordId, storage: InjectedStorage, idempotent: Idempotent
) -> Response[ScheduleModel]:
    """Let a schedule store no tasks until it is resumed."""
    return await idempotent.record_once(lambda: storage.pause_schedule(record_id))


@post("/{id:str}/resume", status_code=200)
async def resume_schedule(
    record_id: RecordId, storage: InjectedStorage, idempotent: Idempotent
) -> Response[ScheduleModel]:
    """Resume a paused schedule from its next time after now."""
    return await idempotent.record_once(lambda: storage.resume_schedule(record_id))


@delete("/{id:str}")
async def delete_schedule(record_id: RecordId, storage: InjectedStorage, if_match: IfMatch = None) -> None:
    """Delete a schedule, if there is one; the tasks that it has stored stay."""
    if if_match is None:
        await storage.delete_schedule(record_id)
    else:
        await delete_if_it_matches(storage, await storage.get_schedule(record_id), if_match)


ROUTER = Router(
    "/schedules",
    route_handlers=[
        *common_handlers(ScheduleModel),
        delete_schedule,
        pause_schedule,
        resume_schedule,
    ],
    tags=["schedules"],
)
