"""The list of tasks, and the page of one, with its dependencies and dependents as a graph of three columns."""

import asyncio
from collections.abc import Sequence
from urllib.parse import unquote

import msgspec
from litestar import Response, get
from litestar.params import FromPath, FromQuery

from swarm_persistence import Storage, TaskModel, TaskStatus
from swarm_persistence.query.task_statuses import HELD
from swarm_persistence.web.access import Visit
from swarm_persistence.web.dependencies import AnyRequest, InjectedStorage, InjectedVisit
from swarm_persistence.web.page.approvals import types_to_decide
from swarm_persistence.web.page.lists import listed
from swarm_persistence.web.page.rendering import render
from swarm_persistence.web.page.task_events import events_of
from swarm_persistence.web.page.task_life import claims_of, life_of

_FILTERS = ("status", "task_type", "assigned_to", "priority", "idempotency_key", "concurrency_key", "group", "id.ge")
_MOST_RELATIVES = 30

_WIDTH = 720
_BOX_WIDTH = 190
_BOX_HEIGHT = 40
_GAP = 12
_COLUMNS = (0, (_WIDTH - _BOX_WIDTH) // 2, _WIDTH - _BOX_WIDTH)


class Box(msgspec.Struct, frozen=True):
    """One task of the graph."""

    id: str
    task: TaskModel | None
    """`None` if none of this id is stored."""
    x: int
    y: int
    is_own: bool = False


class Graph(msgspec.Struct, frozen=True):
    """Boxes, and the lines between them as paths of SVG."""

    height: int
    boxes: list[Box]
    paths: list[str]
    width: int = _WIDTH
    box_width: int = _BOX_WIDTH
    box_height: int = _BOX_HEIGHT


Column = Sequence[tuple[str, TaskModel | None]]


def graph_of(before: Column, task: TaskModel, after: Column) -> Graph:
    """Return the graph of a task between the tasks before and after it."""
    rows = max(len(before), len(after), 1)
    height = rows * (_BOX_HEIGHT + _GAP) - _GAP
    own = Box(task.id, task, _COLUMNS[1], (height - _BOX_HEIGHT) // 2, is_own=True)
    first, last = _column(before, _COLUMNS[0], height), _column(after, _COLUMNS[2], height)
    paths = [_path(box, own) for box in first] + [_path(own, box) for box in last]
    return Graph(height, [*first, own, *last], paths)


def _column(tasks: Column, x: int, height: int) -> list[Box]:
    top = (height - (len(tasks) * (_BOX_HEIGHT + _GAP) - _GAP)) // 2
    return [Box(id, task, x, top + place * (_BOX_HEIGHT + _GAP)) for place, (id, task) in enumerate(tasks)]


def _path(start: Box, end: Box) -> str:
    x1, y1 = start.x + _BOX_WIDTH, start.y + _BOX_HEIGHT // 2
    x2, y2 = end.x - 6, end.y + _BOX_HEIGHT // 2
    middle = (x1 + x2) // 2
    return f"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"


class TaskActions(msgspec.Struct, frozen=True):
    """The actions that the task's present state allows."""

    retry: bool
    cancel: bool
    release: bool
    priority: bool


@get("/tasks", include_in_schema=False)
async def tasks(
    request: AnyRequest,
    storage: InjectedStorage,
    visit: InjectedVisit,
    done: FromQuery[str] = "",
    count: FromQuery[int] = 0,
) -> Response[str]:
    """List tasks, the newest first; after an action on many, tell how many tasks it has changed."""
    found = await listed(request, storage, TaskModel, _FILTERS, "-id")
    return render(visit, "tasks.html", found=found, done=done, count=count)


@get("/tasks/{id:str}", include_in_schema=False)
async def task(
    storage: InjectedStorage, visit: InjectedVisit, id: FromPath[str], done: FromQuery[str] = ""
) -> Response[str]:
    """Show one task in full."""
    return await task_page(storage, visit, unquote(id), done=done)


async def task_page(
    storage: Storage, visit: Visit, id: str, *, done: str = "", refusal: str = "", status_code: int = 200
) -> Response[str]:
    """Return the page of a task."""
    found = await storage.get_task(id)
    if found is None:
        named = {"task_id": id}
        return render(visit, "missing.html", status_code=404, page="Tasks", noun="task", id=id, events=named)
    dependencies, dependents, searched = await asyncio.gather(
        storage.get_dependencies(found), storage.get_waiting_dependents(id, _MOST_RELATIVES), events_of(storage, found)
    )
    statuses = [dependencies[each].status if each in dependencies else None for each in found.dependencies]
    is_ready = found.status is TaskStatus.PENDING and all(each is TaskStatus.COMPLETED for each in statuses)
    return render(
        visit,
        "task.html",
        status_code=status_code,
        task=found,
        actions=_actions(found),
        waits_for_decision=is_ready and bool(await types_to_decide(storage, [found.task_type])),
        dependencies={each: dependencies.get(each) for each in found.dependencies},
        dependents=dependents,
        graph=_graph(found, dependencies, dependents),
        claims=claims_of(found),
        life=life_of(found, searched.events),
        searched=searched,
        done=done,
        refusal=refusal,
        is_live=not refusal,
    )


def _actions(task: TaskModel) -> TaskActions:
    is_held = task.status in HELD
    is_pending = task.status is TaskStatus.PENDING
    return TaskActions(
        retry=not is_held and not is_pending, cancel=is_held or is_pending, release=is_held, priority=is_pending
    )


def _graph(task: TaskModel, dependencies: dict[str, TaskModel], dependents: list[TaskModel]) -> Graph | None:
    if not task.dependencies and not dependents:
        return None
    before = [(id, dependencies.get(id)) for id in task.dependencies[:_MOST_RELATIVES]]
    return graph_of(before, task, [(each.id, each) for each in dependents])
