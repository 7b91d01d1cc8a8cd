"""Appends the claim of a row to its list of past claims."""

from typing import Any

from swarm_persistence.clock import now_in_microseconds
from swarm_persistence.models import ClaimOutcome, TaskStatus
from swarm_persistence.models.past_claims import LONGEST_ERROR, MOST_PAST_CLAIMS
from swarm_persistence.plain_json import encode_json
from swarm_persistence.query.task_statuses import HELD
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import PAST_CLAIMS, Table
from swarm_persistence.schema.values import decode_json


def with_claim(table: Table[Any], row: Row, ended_at: int, outcome: str, error: str | None) -> str:
    """Return the past claims of a row, its own claim included if an agent holds it."""
    past: Any = row[table.positions[PAST_CLAIMS]]
    number, agent_id, started_at = (row[table.positions[name]] for name in ("claim_count", "assigned_to", "started_at"))
    if agent_id is None:
        return str(past)
    claims = [*decode_json(past), [number, agent_id, started_at, ended_at, outcome, error]]
    return encode_json(claims[-MOST_PAST_CLAIMS:]).decode()


def claims_after_replacing(table: Table[Any], stored: Row, values: Row) -> str:
    """Return the past claims of a row that these values replace."""
    agent = table.positions["assigned_to"]
    past, status, completed_at, error = (
        stored[table.positions[name]] for name in (PAST_CLAIMS, "status", "completed_at", "error")
    )
    is_kept = stored[agent] == values[agent] and values[table.positions["status"]] != TaskStatus.PENDING
    if is_kept or status == TaskStatus.PENDING:
        return str(past)
    outcome: Any = ClaimOutcome.RELEASED if status in HELD else status
    ended_at: Any = now_in_microseconds() if completed_at is None else completed_at
    failure = str(error)[:LONGEST_ERROR] if status == TaskStatus.FAILED and error is not None else None
    return with_claim(table, stored, ended_at, outcome, failure)
