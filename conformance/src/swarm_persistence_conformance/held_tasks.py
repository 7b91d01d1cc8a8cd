"""Helpers for claimed tasks: claim one, read the stored one, compare times approximately."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from swarm_persistence import Storage, TaskModel, TaskStatus
from swarm_persistence_conformance.records import a_task

TOLERANCE = timedelta(seconds=15)
"""How far a time may be off if a database set it by its own clock, which runs on while the test's stands still."""


async def claimed(storage: Storage, agent_id: str = "agent-1", **options: Any) -> TaskModel:
    """Claim the next task, and return it; there must be one."""
    task = await storage.claim_next_task(agent_id, **options)
    assert task is not None
    return task


async def a_claimed_task(storage: Storage, id: str = "task-1", **fields: Any) -> TaskModel:
    """Store a task, claim it for `agent-1`, and return it; no other task may be ready."""
    await storage.store_task(a_task(id, **fields))
    task = await claimed(storage)
    assert task.id == id
    return task


async def stored(storage: Storage, id: str = "task-1") -> TaskModel:
    """Return the stored task; there must be one."""
    task = await storage.get_task(id)
    assert task is not None
    return task


async def statuses(storage: Storage, ids: Sequence[str]) -> list[TaskStatus]:
    """Return the statuses of the stored tasks with these ids."""
    return [(await stored(storage, id)).status for id in ids]


def is_about(moment: datetime | None, expected: datetime) -> bool:
    """Return whether a time that the database has set is about the expected one."""
    return moment is not None and abs(moment - expected) <= TOLERANCE
