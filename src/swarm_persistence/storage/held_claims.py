"""What identifies a claim, and the changes that give its task back."""

from collections.abc import Mapping

from swarm_persistence.engines.steps import Change
from swarm_persistence.errors import LeaseLostError
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.query.query import Condition, FromNow
from swarm_persistence.query.task_statuses import IS_HELD
from swarm_persistence.schema.tables import IS_DELAYED, TASKS
from swarm_persistence.schema.values import count, identifier, refuse
from swarm_persistence.storage.core import TOUCHED


def claim_of(task: TaskModel) -> tuple[Condition, ...]:
    """Return the conditions under which the claim of this copy still holds."""
    id = id_of_task(task)
    if task.assigned_to is None:
        raise LeaseLostError(f"task {id!r} is not claimed in this copy; claim it, or read it again")
    return (*held_by(id, task.assigned_to), Condition("claim_count", "=", count(task.claim_count, "task.claim_count")))


def held_by(id: str, agent_id: str) -> tuple[Condition, ...]:
    """Return the conditions under which an agent holds a task."""
    return (
        Condition("id", "=", identifier(id, "task.id")),
        IS_HELD,
        Condition("assigned_to", "=", identifier(agent_id, "task.assigned_to")),
    )


def id_of_task(task: TaskModel) -> str:
    """Return the id of a task; refuse any other object."""
    if type(task) is not TaskModel:
        refuse(TASKS.label, task, "a TaskModel")
    return identifier(task.id, "task.id")


GIVEN_BACK: Mapping[str, Change] = {
    "status": TaskStatus.PENDING.value,
    "assigned_to": None,
    "started_at": None,
    "lease_expires_at": None,
    **TOUCHED,
}
"""The changes that make a task pending again."""


def given_back(delay: float) -> Mapping[str, Change]:
    """Return the changes that make a task pending again after a delay in seconds."""
    return {**GIVEN_BACK, "run_at": FromNow(delay), IS_DELAYED: 1} if delay else GIVEN_BACK
