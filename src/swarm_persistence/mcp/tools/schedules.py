"""The tools of schedules."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from swarm_persistence import ScheduleModel, Storage
from swarm_persistence.mcp.shown import DEFAULT_CHARACTERS, listed, shown
from swarm_persistence.mcp.tools.parameters import Characters, JsonValue, Limit, Priority

ScheduleName = Annotated[str, Meta(description="The name of the schedule.")]


async def list_schedules(
    storage: Storage, *, limit: Limit = 20, max_characters: Characters = DEFAULT_CHARACTERS
) -> dict[str, Any]:
    """List the schedules that add tasks at fixed times, by name, each with its next time."""
    found = await storage.list_schedules()
    hint = "list_schedules with a larger max_characters"
    return listed(
        "schedules", (shown(each, max_characters, hint) for each in found), limit, "list_schedules with a larger limit"
    )


async def store_schedule(
    storage: Storage,
    *,
    name: Annotated[str, Meta(description="Its name. A schedule of this name is replaced; if paused, it stays so.")],
    task_type: Annotated[str, Meta(description="The type of the tasks that it adds.")],
    payload: Annotated[JsonValue, Meta(description="Their payload: any JSON value.")] = None,
    cron: Annotated[str | None, Meta(description="Its times as a cron expression, as in '30 2 * * *'.")] = None,
    every_seconds: Annotated[
        float | None, Meta(description="In place of cron: how many seconds are between its times.")
    ] = None,
    timezone: Annotated[str, Meta(description="The zone whose clocks cron means, as in 'Europe/Berlin'.")] = "UTC",
    starts_at: Annotated[datetime | None, Meta(description="No time before this one.")] = None,
    catch_up: Annotated[
        Literal["skip", "one", "all"],
        Meta(description="Of the times that pass without a worker: no task, one for the latest, or one for each."),
    ] = "one",
    paused: Annotated[bool, Meta(description="True: a new one adds no tasks until it is resumed.")] = False,
    priority: Priority = "medium",
    max_retries: Annotated[int, Meta(ge=0, description="How often a task is tried again after a failure.")] = 3,
    task_fields: Annotated[
        dict[str, Any] | None,
        Meta(description="More of the tasks: group, tags, concurrency_key, required_capabilities."),
    ] = None,
) -> dict[str, Any]:
    """Store a schedule: from now on, a task of it is added at each of its times. Give cron or every_seconds."""
    schedule = await storage.store_schedule(
        ScheduleModel.new(
            name,
            task_type,
            payload,
            cron=cron,
            every=every_seconds,
            timezone=timezone,
            starts_at=starts_at,
            catch_up=catch_up,
            paused=paused,
            priority=priority,
            max_retries=max_retries,
            task_fields=task_fields,
        )
    )
    return _state(schedule)


async def delete_schedule(storage: Storage, *, name: ScheduleName) -> dict[str, Any]:
    """Delete a schedule. The tasks that it has added stay."""
    return {"name": name, "deleted": await storage.delete_schedule(name)}


async def pause_schedule(storage: Storage, *, name: ScheduleName) -> dict[str, Any]:
    """Let a schedule add no tasks until it is resumed."""
    await storage.pause_schedule(name)
    return {"name": name, "paused": True}


async def resume_schedule(storage: Storage, *, name: ScheduleName) -> dict[str, Any]:
    """Resume a paused schedule. What it has missed is not caught up."""
    return _state(await storage.resume_schedule(name))


def _state(schedule: ScheduleModel) -> dict[str, Any]:
    return {
        "name": schedule.name,
        "paused": schedule.paused,
        "next_at": None if schedule.next_at is None else schedule.next_at.isoformat(),
    }
