"""Facts about schedules: when they store tasks, and that each time gets exactly one."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from swarm_persistence import (
    CatchUp,
    NotFoundError,
    ScheduleModel,
    SerializationError,
    Storage,
    TaskPriority,
    TransactionError,
    next_times,
)
from swarm_persistence.testing import ManualClock, now
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.fixtures import OpenStorage
from swarm_persistence_conformance.records import a_schedule
from swarm_persistence_conformance.waiting import FOR_LONG_SECONDS, SOON_SECONDS, begun

HOUR = timedelta(hours=1)


def hourly(**fields: Any) -> ScheduleModel:
    """Return a schedule of every hour from the present moment of the clock on."""
    return a_schedule(created_at=now(), updated_at=now(), **fields)


@pytest.mark.asyncio
class TestSchedules:
    """The contract of `store_schedule` and its like."""

    async def test_a_schedule_is_stored_with_its_next_time(self, storage: Storage, clock: ManualClock) -> None:
        schedule = await storage.store_schedule(hourly())

        assert schedule.next_at == clock.now() + HOUR
        assert await storage.get_schedule("hourly") == schedule
        assert await storage.list_schedules() == [schedule]

    async def test_a_program_that_stores_it_again_changes_nothing(self, storage: Storage, clock: ManualClock) -> None:
        first = await storage.store_schedule(hourly())
        await storage.pause_schedule("hourly")
        clock.advance(HOUR / 2)

        again = await storage.store_schedule(hourly())

        assert (again.paused, again.next_at, again.created_at) == (True, first.next_at, first.created_at)
        assert again.version == first.version + 1

    async def test_other_times_have_another_next_time(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_schedule(hourly())

        changed = await storage.store_schedule(hourly(every=60.0))

        assert changed.next_at == clock.now() + timedelta(minutes=1)
        assert await storage.get_schedule("hourly") == changed

    @pytest.mark.usefixtures("clock")
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"every": None}, "schedule.cron and schedule.every is 'neither'"),
            ({"every": 1.0, "cron": "* * * * *"}, "schedule.cron and schedule.every is 'both'"),
            ({"every": 0.5}, "schedule.every is 0.5"),
            ({"every": 1e300}, "schedule.every is 1e.300"),
            ({"timezone": "Mars/Olympus"}, "schedule.timezone is 'Mars/Olympus'"),
            ({"task_fields": {"status": "failed"}}, "schedule.task_fields"),
            ({"task_fields": {"dependencies": ["a"]}}, "schedule.task_fields"),
            ({"catch_up": "some"}, "schedule.catch_up is 'some'"),
            ({"id": "other"}, "schedule.id is 'other'"),
            ({"max_retries": -1}, "task.max_retries is -1"),
        ],
    )
    async def test_what_gives_no_times_or_no_task_is_refused(
        self, storage: Storage, fields: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(SerializationError, match=message):
            await storage.store_schedule(hourly(**fields))

        assert await storage.list_schedules() == []

    async def test_a_due_schedule_stores_one_task_with_its_fields(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_schedule(
            hourly(payload={"n": 1}, priority=TaskPriority.HIGH, max_retries=7, task_fields={"group": "tenant-1"})
        )
        assert await storage.fire_due_schedules() == []
        clock.advance(HOUR)

        (task,) = await storage.fire_due_schedules()

        assert (task.task_type, task.payload, task.priority, task.max_retries) == (
            "work",
            {"n": 1},
            TaskPriority.HIGH,
            7,
        )
        assert (task.group, task.run_at) == ("tenant-1", clock.now())
        schedule = await storage.get_schedule("hourly")
        assert schedule is not None
        assert (schedule.last_at, schedule.last_task_id) == (clock.now(), task.id)
        assert schedule.next_at == clock.now() + HOUR
        claimed = await storage.claim_next_task("agent-1")
        assert claimed is not None
        assert claimed.id == task.id
        assert await storage.fire_due_schedules() == []

    async def test_many_callers_store_one_task_for_a_time(self, open_storage: OpenStorage, clock: ManualClock) -> None:
        async with open_storage() as storage, open_storage() as other:
            for name in "abc":
                await storage.store_schedule(hourly(name=name))
            clock.advance(HOUR)

            fired = await asyncio.gather(*(elsewhere(each.fire_due_schedules()) for each in [storage, other] * 4))

            assert sorted(task.id for tasks in fired for task in tasks) == sorted(
                task.id for task in await storage.get_pending_tasks()
            )
            assert len(await storage.get_pending_tasks()) == 3

    @pytest.mark.parametrize(
        ("catch_up", "late", "hours"),
        [
            (CatchUp.SKIP, 600, []),
            (CatchUp.SKIP, 60, [3]),
            (CatchUp.ONE, 600, [3]),
            (CatchUp.ALL, 600, [1, 2, 3]),
        ],
    )
    async def test_missed_times_are_caught_up_as_the_schedule_says(
        self, storage: Storage, clock: ManualClock, catch_up: CatchUp, late: int, hours: list[int]
    ) -> None:
        start = clock.now()
        await storage.store_schedule(hourly(catch_up=catch_up))
        clock.advance(3 * HOUR + timedelta(seconds=late))

        fired = await storage.fire_due_schedules()

        assert [task.run_at for task in fired] == [start + hour * HOUR for hour in hours]
        schedule = await storage.get_schedule("hourly")
        assert schedule is not None
        assert schedule.next_at == start + 4 * HOUR

    async def test_a_paused_schedule_stores_nothing_and_goes_on_after_it_is_resumed(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        start = clock.now()
        await storage.store_schedule(hourly(catch_up=CatchUp.ALL))
        assert (await storage.pause_schedule("hourly")).paused
        clock.advance(HOUR * 2.5)
        assert await storage.fire_due_schedules() == []

        resumed = await storage.resume_schedule("hourly")

        assert (resumed.paused, resumed.next_at) == (False, start + 3 * HOUR)
        assert await storage.fire_due_schedules() == []
        clock.advance(HOUR)
        assert len(await storage.fire_due_schedules()) == 1

    async def test_a_deleted_schedule_stores_nothing(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_schedule(hourly())
        clock.advance(HOUR)

        assert await storage.delete_schedule("hourly")
        assert not await storage.delete_schedule("hourly")
        assert await storage.fire_due_schedules() == []

    async def test_a_schedule_that_is_stored_anew_stores_no_second_task_for_a_time(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        start = clock.now()
        await storage.store_schedule(hourly(starts_at=start))
        clock.advance(HOUR)
        assert len(await storage.fire_due_schedules()) == 1
        await storage.delete_schedule("hourly")
        await storage.store_schedule(hourly(starts_at=start, next_at=start + HOUR))

        assert await storage.fire_due_schedules() == []

    async def test_an_unknown_schedule_is_not_paused_or_resumed(self, storage: Storage) -> None:
        with pytest.raises(NotFoundError, match="schedule 'none'"):
            await storage.pause_schedule("none")
        with pytest.raises(NotFoundError, match="schedule 'none'"):
            await storage.resume_schedule("none")

    async def test_the_periods_count_from_the_start_that_is_given(self, storage: Storage, clock: ManualClock) -> None:
        start = clock.now() + timedelta(minutes=5)
        schedule = await storage.store_schedule(hourly(starts_at=start))

        assert schedule.next_at == start
        assert next_times(schedule, 2, after=start) == [start + HOUR, start + 2 * HOUR]

    async def test_a_watch_wakes_when_a_schedule_is_due(self, storage: Storage, clock: ManualClock) -> None:
        watch = storage.watch_schedules()
        waiting = elsewhere(watch.wait(FOR_LONG_SECONDS))
        await begun(storage)
        await storage.store_schedule(hourly())
        assert not waiting.done()

        clock.advance(HOUR)

        async with asyncio.timeout(SOON_SECONDS):
            assert await waiting is True
        watch.close()

    async def test_a_watch_is_refused_within_a_transaction(self, storage: Storage) -> None:
        async with storage.transaction():
            with pytest.raises(TransactionError, match="watch_schedules"):
                storage.watch_schedules()
