"""The identity of a claim, and the changes that release its task."""

from swarm_persistence.engines.steps import Change, EndClaim
from swarm_persistence.errors import LeaseLostError
from swarm_persistence.models import ClaimOutcome, TaskModel, TaskStatus
from swarm_persistence.models.past_claims import LONGEST_ERROR
from swarm_persistence.query.query import Condition, FromNow
from swarm_persistence.query.task_statuses import IS_HELD
from swarm_persistence.schema.tables import IS_DELAYED, PAST_CLAIMS
from swarm_persistence.schema.values import count, identifier
from swarm_persistence.storage.core import TOUCHED, id_of


def claim_key(task: TaskModel) -> tuple[str, str, int]:
    """Return the identity of this copy's claim: the task's id, the agent, and the number of the claim."""
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


def releasing(outcome: ClaimOutcome, run_at: FromNow | None = None, error: str | None = None) -> dict[str, Change]:
    """Return the changes that end a claim and make its task pending again, at once or later."""
    changes: dict[str, Change] = {
        "status": TaskStatus.PENDING.value,
        "assigned_to": None,
        "started_at": None,
        "lease_expires_at": None,
        "progress": None,
        "progress_text": None,
        PAST_CLAIMS: EndClaim(outcome, None if error is None else error[:LONGEST_ERROR]),
        **TOUCHED,
    }
    return changes if run_at is None else {**changes, "run_at": run_at, IS_DELAYED: 1}
