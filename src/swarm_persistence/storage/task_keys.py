"""The task that an idempotency key refers to: a stored task of the same kind, or one that has released the key."""

from swarm_persistence.engines.steps import Increment, Update
from swarm_persistence.errors import ConflictError, shown
from swarm_persistence.models import KeyPolicy, Model, TaskModel
from swarm_persistence.query.query import Condition, Query, one_of
from swarm_persistence.query.task_statuses import FINISHED
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.storage.core import StorageCore


def is_keyed(model: Model) -> bool:
    """Tell whether a record is a task with an idempotency key."""
    return isinstance(model, TaskModel) and model.idempotency_key is not None


def keeps_key(found: Model) -> bool:
    """Tell whether a stored record keeps its key; an ended task with the policy `while_active` does not."""
    return not (
        isinstance(found, TaskModel) and found.key_policy is KeyPolicy.WHILE_ACTIVE and found.status in FINISHED
    )


async def release_key(core: StorageCore, found: Model) -> None:
    """Remove the key of an ended task, unless it has become active since it was read."""
    has_ended = one_of("status", [status.value for status in FINISHED])
    ended = Query(TASKS, (Condition("id", "=", found.id), has_ended))
    await core._write_one(Update(ended, {"idempotency_key": None, "version": Increment()}))


def require_same(model: Model, found: Model) -> None:
    """Raise `ConflictError` if the stored task of a key differs in type or payload from the new one."""
    if not isinstance(model, TaskModel) or not isinstance(found, TaskModel):
        return
    for field in ("task_type", "payload"):
        given, stored = getattr(model, field), getattr(found, field)
        if given != stored:
            raise ConflictError(
                f"task {model.id!r} has the idempotency_key {model.idempotency_key!r} of the stored task {found.id!r}, "
                f"but its {field} is {shown(given)} and not {shown(stored)}; use another key"
            )
