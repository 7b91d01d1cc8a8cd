"""The schedules, the page of one, and their actions."""

import asyncio
from datetime import datetime
from urllib.parse import unquote

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from swarm_persistence import QueryBuilder, ScheduleModel, StorageError, TaskModel, next_times
from swarm_persistence.web.dependencies import FormFields, InjectedStorage, InjectedVisit
from swarm_persistence.web.page.confirming import ask, question_of
from swarm_persistence.web.page.rendering import redirect, render
from swarm_persistence.web.paths import path_part

QUESTIONS = {
    "pause": "Pause this schedule? It stores no tasks until it is resumed; those that it has stored go on.",
    "resume": "Resume this schedule? It goes on from its next time; what has passed meanwhile is not caught up.",
    "delete": "Delete this schedule? The tasks that it has stored stay.",
}
_TIMES_IN_LIST = 3
_TIMES = 10
_MOST_TASKS = 25


@get("/schedules", include_in_schema=False)
async def schedules(storage: InjectedStorage, visit: InjectedVisit, done: FromQuery[str] = "") -> Response[str]:
    """List the schedules by name, each with its next times."""
    found = await storage.list_schedules()
    return render(
        visit,
        "schedules.html",
        again_in=5.0,
        schedules=[(each, *_times(each, _TIMES_IN_LIST)) for each in found],
        done=done,
    )


@get("/schedules/{id:str}", include_in_schema=False)
async def schedule(
    storage: InjectedStorage, visit: InjectedVisit, id: FromPath[str], done: FromQuery[str] = ""
) -> Response[str]:
    """Show a schedule: its next times, what it stores, and the latest tasks."""
    name = unquote(id)
    # The key of a schedule's task begins so; the tasks are in the order of their times.
    first = f"schedule {name} "
    keyed = QueryBuilder(TaskModel).where_ge("idempotency_key", first).where_lt("idempotency_key", first + ":")
    latest = keyed.order_by("idempotency_key", desc=True).limit(_MOST_TASKS)
    found, tasks = await asyncio.gather(storage.get_schedule(name), storage.repository(TaskModel).query(latest))
    if found is None:
        return render(visit, "missing.html", status_code=404, page="Schedules", noun="schedule", id=name, events={})
    times, refusal = _times(found, _TIMES)
    return render(
        visit,
        "schedule.html",
        again_in=5.0,
        schedule=found,
        times=times,
        refusal=refusal,
        tasks=tasks,
        done=done,
    )


@post("/schedules/{id:str}/{action:str}", status_code=303, include_in_schema=False)
async def act(
    storage: InjectedStorage, visit: InjectedVisit, id: FromPath[str], action: FromPath[str], data: FormFields
) -> Response[str] | Response[None]:
    """Pause, resume or delete a schedule; without a confirmation, ask for one."""
    name = unquote(id)
    question = question_of(action, QUESTIONS)
    here = f"/schedules/{path_part(name)}"
    if data.get("confirmed") != "yes":
        return ask(visit, "Schedules", question, name, here, action, data)
    if action == "pause":
        await storage.pause_schedule(name)
    elif action == "resume":
        await storage.resume_schedule(name)
    else:
        await storage.delete_schedule(name)
        here = "/schedules"
    return redirect(visit, f"{here}?done={action}")


def _times(schedule: ScheduleModel, count: int) -> tuple[list[datetime], str]:
    """Return the next times, or why they cannot be computed: the extra may be missing, for instance."""
    try:
        return next_times(schedule, count), ""
    except StorageError as error:
        return [], str(error)
