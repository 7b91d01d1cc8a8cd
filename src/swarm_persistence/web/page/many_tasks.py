"""Actions on all tasks that match the filters of the list; a page asks first, and shows their number."""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlencode

from litestar import Response, post
from litestar.params import FromPath

from swarm_persistence import ConflictError, NotFoundError, QueryBuilder, Storage, TaskModel
from swarm_persistence.query.filters import query_of
from swarm_persistence.query.task_statuses import UNFINISHED, UNSUCCESSFUL
from swarm_persistence.web.dependencies import FormFields, InjectedStorage, InjectedVisit
from swarm_persistence.web.page.confirming import ask, question_of
from swarm_persistence.web.page.lists import Listed
from swarm_persistence.web.page.rendering import redirect
from swarm_persistence.web.problems import HttpProblem

MOST_AT_ONCE = 1000
_WRITES_AT_ONCE = 100
QUESTIONS = {
    "cancel": "Cancel {count}? Agents that hold them lose them, and tasks that depend on them fail.",
    "retry": "Retry {count}? They begin anew, as if they had never run: their errors are cleared.",
}
_STATUSES = {"cancel": UNFINISHED, "retry": UNSUCCESSFUL}
"""The statuses that an action applies to. A completed task can be retried only on its own page."""
_OWN_FIELDS = frozenset({"csrf_token", "confirmed", "sort"})


@post("/forms/tasks/{action:str}", status_code=303, include_in_schema=False)
async def act_on_many(
    storage: InjectedStorage, visit: InjectedVisit, action: FromPath[str], data: FormFields
) -> Response[str] | Response[None]:
    """Cancel or retry the tasks that match; without a confirmation, ask for one."""
    question = question_of(action, QUESTIONS)
    shown = {name: value for name, value in data.items() if name not in _OWN_FIELDS and value}
    query = _query_of(shown, action)
    back = f"/tasks?{urlencode(shown)}"
    if data.get("confirmed") != "yes":
        count = await storage.repository(TaskModel).count(query)
        told = question.format(count=_count_text(count))
        filters = ", ".join(f"{name} {value}" for name, value in shown.items())
        return ask(visit, "Tasks", told, filters, "/forms/tasks", action, data, back=back)
    tasks = await storage.repository(TaskModel).query(query.order_by("id").limit(MOST_AT_ONCE))
    done = 0
    for start in range(0, len(tasks), _WRITES_AT_ONCE):
        some = tasks[start : start + _WRITES_AT_ONCE]
        done += sum(await asyncio.gather(*(_act(storage, action, task.id) for task in some)))
    return redirect(visit, f"{back}&done={action}&count={done}")


def _query_of(shown: Mapping[str, str], action: str) -> QueryBuilder[TaskModel]:
    fields = {name: value for name, value in shown.items() if name != "tag"}
    filters = Listed(fields, shown.get("tag", ""), "", None).set_filters
    if not filters:
        raise HttpProblem(422, "No filter is set; this would concern every task.")
    return query_of(TaskModel, filters).where_in("status", _STATUSES[action])


def _count_text(count: int) -> str:
    if count > MOST_AT_ONCE:
        return f"{MOST_AT_ONCE:,} of the {count:,} tasks"
    return "1 task" if count == 1 else f"{count:,} tasks"


async def _act(storage: Storage, action: str, id: str) -> bool:
    """Change one task, and return whether it was still possible."""
    if action == "cancel":
        return await storage.cancel_task(id)
    try:
        await storage.retry_task(id)
    except (ConflictError, NotFoundError):
        return False
    return True
