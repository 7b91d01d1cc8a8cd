"""Facts about retries: how many there are, their backoff, and the final failure."""

import asyncio
from datetime import timedelta

import pytest

from swarm_persistence import Storage, TaskModel, TaskStatus
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.held_tasks import TOLERANCE, a_claimed_task, claimed, is_about, stored
from swarm_persistence_conformance.records import a_task, ids


async def pause_after_failure(storage: Storage, clock: ManualClock, retry_count: int) -> float:
    """Fail a task with this many retries, and return the seconds until its next one."""
    id = f"tried {retry_count} times"
    await storage.store_task(a_task(id, retry_count=retry_count, max_retries=1000))
    task = await claimed(storage)
    await storage.fail_task(task, "no luck")
    assert task.run_at is not None
    return (task.run_at - clock.now()).total_seconds()


@pytest.mark.asyncio
class TestRetries:
    """The contract of `fail_task`."""

    async def test_a_failed_task_is_pending_again_and_tells_why(self, storage: Storage, clock: ManualClock) -> None:
        task = await a_claimed_task(storage)

        await storage.fail_task(task, "no luck")

        assert task == a_task(
            error="no luck",
            retry_count=1,
            run_at=task.run_at,
            claim_count=1,
            past_claims=task.past_claims,
            updated_at=clock.now(),
            version=3,
        )
        assert await stored(storage) == task

    async def test_it_is_tried_again_after_a_pause_and_not_before(self, storage: Storage, clock: ManualClock) -> None:
        task = await a_claimed_task(storage)
        await storage.fail_task(task, "no luck", retry_in=100)

        assert is_about(task.run_at, clock.now() + timedelta(seconds=100))
        clock.advance(80)
        assert await storage.claim_next_task("agent-2") is None
        clock.advance(21)
        again = await claimed(storage, "agent-2")

        assert (again.id, again.retry_count, again.claim_count) == ("task-1", 1, 2)

    async def test_the_pause_may_be_a_timedelta(self, storage: Storage, clock: ManualClock) -> None:
        task = await a_claimed_task(storage)

        await storage.fail_task(task, "no luck", retry_in=timedelta(hours=2))

        assert is_about(task.run_at, clock.now() + timedelta(hours=2))

    async def test_without_a_pause_it_is_ready_at_once(self, storage: Storage, clock: ManualClock) -> None:
        task = await a_claimed_task(storage, run_at=clock.now() - timedelta(hours=1))

        await storage.fail_task(task, "no luck", retry_in=0)

        assert await storage.get_ready_tasks() == [task]
        assert (await claimed(storage)).retry_count == 1

    async def test_the_pauses_double_and_stay_within_bounds(self, storage: Storage, clock: ManualClock) -> None:
        slack = TOLERANCE.total_seconds()

        pauses = {count: await pause_after_failure(storage, clock, count) for count in (0, 3, 5, 7, 9, 63, 900)}

        for count, pause in pauses.items():
            middle = min(2.0**count, 300)
            assert 0.5 * middle - slack <= pause <= 1.5 * middle + slack
        assert pauses[0] + slack < pauses[7]

    async def test_no_two_pauses_are_alike(self, storage: Storage, clock: ManualClock) -> None:
        # Tasks that failed together must not be retried together. Rounded, as a database's clock runs on.
        await storage.store_many([a_task(f"task-{number}", retry_count=12, max_retries=20) for number in range(30)])
        for task in await storage.claim_next_tasks("agent-1", limit=30):
            await storage.fail_task(task, "no luck")

        tasks = await storage.get_pending_tasks()
        pauses = [round((task.run_at - clock.now()).total_seconds()) for task in tasks if task.run_at]

        assert len(set(pauses)) > 10
        assert max(pauses) - min(pauses) > 60

    @pytest.mark.parametrize("max_retries", [0, 1, 3])
    async def test_after_so_many_retries_it_has_failed_for_good_and_keeps_its_error(
        self, storage: Storage, clock: ManualClock, max_retries: int
    ) -> None:
        await storage.store_task(a_task(max_retries=max_retries))

        for number in range(max_retries + 1):
            task = await claimed(storage)
            await storage.fail_task(task, f"failure {number}", retry_in=0)

        assert await storage.claim_next_task("agent-1") is None
        assert task == await stored(storage)
        assert (task.status, task.error) == (TaskStatus.FAILED, f"failure {max_retries}")
        assert (task.retry_count, task.claim_count) == (max_retries, max_retries + 1)
        assert (task.completed_at, task.lease_expires_at) == (clock.now(), None)

    async def test_a_pause_asked_for_does_not_revive_what_has_no_retry_left(self, storage: Storage) -> None:
        task = await a_claimed_task(storage, max_retries=0)

        await storage.fail_task(task, "no luck", retry_in=5)

        assert (task.status, task.run_at) == (TaskStatus.FAILED, None)

    async def test_a_success_after_failures_leaves_no_error(self, storage: Storage) -> None:
        await storage.fail_task(await a_claimed_task(storage), "no luck", retry_in=0)

        task = await claimed(storage)
        assert task.error == "no luck"
        await storage.complete_task(task, "done")

        completed = await stored(storage)
        assert (completed.error, completed.result, completed.retry_count) == (None, "done", 1)

    async def test_counters_that_were_changed_meanwhile_count(self, storage: Storage) -> None:
        task = await a_claimed_task(storage, max_retries=0)

        def grant(stored: TaskModel) -> None:
            stored.max_retries = 5

        await storage.modify(TaskModel, "task-1", grant)
        await storage.fail_task(task, "no luck", retry_in=0)

        assert (task.status, task.retry_count, task.max_retries) == (TaskStatus.PENDING, 1, 5)
        assert task == await stored(storage)

    async def test_counters_that_were_changed_meanwhile_are_set_back_with_the_transaction(
        self, storage: Storage
    ) -> None:
        task = await a_claimed_task(storage, max_retries=0)

        def grant(stored: TaskModel) -> None:
            stored.max_retries = 5

        await storage.modify(TaskModel, "task-1", grant)
        transaction = await storage.begin_transaction()
        await storage.fail_task(task, "no luck", retry_in=0)
        await transaction.rollback()

        assert (task.status, task.retry_count, task.max_retries) == (TaskStatus.ASSIGNED, 0, 0)

    async def test_a_delayed_task_can_be_claimed_by_its_id(self, storage: Storage) -> None:
        await storage.fail_task(await a_claimed_task(storage), "no luck", retry_in=3600)

        assert await storage.claim_task("task-1", "agent-2") is True

    async def test_what_was_delayed_once_is_not_held_up_by_that_for_ever(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.fail_task(await a_claimed_task(storage), "no luck", retry_in=50)
        clock.advance(100)
        task = await claimed(storage)
        await storage.release_task(task)

        assert ids(await storage.get_ready_tasks()) == ["task-1"]
        assert (await claimed(storage)).id == "task-1"

    async def test_many_failures_at_once_are_all_counted(self, storage: Storage) -> None:
        await storage.store_many([a_task(f"task-{number}") for number in range(30)])
        tasks = await storage.claim_next_tasks("agent-1", limit=30)

        await asyncio.gather(*(elsewhere(storage.fail_task(task, task.id, retry_in=0)) for task in tasks))

        ready = await storage.get_ready_tasks()
        assert {(task.id, task.error, task.retry_count) for task in ready} == {
            (f"task-{number}", f"task-{number}", 1) for number in range(30)
        }
