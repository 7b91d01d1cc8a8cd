"""Facts about how long calls wait for commits, and how often they read: only when there may be something new."""

from datetime import timedelta
from typing import Any

import pytest

from swarm_persistence import MemoryStorage, ScheduleModel
from swarm_persistence.clock import ManualClock, now, use_clock
from swarm_persistence.engines.reads import Read
from swarm_persistence_conformance.records import a_task


async def test_a_due_task_for_another_agent_does_not_keep_a_waiter_polling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = MemoryStorage()
    await storage.store_task(a_task(task_type="another", run_at=now() + timedelta(seconds=0.05)))
    looks = 0
    read = storage._engine.read

    def counted(query: Read[Any]) -> Any:
        nonlocal looks
        looks += 1
        return read(query)

    monkeypatch.setattr(storage._engine, "read", counted)

    assert await storage.claim_next_task("agent-1", task_types=["mine"], wait=0.5) is None

    assert looks < 25  # once every 10 ms would be more than 100


async def test_a_watch_of_schedules_waits_for_the_time_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = MemoryStorage().watch_schedules()
    waits: list[float] = []

    async def no_commit(_: object, seconds: float) -> bool:
        waits.append(seconds)
        return False

    monkeypatch.setattr(type(watch._commits), "wait", no_commit)

    assert await watch.wait(within=7) is False

    assert waits == [pytest.approx(7, abs=1)]


async def test_a_watch_of_schedules_reports_none_before_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    with use_clock(clock):
        storage = MemoryStorage()
        await storage.store_schedule(ScheduleModel.new("s", "t", every=60))
        clock.advance(timedelta(seconds=59.5))
        watch = storage.watch_schedules()
        waits: list[float] = []

        async def half_a_second(_: object, seconds: float) -> bool:
            waits.append(seconds)
            clock.advance(timedelta(seconds=seconds))
            return False

        monkeypatch.setattr(type(watch._commits), "wait", half_a_second)

        assert await watch.wait(within=60) is True

    assert waits == [0.5]
