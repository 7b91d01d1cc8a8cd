"""The limits of task types: how full each is, what waits for it, and the forms that set and delete one."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from swarm_persistence import InvalidQueryError, SerializationError, Storage, TaskLimit
from swarm_persistence.query.filters import value_of
from swarm_persistence.storage.limit_usage import LimitUsage, usage_of
from swarm_persistence.web.access import Visit
from swarm_persistence.web.dependencies import FormFields, InjectedStorage, InjectedVisit
from swarm_persistence.web.page.cache import cache_of
from swarm_persistence.web.page.confirming import ask, question_of, require_changes
from swarm_persistence.web.page.rendering import redirect, render
from swarm_persistence.web.paths import path_part

QUESTIONS = {
    "set": "Set this limit? Every claim of the whole swarm observes it from now on. What is claimed already goes on.",
    "delete": "Delete this limit? From now on, any number of tasks of this type may be claimed.",
}
_MOST_LIMITS = 100
_MOST_KEYS = 8
_NUMBERS = {"running": "running", "per_key": "per_key", "starts": "starts", "per": "per_seconds"}
"""The fields of the form, and those of the limit."""


@get("/limits", include_in_schema=False)
async def limits(storage: InjectedStorage, visit: InjectedVisit, done: FromQuery[str] = "") -> Response[str]:
    """List the limits by task type."""
    usages = await cache_of(storage).get("limits", lambda: _usages(storage))
    found, more = usages.value
    return render(
        visit,
        "limits.html",
        again_in=usages.newer_in or 5.0,
        usages=found,
        more=more,
        most_keys=_MOST_KEYS,
        done=done,
    )


@get("/forms/limit", include_in_schema=False)
async def limit_form(storage: InjectedStorage, visit: InjectedVisit, task_type: FromQuery[str] = "") -> Response[str]:
    """Show the form that sets a limit, with the type's present limit."""
    require_changes(visit)
    limit = await storage.get_limit(task_type) if task_type else None
    given = {"task_type": task_type}
    if limit is not None:
        numbers = {name: getattr(limit, field) for name, field in _NUMBERS.items()}
        given |= {name: f"{number:.12g}" for name, number in numbers.items() if number is not None}
    return _form(visit, given, is_known=limit is not None)


@post("/forms/limit/set", status_code=303, include_in_schema=False)
async def set_limit(storage: InjectedStorage, visit: InjectedVisit, data: FormFields) -> Response[str] | Response[None]:
    """Set a limit; without a confirmation, ask for one."""
    task_type = data.get("task_type", "")
    if data.get("confirmed") != "yes":
        return ask(visit, "Limits", QUESTIONS["set"], task_type, "/forms/limit", "set", data, back="/limits")
    try:
        numbers: dict[str, Any] = {name: _number(field, data.get(name, "")) for name, field in _NUMBERS.items()}
        await storage.set_limit(task_type, **numbers)
    except (InvalidQueryError, SerializationError) as error:
        return _form(visit, data, is_known=False, refusal=str(error), status_code=422)
    cache_of(storage).invalidate("limits")
    return redirect(visit, "/limits?done=set")


@post("/limits/{id:str}/{action:str}", status_code=303, include_in_schema=False)
async def act(
    storage: InjectedStorage, visit: InjectedVisit, id: FromPath[str], action: FromPath[str], data: FormFields
) -> Response[str] | Response[None]:
    """Delete a limit; without a confirmation, ask for one."""
    task_type = unquote(id)
    question = question_of(action, {"delete": QUESTIONS["delete"]})
    if data.get("confirmed") != "yes":
        return ask(
            visit, "Limits", question, task_type, f"/limits/{path_part(task_type)}", action, data, back="/limits"
        )
    await storage.delete_limit(task_type)
    cache_of(storage).invalidate("limits")
    return redirect(visit, "/limits?done=delete")


def _form(
    visit: Visit, given: Mapping[str, str], *, is_known: bool, refusal: str = "", status_code: int = 200
) -> Response[str]:
    fields = {name: given.get(name, "") for name in ("task_type", *_NUMBERS)}
    return render(
        visit,
        "limit_form.html",
        status_code=status_code,
        is_live=False,
        fields=fields,
        is_known=is_known,
        question=QUESTIONS["set"],
        refusal=refusal,
    )


def _number(field: str, text: str) -> int | float | None:
    return value_of(TaskLimit, field, text.strip()) if text.strip() else None


async def _usages(storage: Storage) -> tuple[list[LimitUsage], int]:
    found = await storage.list_limits()
    usages = await asyncio.gather(*(usage_of(storage, each) for each in found[:_MOST_LIMITS]))
    return usages, max(len(found) - _MOST_LIMITS, 0)
