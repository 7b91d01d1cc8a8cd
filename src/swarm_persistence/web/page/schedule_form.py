"""The form that stores a schedule, or replaces the one of its name."""

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromQuery

from swarm_persistence import CatchUp, NotFoundError, ScheduleModel, StorageError
from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.query.filters import value_of
from swarm_persistence.web.access import Visit
from swarm_persistence.web.dependencies import FormFields, InjectedStorage, InjectedVisit
from swarm_persistence.web.page.confirming import ask, require_changes
from swarm_persistence.web.page.rendering import json_to_edit, redirect, render
from swarm_persistence.web.paths import path_part

QUESTION = (
    "Store this schedule? It replaces the one of its name, if there is one. The tasks that are stored already stay as "
    "they are, and a paused schedule stays paused."
)
CATCH_UPS = {
    CatchUp.ONE: "one task for the latest",
    CatchUp.ALL: "a task for each",
    CatchUp.SKIP: "none: they are skipped",
}
_TEXTS = ("cron", "timezone", "catch_up", "priority")
_CONVERTED = ("every", "starts_at", "max_retries")
_FIELDS = ("name", "task_type", *_TEXTS, *_CONVERTED, "payload", "task_fields")


@get("/forms/schedule", include_in_schema=False)
async def schedule_form(storage: InjectedStorage, visit: InjectedVisit, name: FromQuery[str] = "") -> Response[str]:
    """Show the form, with the present fields of a named schedule."""
    require_changes(visit)
    if not name:
        return _form(visit, _texts_of(ScheduleModel.new("", "")), is_known=False)
    stored = await storage.get_schedule(name)
    if stored is None:
        raise NotFoundError(f"schedule {name!r}")
    return _form(visit, _texts_of(stored), is_known=True)


@post("/forms/schedule/set", status_code=303, include_in_schema=False)
async def set_schedule(
    storage: InjectedStorage, visit: InjectedVisit, data: FormFields
) -> Response[str] | Response[None]:
    """Store a schedule; without a confirmation, ask for one."""
    if data.get("confirmed") != "yes":
        name = data.get("name", "")
        return ask(visit, "Schedules", QUESTION, name, "/forms/schedule", "set", data, back="/schedules")
    try:
        stored = await storage.store_schedule(_schedule_of(data))
    except StorageError as error:
        return _form(visit, data, is_known=False, refusal=str(error), status_code=422)
    here = f"/schedules/{path_part(stored.name)}?done=set"
    return redirect(visit, here)


def _form(
    visit: Visit, given: Mapping[str, str], *, is_known: bool, refusal: str = "", status_code: int = 200
) -> Response[str]:
    return render(
        visit,
        "schedule_form.html",
        status_code=status_code,
        is_live=False,
        fields={name: given.get(name, "") for name in _FIELDS},
        catch_ups=CATCH_UPS,
        question=QUESTION,
        is_known=is_known,
        refusal=refusal,
    )


def _texts_of(schedule: ScheduleModel) -> dict[str, str]:
    """Return the fields as texts of the form, which are parsed back to equal values."""
    values = {name: getattr(schedule, name) for name in ("name", "task_type", *_TEXTS, *_CONVERTED)}
    texts = {name: "" if value is None else str(msgspec.to_builtins(value)) for name, value in values.items()}
    texts["payload"] = json_to_edit(schedule.payload)
    texts["task_fields"] = json_to_edit(schedule.task_fields) if schedule.task_fields else ""
    return texts


def _schedule_of(data: Mapping[str, str]) -> ScheduleModel:
    texts: dict[str, Any] = {name: text for name in _TEXTS if (text := data.get(name, "").strip())}
    converted = {
        name: value_of(ScheduleModel, name, text) for name in _CONVERTED if (text := data.get(name, "").strip())
    }
    for field in ("name", "task_type"):
        if not data.get(field):
            raise InvalidQueryError(f"{field} is empty, expected a text")
    task_fields = _json_of(data, "task_fields", {})
    if not isinstance(task_fields, dict):
        raise InvalidQueryError(f"task_fields is {shown(task_fields)}, expected a JSON object")
    return ScheduleModel.new(
        data["name"],
        data["task_type"],
        _json_of(data, "payload", None),
        task_fields=task_fields,
        **texts,
        **converted,
    )


def _json_of(data: Mapping[str, str], field: str, default: Any) -> Any:
    text = data.get(field, "").strip()
    try:
        return msgspec.json.decode(text) if text else default
    except msgspec.DecodeError as error:
        raise InvalidQueryError(f"{field} is {shown(text)}, expected JSON: {error}") from error
