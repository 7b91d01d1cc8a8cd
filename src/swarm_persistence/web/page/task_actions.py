"""The changes that an operator makes on the page of a task: each is confirmed, by a dialog or by a page of its own."""

from urllib.parse import unquote

from litestar import Response, post
from litestar.params import FromPath

from swarm_persistence import ConflictError, LeaseLostError, Storage, TaskModel, TaskPriority, TaskStatus
from swarm_persistence.clock import now
from swarm_persistence.storage import interventions
from swarm_persistence.web.dependencies import FormFields, InjectedStorage, InjectedVisit
from swarm_persistence.web.page.confirming import ask, question_of
from swarm_persistence.web.page.rendering import redirect
from swarm_persistence.web.page.tasks import task_page
from swarm_persistence.web.paths import path_part

QUESTIONS = {
    "retry": "Retry this task? It begins anew, as if it had never run: its result and its error are cleared.",
    "cancel": "Cancel this task? An agent that holds it loses it, and tasks that depend on it fail.",
    "release": "Release this task? The agent that holds it loses it, and it is pending again; no retry is counted.",
    "priority": "Change the priority of this task?",
    "approve": "Approve this task? It is completed, and the tasks that wait for it go on.",
    "reject": "Reject this task? It fails for good, and so do the tasks that depend on it.",
}


@post("/tasks/{id:str}/{action:str}", status_code=303, include_in_schema=False)
async def act(
    storage: InjectedStorage, visit: InjectedVisit, id: FromPath[str], action: FromPath[str], data: FormFields
) -> Response[str] | Response[None]:
    """Make a change and show the task; without a confirmation, ask for one."""
    task_id = unquote(id)
    question = question_of(action, QUESTIONS)
    if data.get("confirmed") != "yes":
        here = f"/tasks/{path_part(task_id)}"
        return ask(visit, "Tasks", question, task_id, here, action, data)
    try:
        await _change(storage, task_id, action, data)
    except (ConflictError, LeaseLostError) as error:
        return await task_page(storage, visit, task_id, refusal=str(error), status_code=409)
    return redirect(visit, f"/tasks/{path_part(task_id)}?done={action}")


async def _change(storage: Storage, id: str, action: str, data: dict[str, str]) -> None:
    if action == "retry":
        await storage.retry_task(id)
    elif action == "cancel":
        await interventions.cancel(storage, id)
    elif action == "release":
        # The claim that was on the page: another one, which began meanwhile, goes on.
        await interventions.release(storage, id, claim_count=_number_of(data.get("claim", "")))
    elif action in ("approve", "reject"):
        decide = storage.approve_task if action == "approve" else storage.reject_task
        by = data.get("by", "").strip()
        if not by:
            raise ConflictError(f"by is {by!r}, expected the name of the person who decides")
        await decide(id, by, data.get("comment", "").strip() or None)
    else:
        await storage.modify(TaskModel, id, lambda task: _set_priority(task, data.get("priority", "")))


def _number_of(claim: str) -> int:
    if not (claim.isascii() and claim.isdigit() and len(claim) < 19):
        raise ConflictError(f"claim is {claim!r}, expected the number of the claim that was shown")
    return int(claim)


def _set_priority(task: TaskModel, priority: str) -> None:
    if task.status is not TaskStatus.PENDING:
        raise ConflictError(f"task {task.id!r} is {task.status}; the priority of a pending one can be changed")
    if priority not in {each.value for each in TaskPriority}:
        raise ConflictError(
            f"priority is {priority!r}, expected one of {', '.join(each.value for each in TaskPriority)}"
        )
    task.priority = TaskPriority(priority)
    task.updated_at = now()
