"""Facts about a clock that is moved: it wakes what waits for a time."""

import asyncio
from datetime import timedelta

import pytest

from swarm_persistence import Storage
from swarm_persistence.testing import ManualClock, now
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task
from swarm_persistence_conformance.waiting import FOR_LONG_SECONDS, SOON_SECONDS, begun


@pytest.mark.asyncio
class TestMovedClocks:
    """A wait for a time ends when the clock is moved there."""

    async def test_a_claim_that_waits_gets_a_task_whose_time_has_come(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.store_task(a_task(run_at=now() + timedelta(hours=1)))
        waiting = elsewhere(storage.claim_next_task("agent-1", wait=FOR_LONG_SECONDS))
        await begun(storage)
        clock.advance(1800)
        await begun(storage)
        assert not waiting.done()

        clock.advance(timedelta(minutes=31))

        async with asyncio.timeout(SOON_SECONDS):
            task = await waiting
        assert task is not None
        assert task.id == "task-1"

    async def test_a_watch_of_ready_tasks_sees_a_task_whose_time_has_come(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.store_task(a_task(run_at=now() + timedelta(hours=1)))
        watch = storage.watch_ready_tasks()
        waiting = elsewhere(watch.wait(FOR_LONG_SECONDS))
        await begun(storage)

        clock.advance(3660)

        async with asyncio.timeout(SOON_SECONDS):
            assert await waiting is True
        watch.close()
