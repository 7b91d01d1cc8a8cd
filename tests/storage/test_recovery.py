"""Facts about recovery within a caller's transaction, seen on memory."""

import logging
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from swarm_persistence import CollisionError, MemoryStorage
from swarm_persistence.clock import ManualClock
from swarm_persistence.engines.rows.memory.engine import MemorySession
from swarm_persistence.engines.steps import Step
from swarm_persistence.storage.recovery import Recovery
from swarm_persistence_conformance.records import a_task


async def test_a_collision_there_is_the_transactions_and_no_bad_row(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write, calls = MemorySession.write, 0

    def collide_once(session: MemorySession, steps: Sequence[Step]) -> Awaitable[list[Any]]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise CollisionError("two wait for each other")
        return write(session, steps)

    async with MemoryStorage() as storage:
        await storage.store_many([a_task("a"), a_task("b")])
        await storage.claim_next_tasks("agent-1", limit=2)
        clock.advance(1000)
        monkeypatch.setattr(MemorySession, "write", collide_once)

        async def recover() -> Recovery:
            return await storage.requeue_expired_tasks(heartbeat_timeout=None)

        recovery = await storage.run_transaction(recover)

    assert set(recovery.requeued) == {"a", "b"}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
