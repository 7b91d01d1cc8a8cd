"""Schedules over HTTP: list, show, put, pause, resume, delete."""

from litestar import Response, Router, delete, post
from litestar.di import NamedDependency

from swarm_persistence import ScheduleModel, Storage
from swarm_persistence.web.answers import record_answer
from swarm_persistence.web.api.parameters import IfMatch
from swarm_persistence.web.api.records import (
    count_handler,
    delete_if_it_matches,
    delete_matching_handler,
    list_handler,
    show_handler,
    store_handler,
)
from swarm_persistence.web.idempotency import IdempotentRequest


@post("/{id:str}/pause", status_code=200)
async def pause_schedule(
    record_id: NamedDependency[str], storage: NamedDependency[Storage], idempotent: NamedDependency[IdempotentRequest]
) -> Response[ScheduleModel]:
    """Let a schedule store no tasks until it is resumed."""

    async def pause() -> Response[ScheduleModel]:
        return record_answer(await storage.pause_schedule(record_id))

    return await idempotent.once(pause)


@post("/{id:str}/resume", status_code=200)
async def resume_schedule(
    record_id: NamedDependency[str], storage: NamedDependency[Storage], idempotent: NamedDependency[IdempotentRequest]
) -> Response[ScheduleModel]:
    """Resume a paused schedule from its next time after now."""

    async def resume() -> Response[ScheduleModel]:
        return record_answer(await storage.resume_schedule(record_id))

    return await idempotent.once(resume)


@delete("/{id:str}")
async def delete_schedule(
    record_id: NamedDependency[str], storage: NamedDependency[Storage], if_match: IfMatch = None
) -> None:
    """Delete a schedule, if there is one; the tasks that it has stored stay."""
    if if_match is None:
        await storage.delete_schedule(record_id)
    else:
        await delete_if_it_matches(storage, await storage.get_schedule(record_id), if_match)


ROUTER = Router(
    "/schedules",
    route_handlers=[
        list_handler(ScheduleModel),
        store_handler(ScheduleModel),
        count_handler(ScheduleModel),
        delete_matching_handler(ScheduleModel),
        show_handler(ScheduleModel),
        delete_schedule,
        pause_schedule,
        resume_schedule,
    ],
    tags=["schedules"],
)
