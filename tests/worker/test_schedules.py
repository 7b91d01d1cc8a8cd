"""Facts about workers and schedules: each worker fires what is due, and each time gets one task."""

import asyncio
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from swarm_persistence import ScheduleModel, Storage, TaskModel
from swarm_persistence.testing import ManualClock, use_clock
from swarm_persistence_conformance.records import a_schedule
from swarm_persistence_conformance.waiting import LIMIT_SECONDS
from worker.workers import a_worker

BERLIN = ZoneInfo("Europe/Berlin")


async def test_a_worker_runs_the_task_of_a_time_and_several_workers_run_it_once(storage: Storage) -> None:
    ran: list[TaskModel] = []

    async def work(task: TaskModel) -> None:
        ran.append(task)

    with use_clock(ManualClock()) as clock:
        await storage.store_schedule(a_schedule(created_at=clock.now()))
        async with (
            a_worker(storage, {"work": work}) as first,
            a_worker(storage, {"work": work}, "agent-2") as second,
        ):
            for _ in range(3):
                clock.advance(3600)
                await asyncio.gather(first.run_until_idle(), second.run_until_idle())
        assert len(ran) == len({task.run_at for task in ran}) == 3


async def test_a_worker_that_sleeps_is_woken_by_the_clock_and_by_a_new_schedule(storage: Storage) -> None:
    ran = asyncio.Event()

    async def work(_: TaskModel) -> None:
        ran.set()

    with use_clock(ManualClock()) as clock:
        async with a_worker(storage, {"work": work}) as worker:
            await worker.run_until_idle()
            await storage.store_schedule(a_schedule(created_at=clock.now()))
            clock.advance(3600)
            async with asyncio.timeout(LIMIT_SECONDS):
                await ran.wait()


async def test_a_worker_that_is_told_so_fires_nothing(storage: Storage) -> None:
    async def work(_: TaskModel) -> None:
        raise AssertionError

    with use_clock(ManualClock()) as clock:
        await storage.store_schedule(a_schedule(created_at=clock.now()))
        async with a_worker(storage, {"work": work}, fires_schedules=False) as worker:
            clock.advance(3600)
            await worker.run_until_idle()
        assert await storage.get_pending_tasks() == []
        assert len(await storage.fire_due_schedules()) == 1


@pytest.mark.parametrize(
    ("day", "offsets"),
    [
        (datetime(2026, 3, 28, tzinfo=BERLIN), ["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00"]),
        (datetime(2026, 10, 24, tzinfo=BERLIN), ["2026-10-24T02:30+02:00", "2026-10-25T02:30+02:00"]),
    ],
    ids=["spring", "autumn"],
)
async def test_a_daily_time_is_kept_when_the_clocks_change(storage: Storage, day: datetime, offsets: list[str]) -> None:
    with use_clock(ManualClock(day.astimezone(UTC))) as clock:
        await storage.store_schedule(
            ScheduleModel.new("nightly", "work", cron="30 2 * * *", timezone="Europe/Berlin", catch_up="all")
        )
        clock.advance(2 * 86_400)

        fired = await storage.fire_due_schedules()

    assert [task.run_at.astimezone(BERLIN).isoformat(timespec="minutes") for task in fired if task.run_at] == offsets


async def test_the_latest_time_is_caught_up_after_the_clocks_have_gone_back(storage: Storage) -> None:
    # There, 3:00 in summer time is 1:00 in winter time. What comes twice runs at the first of the two, in summer time.
    with use_clock(ManualClock(datetime(2026, 10, 24, 22, tzinfo=UTC))) as clock:
        await storage.store_schedule(
            ScheduleModel.new("nightly", "work", cron="30 1,2,3 * * *", timezone="Antarctica/Troll")
        )
        clock.advance(3.9 * 3600)

        (task,) = await storage.fire_due_schedules()

    assert task.run_at == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
