"""Facts about the retention of workers: old records go, and one worker at a time prunes."""

import asyncio
from datetime import timedelta

import pytest

from swarm_persistence import EventModel, InvalidQueryError, Storage, TaskModel
from swarm_persistence.testing import ManualClock, use_clock
from swarm_persistence.worker.background_jobs import prune_if_due
from swarm_persistence_conformance.records import a_task
from swarm_persistence_conformance.waiting import LIMIT_SECONDS
from worker.workers import a_worker

DAY = 86_400.0


async def work(_: TaskModel) -> None:
    """Do nothing."""


async def test_workers_prune_what_is_older_than_their_retention(storage: Storage) -> None:
    with use_clock(ManualClock()) as clock:
        await storage.store_many([EventModel.new("old", 1), a_task("pending", task_type="other")])
        clock.advance(8 * DAY)
        await storage.store_event(EventModel.new("young", 1))
        retention = timedelta(days=7)

        async with (
            a_worker(storage, {"work": work}, retention=retention),
            a_worker(storage, {"work": work}, "agent-2", retention=retention),
            asyncio.timeout(LIMIT_SECONDS),
        ):
            watch = storage.watch_commits(EventModel)
            while await storage.repository(EventModel).count() > 1:
                await watch.wait(1)
            watch.close()

        assert [event.event_type for event in await storage.read_events()] == ["young"]
        assert await storage.get_task("pending") is not None


async def test_of_workers_that_prune_at_once_one_does_and_after_an_hour_the_next(storage: Storage) -> None:
    with use_clock(ManualClock()) as clock:
        await storage.store_event(EventModel.new("old", 1))
        clock.advance(8 * DAY)

        first = await asyncio.gather(*(prune_if_due(storage, 7 * DAY, f"agent-{n}") for n in range(5)))
        clock.advance(3_599)
        assert await prune_if_due(storage, 7 * DAY, "agent-1") is None
        clock.advance(2)
        again = await prune_if_due(storage, 7 * DAY, "agent-1")

    assert [pruned.events for pruned in first if pruned is not None] == [1]
    assert again is not None
    assert again.events == 0


@pytest.mark.parametrize("retention", [0, -1, "a week", float("nan")])
async def test_a_retention_that_is_no_duration_is_refused(storage: Storage, retention: object) -> None:
    with pytest.raises(InvalidQueryError, match="retention"):
        a_worker(storage, {"work": work}, retention=retention)
