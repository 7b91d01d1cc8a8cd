"""Facts about how long calls wait for commits, and how often they read: only when there may be something new."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from swarm_persistence import MemoryStorage, ScheduleModel
from swarm_persistence.clock import ManualClock, now, use_clock
from swarm_persistence.engines.reads import Read
from swarm_persistence.storage import claims, task_waits
from swarm_persistence.storage.ready_tasks import ReadyTaskWatch
from swarm_persistence_conformance.records import a_task
from swarm_persistence_conformance.waiting import LIMIT_SECONDS, begun


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


async def test_a_claim_in_vain_is_tried_again_within_what_is_left_of_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 100.0
    monkeypatch.setattr(claims, "time", SimpleNamespace(monotonic=lambda: clock))
    waits: list[float] = []

    async def look(_: object, within: float) -> bool:
        nonlocal clock
        assert within <= 10, "it waits for longer than the caller does"
        waits.append(within)
        clock += 4
        return True  # but another worker is quicker each time

    monkeypatch.setattr(ReadyTaskWatch, "wait_to_claim", look)

    assert await MemoryStorage().claim_next_task("agent-1", wait=10) is None

    assert waits == [10.0, 6.0, 2.0]


async def test_after_a_read_the_reader_of_awaited_tasks_pauses_for_three_times_as_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = MemoryStorage()
    await storage.store_tasks([a_task("a"), a_task("b")])
    clock, pauses, resumed = 0.0, list[float](), asyncio.Event()
    read = storage._engine.read

    def slow_read(query: Read[Any]) -> Any:
        nonlocal clock
        clock += 0.25
        return read(query)

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        resumed.set()
        await asyncio.sleep(0)

    waiting = asyncio.create_task(storage.wait_for_task("a"))
    await begun(storage)
    monkeypatch.setattr(storage._engine, "read", slow_read)
    monkeypatch.setattr(task_waits, "time", SimpleNamespace(monotonic=lambda: clock))
    monkeypatch.setattr(task_waits, "asyncio", SimpleNamespace(sleep=pause))

    await storage.cancel_task("b")
    async with asyncio.timeout(LIMIT_SECONDS):
        await resumed.wait()
    monkeypatch.undo()
    await storage.cancel_task("a")
    await waiting

    assert pauses[0] == 0.75
