"""What identifies a claim, and the changes that give its task back."""

from collections.abc import Mapping

from swarm_persistence.engines.steps import Change
from swarm_persistence.errors import LeaseLostError
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.query.query import Condition, FromNow
from swarm_persistence.query.task_statuses import IS_HELD
from swarm_persistence.schema.tables import IS_DELAYED
from swarm_persistence.schema.values import count, identifier
from swarm_persistence.storage.core import TOUCHED, id_of


def claim_key(task: TaskModel) -> tuple[str, str, int]:
    """Return what identifies the claim of this copy: the task's id, the agent, and the number of the claim."""
    id = id_of(task)
    if task.assigned_to is None:
        raise LeaseLostError(f"task {id!r} is not claimed in this copy; claim it, or read it again")
    return id, identifier(task.assigned_to, "task.assigned_to"), count(task.claim_count, "task.claim_count")


def held(id: str, agent_id: str, number: int) -> tuple[Condition, ...]:
    """Return the conditions under which a claim still holds."""
    return (
        Condition("id", "=", id),
        IS_HELD,
        Condition("assigned_to", "=", agent_id),
        Condition("claim_count", "=", number),
    )


GIVEN_BACK: Mapping[str, Change] = {
    "status": TaskStatus.PENDING.value,
    "assigned_to": None,
    "started_at": None,
    "lease_expires_at": None,
    "progress": None,
    "progress_text": None,
    **TOUCHED,
}
"""The changes that make a task pending again."""


def given_back(run_at: FromNow | None) -> Mapping[str, Change]:
    """Return the changes that make a task pending again, at once or later."""
    return GIVEN_BACK if run_at is None else {**GIVEN_BACK, "run_at": run_at, IS_DELAYED: 1}
