"""A claim of a task that has ended: which agent had it, from when to when, and how it ended."""

from datetime import datetime
from enum import StrEnum

import msgspec

MOST_PAST_CLAIMS = 100
"""How many past claims a task keeps: the latest ones."""

LONGEST_ERROR = 500
"""How many characters of its error a past claim keeps."""


class ClaimOutcome(StrEnum):
    """How a claim ended. The first three also ended the task, which was retried later."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    RELEASED = "released"
    LEASE_EXPIRED = "lease_expired"
    AGENT_LOST = "agent_lost"


class PastClaim(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One claim of a task that has ended.

    `number` is the task's `claim_count` at that time. `error` is the first 500 characters of the task's error, if
    the claim ended with one.
    """

    number: int
    agent_id: str
    started_at: datetime | None = None
    ended_at: datetime
    outcome: ClaimOutcome
    error: str | None = None
