"""Finds what a text in the search box names: a task, an agent, an event, a type or a key."""

from collections.abc import AsyncIterator
from urllib.parse import urlencode

from litestar import Response, get
from litestar.params import FromQuery

from swarm_persistence import AgentModel, EventModel, QueryBuilder, Storage, StorageError, TaskModel
from swarm_persistence.web.dependencies import InjectedStorage, InjectedVisit
from swarm_persistence.web.page.rendering import redirect, render
from swarm_persistence.web.paths import path_part

_TEXT_FIELDS = ("assigned_to", "task_type")


@get("/search", include_in_schema=False)
async def search(
    storage: InjectedStorage, visit: InjectedVisit, q: FromQuery[str] = ""
) -> Response[str] | Response[None]:
    """Redirect to the first match: by id, by key, by agent, by type, by the beginning of a task's id."""
    text = q.strip()
    if text:
        try:
            async for place in _places(storage, text):
                return redirect(visit, place)
        except StorageError as error:
            return render(visit, "search.html", q=text, refusal=str(error))
    return render(visit, "search.html", q=text, refusal="")


async def _places(storage: Storage, text: str) -> AsyncIterator[str]:
    """Yield the paths of what the text names; each is looked up only when it is requested."""
    if await storage.get_task(text):
        yield f"/tasks/{path_part(text)}"
    tasks = storage.repository(TaskModel)
    for task in await tasks.query(QueryBuilder(TaskModel).where_eq("idempotency_key", text).limit(1)):
        yield f"/tasks/{path_part(task.id)}"
    if await storage.get_agent(text):
        yield f"/agents/{path_part(text)}"
    for agent in await storage.repository(AgentModel).query(QueryBuilder(AgentModel).where_eq("name", text).limit(1)):
        yield f"/agents/{path_part(agent.id)}"
    for field in _TEXT_FIELDS:
        if await tasks.query(QueryBuilder(TaskModel).where_eq(field, text).limit(1)):
            yield f"/tasks?{urlencode({field: text})}"
    if await storage.repository(EventModel).query(QueryBuilder(EventModel).where_eq("event_type", text).limit(1)):
        yield f"/events?{urlencode({'event_type': text})}"
    beginning = QueryBuilder(TaskModel).where_ge("id", text).order_by("id").limit(2)
    found = [task.id for task in await tasks.query(beginning) if task.id.startswith(text)]
    if found:
        is_only = len(found) == 1
        yield f"/tasks/{path_part(found[0])}" if is_only else f"/tasks?{urlencode({'id.ge': text, 'sort': 'id'})}"
