"""Facts about what a worker reads from a stored task after the answer to its write was lost."""

from typing import Any

import pytest

from swarm_persistence import TaskModel, TaskStatus
from swarm_persistence.worker.recording import Outcome, found_completed, found_failed, found_released
from swarm_persistence_conformance.records import a_task

COMPLETED, FAILED, PENDING = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.PENDING


def a_claim(**fields: Any) -> TaskModel:
    """Return the second claim of a task that was retried once, by `agent-1`, with other values in some fields."""
    return a_task(**{"assigned_to": "agent-1", "claim_count": 2, "retry_count": 1, **fields})


@pytest.mark.parametrize(
    ("stored", "is_ours"),
    [
        ({"status": COMPLETED}, True),
        ({"status": FAILED}, False),
        ({"status": COMPLETED, "assigned_to": "agent-0"}, False),
        ({"status": COMPLETED, "assigned_to": "agent-2"}, False),
        ({"status": COMPLETED, "claim_count": 1}, False),
        ({"status": COMPLETED, "claim_count": 3}, False),
    ],
)
def test_a_completed_task_is_this_claims_if_agent_and_number_are(stored: dict[str, Any], is_ours: bool) -> None:
    assert found_completed(a_claim(), a_claim(**stored)) is (Outcome.COMPLETED if is_ours else None)


@pytest.mark.parametrize(
    ("stored", "is_ours"),
    [
        ({"status": FAILED, "error": "broken"}, True),
        ({"status": COMPLETED, "error": "broken"}, False),
        ({"status": FAILED, "error": "another"}, False),
        ({"status": FAILED, "error": "broken", "claim_count": 3}, False),
    ],
)
def test_a_failed_task_is_this_claims_if_its_error_is_too(stored: dict[str, Any], is_ours: bool) -> None:
    assert found_failed(a_claim(), "broken", a_claim(**stored)) is (Outcome.FAILED if is_ours else None)


@pytest.mark.parametrize(
    ("stored", "is_ours"),
    [
        ({"status": PENDING, "retry_count": 2, "error": "broken"}, True),
        ({"status": COMPLETED, "retry_count": 2, "error": "broken", "claim_count": 3}, True),
        ({"status": PENDING, "retry_count": 1, "error": "broken"}, False),
        ({"status": PENDING, "retry_count": 2, "error": "another"}, False),
    ],
)
def test_a_retry_is_this_claims_if_it_was_counted_with_its_error(stored: dict[str, Any], is_ours: bool) -> None:
    assert found_failed(a_claim(), "broken", a_claim(**stored)) is (Outcome.RETRIED if is_ours else None)


@pytest.mark.parametrize(
    ("stored", "is_ours"),
    [
        ({"status": PENDING}, True),
        ({"status": TaskStatus.RUNNING}, False),
        ({"status": PENDING, "claim_count": 3}, False),
        ({"status": PENDING, "retry_count": 2}, False),
    ],
)
def test_a_release_is_this_claims_if_nothing_was_counted_since(stored: dict[str, Any], is_ours: bool) -> None:
    assert found_released(a_claim(), a_claim(**stored)) is (Outcome.GIVEN_BACK if is_ours else None)
