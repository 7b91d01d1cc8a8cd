"""The bodies of requests that write records: the fields of the models that a caller may set, and no others."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import FieldInfo

from swarm_persistence import AgentModel, EventModel, MessageModel, MetricModel, Model, ScheduleModel, TaskModel

_OF_STORAGE: dict[type[Model], frozenset[str]] = {
    AgentModel: frozenset({"created_at", "updated_at", "version"}),
    EventModel: frozenset({"sequence"}),
    MessageModel: frozenset({"read", "read_at", "acknowledged_at", "result", "sequence"}),
    MetricModel: frozenset(),
    ScheduleModel: frozenset({"id", "next_at", "last_at", "last_task_id", "created_at", "updated_at", "version"}),
    TaskModel: frozenset(
        {
            "status",
            "assigned_to",
            "result",
            "error",
            "retry_count",
            "created_at",
            "updated_at",
            "started_at",
            "completed_at",
            "lease_expires_at",
            "claim_count",
            "progress",
            "progress_text",
            "past_claims",
            "version",
        }
    ),
}
"""The fields that the storage sets, or that only its verbs change."""


def new_record_body(model: type[Model], name: str | None = None) -> Any:
    """Return the struct of a request that stores a record; by default it is named as in `NewTask`."""
    fields = [_field(each) for each in _settable(model)]
    return msgspec.defstruct(name or f"New{_name(model)}", fields, kw_only=True, forbid_unknown_fields=True)


def changes_body(model: type[Model]) -> Any:
    """Return the struct of a request that changes some fields of a record: `TaskChange`."""
    fields: list[Any] = [(each.name, each.type | UnsetType, UNSET) for each in _settable(model) if each.name != "id"]
    return msgspec.defstruct(f"{_name(model)}Change", fields, kw_only=True, forbid_unknown_fields=True)


def _settable(model: type[Model]) -> list[FieldInfo]:
    return [each for each in msgspec.structs.fields(model) if each.name not in _OF_STORAGE[model]]


def _field(field: FieldInfo) -> Any:
    if field.required:
        return (field.name, field.type)
    if field.default_factory is not msgspec.NODEFAULT:
        return (field.name, field.type, msgspec.field(default_factory=field.default_factory))
    return (field.name, field.type, field.default)


def _name(model: type[Model]) -> str:
    return model.__name__.removesuffix("Model")
