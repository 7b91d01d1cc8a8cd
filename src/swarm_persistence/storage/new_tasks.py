"""New tasks: which of them are duplicates, and the steps that store the others."""

from collections.abc import Sequence
from typing import Any

from swarm_persistence.engines.interface import Executor
from swarm_persistence.engines.reads import Values
from swarm_persistence.engines.steps import IfChanged, Insert, Step
from swarm_persistence.errors import DependencyCycleError
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.query.query import Query, one_of
from swarm_persistence.query.task_statuses import UNSUCCESSFUL
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.schema.values import text
from swarm_persistence.storage.core import id_of
from swarm_persistence.storage.dependencies import dependencies_of, refuse_cycle, steps_after_storing


def may_be_linked(task: TaskModel) -> bool:
    """Tell whether a task has dependencies, or its dependents may have to fail."""
    # To hash an enum's member takes longer than to compare it, and most new tasks are pending.
    return bool(dependencies_of(task)) or (task.status is not TaskStatus.PENDING and task.status in UNSUCCESSFUL)


def linked_among(inserts: Sequence[Insert[Any]]) -> list[TaskModel]:
    """Return the tasks among these inserts that may be linked."""
    return [step.model for step in inserts if isinstance(step.model, TaskModel) and may_be_linked(step.model)]


def dependencies_of_any(tasks: Sequence[TaskModel]) -> tuple[str, ...]:
    """Return the distinct ids of the tasks' dependencies."""
    return tuple(dict.fromkeys(id for task in tasks for id in dependencies_of(task)))


def is_plain_task(step: Insert[Any]) -> bool:
    """Tell whether a step inserts a task without an idempotency key."""
    return isinstance(step.model, TaskModel) and step.unless is None


def is_keyed_task(step: Insert[Any]) -> bool:
    """Tell whether a step inserts a task with an idempotency key, which may be stored already."""
    return isinstance(step.model, TaskModel) and step.unless is not None


def steps_to_store(inserts: Sequence[Insert[Any]]) -> list[Step]:
    """Return the inserts in their order, then the steps that link the tasks among them."""
    # A duplicate must not link the stored task of its key to its own dependencies.
    written: list[Step] = [
        IfChanged(step, tuple(steps_after_storing([step.model]))) if is_keyed_task(step) else step for step in inserts
    ]
    return [*written, *steps_after_storing([step.model for step in inserts if is_plain_task(step)])]


def may_close_cycle(inserts: Sequence[Insert[Any]], tasks: Sequence[TaskModel]) -> bool:
    """Tell whether the tasks form a cycle if all of them are stored, though some may be duplicates.

    Raises `DependencyCycleError` if none of them can be a duplicate.
    """
    graph: dict[str, list[str]] = {}
    for task in tasks:
        graph.setdefault(id_of(task), []).extend(dependencies_of(task))
    try:
        refuse_cycle(graph)
    except DependencyCycleError:
        if any(map(is_keyed_task, inserts)):
            return True
        raise
    return False


async def places_of_duplicates(executor: Executor, inserts: Sequence[Insert[Any]]) -> set[int]:
    """Return the indexes of the tasks whose key is stored already, or occurs earlier among these."""
    keys = {
        place: text(step.model.idempotency_key, "task.idempotency_key")
        for place, step in enumerate(inserts)
        if is_keyed_task(step)
    }
    if not keys:
        return set()
    stored = Query(TASKS, (one_of("idempotency_key", [*dict.fromkeys(keys.values())]),))
    known = {key for (key,) in await executor.read(Values(stored, ("idempotency_key",)))}
    duplicates = set()
    for place, key in keys.items():
        if key in known:
            duplicates.add(place)
        known.add(key)
    return duplicates
