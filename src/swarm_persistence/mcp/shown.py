"""Formats records for a language model: without empty fields, and with long values truncated."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from swarm_persistence import AgentModel, DocumentModel, Model, ScheduleModel, TaskModel

DEFAULT_CHARACTERS = 500

_HIDDEN: dict[type[Model], frozenset[str]] = {
    AgentModel: frozenset({"version", "updated_at"}),
    DocumentModel: frozenset({"id", "version", "embedding", "data"}),
    ScheduleModel: frozenset({"version", "updated_at"}),
    TaskModel: frozenset(
        {"version", "updated_at", "fails_with_dependencies", "claim_count", "trace_parent", "past_claims"}
    ),
}
_COLLECTIONS = frozenset({"capabilities", "dependencies", "metadata", "required_capabilities", "tags"})


def shown(record: Model, characters: int, hint: str) -> dict[str, Any]:
    """Return the record's fields as JSON values, without empty ones; `hint` tells how to get truncated values."""
    hidden = _HIDDEN.get(type(record), frozenset())
    fields: dict[str, Any] = {}
    for name, value in msgspec.to_builtins(record).items():
        if name in hidden or value is None or (name in _COLLECTIONS and not value):
            continue
        fields[name] = value if name == "id" else within(value, characters, hint)
    return fields


def status_of(task: TaskModel) -> dict[str, Any]:
    """Return the answer about a task whose status alone is of interest."""
    return {"task_id": task.id, "status": task.status.value}


def within(value: Any, characters: int, hint: str) -> Any:
    """Return the value, or the beginning of its text if it has more than this many characters."""
    text = value if isinstance(value, str) else json_text(value)
    if len(text) <= characters:
        return value
    return {"truncated": text[:characters], "characters": len(text), "hint": f"to get all: {hint}"}


def listed(name: str, records: Iterable[dict[str, Any]], limit: int, more: str) -> dict[str, Any]:
    """Return the first `limit` records under a name; if there is one more, `more` tells how to get the rest."""
    given = list(records)
    answer: dict[str, Any] = {name: given[:limit]}
    if len(given) > limit:
        answer["more"] = more
    return answer


def json_text(value: Any) -> str:
    """Return the value as compact JSON text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
