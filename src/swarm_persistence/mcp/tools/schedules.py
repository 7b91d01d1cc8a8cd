"""The tools of schedules."""

from typing import Annotated, Any

from msgspec import Meta

from swarm_persistence import Storage
from swarm_persistence.mcp.shown import DEFAULT_CHARACTERS, listed, shown
from swarm_persistence.mcp.tools.parameters import Characters, Limit

ScheduleName = Annotated[str, Meta(description="The name of the schedule.")]


async def list_schedules(
    storage: Storage, *, limit: Limit = 20, max_characters: Characters = DEFAULT_CHARACTERS
) -> dict[str, Any]:
    """List the schedules that add tasks at fixed times, by name, each with its next time."""
    found = await storage.list_schedules()
    way = "list_schedules with a larger max_characters"
    return listed(
        "schedules", (shown(each, max_characters, way) for each in found), limit, "list_schedules with a larger limit"
    )


async def pause_schedule(storage: Storage, *, name: ScheduleName) -> dict[str, Any]:
    """Let a schedule add no tasks until it is resumed."""
    await storage.pause_schedule(name)
    return {"name": name, "paused": True}


async def resume_schedule(storage: Storage, *, name: ScheduleName) -> dict[str, Any]:
    """Let a paused schedule go on. What it has missed is not caught up."""
    schedule = await storage.resume_schedule(name)
    return {
        "name": name,
        "paused": False,
        "next_at": None if schedule.next_at is None else schedule.next_at.isoformat(),
    }
