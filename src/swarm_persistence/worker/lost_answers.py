"""Determines from the stored task whether a write of this claim was committed although its answer was lost."""

from swarm_persistence.models import TaskModel, TaskStatus


def is_completed(stored: TaskModel, claimed: TaskModel) -> bool:
    """Return whether this claim has completed its task."""
    return _is_of_claim(stored, claimed) and stored.status is TaskStatus.COMPLETED


def is_failed(stored: TaskModel, claimed: TaskModel, error: str) -> bool:
    """Return whether this claim has failed its task for good."""
    return _is_of_claim(stored, claimed) and stored.status is TaskStatus.FAILED and stored.error == error


def is_retried(stored: TaskModel, claimed: TaskModel, error: str) -> bool:
    """Return whether this claim has failed its task, which is to be retried or was retried since."""
    return stored.retry_count > claimed.retry_count and stored.error == error


def is_released(stored: TaskModel, claimed: TaskModel) -> bool:
    """Return whether this claim has released its task, and no other claim has taken it since."""
    counters = (stored.claim_count, stored.retry_count)
    return stored.status is TaskStatus.PENDING and counters == (claimed.claim_count, claimed.retry_count)


def _is_of_claim(stored: TaskModel, claimed: TaskModel) -> bool:
    return (stored.assigned_to, stored.claim_count) == (claimed.assigned_to, claimed.claim_count)
