"""Tasks over HTTP."""

from typing import Any

from litestar import Request, Response, Router, get
from litestar.di import NamedDependency

from swarm_persistence import NotFoundError, Storage, TaskModel
from swarm_persistence.web.answers import answer, record_answer
from swarm_persistence.web.api.parameters import Cursor, Limit, Sort
from swarm_persistence.web.lists import DEFAULT_RECORDS, OWN_PARAMETERS, RecordPage, page_of


@get("/")
async def list_tasks(
    request: Request[Any, Any, Any],
    storage: NamedDependency[Storage],
    limit: Limit = DEFAULT_RECORDS,
    cursor: Cursor = None,
    sort: Sort = None,
) -> Response[RecordPage[TaskModel]]:
    """List tasks."""
    filters = [(name, value) for name, value in request.query_params.multi_items() if name not in OWN_PARAMETERS]
    return answer(await page_of(storage, TaskModel, filters, sort, limit, cursor))


@get("/{id:str}")
async def show_task(record_id: NamedDependency[str], storage: NamedDependency[Storage]) -> Response[TaskModel]:
    """Return one task."""
    task = await storage.get_task(record_id)
    if task is None:
        raise NotFoundError(f"task {record_id!r}")
    return record_answer(task)


ROUTER = Router("/tasks", route_handlers=[list_tasks, show_task], tags=["tasks"])
