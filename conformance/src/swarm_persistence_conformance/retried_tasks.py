"""Facts about tasks that a caller retries, snoozes, or fails for good at once."""

from datetime import timedelta

import pytest

from swarm_persistence import ConflictError, LeaseLostError, NotFoundError, Storage, TaskStatus
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.held_tasks import a_claimed_task, claimed, is_about, statuses, stored
from swarm_persistence_conformance.records import a_task, ids


@pytest.mark.asyncio
class TestRetriedTasks:
    """The contract of `retry_task`."""

    async def test_a_failed_task_is_pending_as_if_it_had_never_run(self, storage: Storage, clock: ManualClock) -> None:
        task = await a_claimed_task(storage, payload={"k": 1}, max_retries=0)
        await storage.fail_task(task, "no luck")

        again = await storage.retry_task("task-1")

        assert again == a_task(
            payload={"k": 1},
            max_retries=0,
            claim_count=1,
            past_claims=again.past_claims,
            updated_at=clock.now(),
            version=4,
        )
        assert await stored(storage) == again
        assert await storage.get_tasks_by_agent("agent-1") == []
        assert ids(await storage.get_ready_tasks()) == ["task-1"]

    async def test_its_retries_are_counted_anew(self, storage: Storage, clock: ManualClock) -> None:
        await storage.fail_task(await a_claimed_task(storage, retry_count=1, max_retries=1), "no luck")
        await storage.retry_task("task-1")

        await storage.fail_task(await claimed(storage), "no luck", retry_in=0)
        assert (await stored(storage)).status is TaskStatus.PENDING
        await storage.fail_task(await claimed(storage), "no luck", retry_in=0)
        assert (await stored(storage)).status is TaskStatus.FAILED

    async def test_a_completed_task_loses_its_result_and_its_dependents_wait_again(self, storage: Storage) -> None:
        await storage.store_task(a_task("next", dependencies=["task-1"]))
        await storage.complete_task(await a_claimed_task(storage), {"sum": 6})

        again = await storage.retry_task("task-1")

        assert (again.status, again.result, again.completed_at) == (TaskStatus.PENDING, None, None)
        assert ids(await storage.get_blocked_tasks()) == ["next"]
        await storage.complete_task(await claimed(storage), {"sum": 7})
        assert (await claimed(storage)).id == "next"

    async def test_a_cancelled_task_can_be_claimed_again_and_its_former_holder_cannot_end_it(
        self, storage: Storage
    ) -> None:
        former = await a_claimed_task(storage)
        await storage.cancel_task("task-1")

        await storage.retry_task("task-1")
        latter = await claimed(storage)

        with pytest.raises(LeaseLostError):
            await storage.complete_task(former, "late")
        await storage.complete_task(latter, "in time")
        assert (await stored(storage)).result == "in time"

    async def test_a_task_that_is_retried_before_its_time_waits_for_it(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.store_task(a_task(run_at=clock.now() + timedelta(seconds=100)))
        await storage.cancel_task("task-1")

        await storage.retry_task("task-1")

        assert await storage.claim_next_task("agent-1") is None
        clock.advance(120)
        assert (await claimed(storage)).id == "task-1"

    async def test_a_task_whose_dependency_has_failed_fails_at_once_until_that_is_retried(
        self, storage: Storage
    ) -> None:
        await storage.store_tasks([a_task("first", max_retries=0), a_task("next", dependencies=["first"])])
        await storage.fail_task(await claimed(storage), "no luck")

        assert (await storage.retry_task("next")).status is TaskStatus.FAILED
        await storage.retry_task("first")
        assert (await storage.retry_task("next")).status is TaskStatus.PENDING

        await storage.complete_task(await claimed(storage), 1)
        assert (await claimed(storage)).id == "next"

    @pytest.mark.parametrize("status", [TaskStatus.PENDING, TaskStatus.ASSIGNED, TaskStatus.RUNNING])
    async def test_a_task_that_is_not_finished_is_not_retried(self, storage: Storage, status: TaskStatus) -> None:
        task = await storage.store_task(a_task(status=status))

        with pytest.raises(ConflictError, match=f"task 'task-1' is {status}; only a task that is finished"):
            await storage.retry_task("task-1")

        assert await stored(storage) == task

    async def test_a_missing_task_is_not_retried(self, storage: Storage) -> None:
        with pytest.raises(NotFoundError, match="task 'task-1'"):
            await storage.retry_task("task-1")

    async def test_a_retry_that_is_rolled_back_has_not_happened(self, storage: Storage) -> None:
        task = await storage.store_task(a_task(status=TaskStatus.FAILED, error="no luck"))

        transaction = await storage.begin_transaction()
        await storage.retry_task("task-1")
        await transaction.rollback()

        assert await stored(storage) == task


@pytest.mark.asyncio
class TestTakeovers:
    """The contract of `release_tasks_of`."""

    async def test_what_an_agent_holds_is_pending_again_and_counts_no_retry(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.store_tasks([a_task("a"), a_task("b"), a_task("c"), a_task("d", assigned_to="agent-1")])
        await storage.claim_task("a", "agent-1")
        held = (await storage.claim_next_tasks("agent-1", limit=1))[0]
        await storage.claim_task("c", "agent-2")

        assert sorted(await storage.release_tasks_of("agent-1")) == ["a", "b"]

        task = await stored(storage, "a")
        assert task == a_task("a", claim_count=1, past_claims=task.past_claims, updated_at=clock.now(), version=3)
        assert await statuses(storage, ["a", "b", "c"]) == [
            TaskStatus.PENDING,
            TaskStatus.PENDING,
            TaskStatus.ASSIGNED,
        ]
        with pytest.raises(LeaseLostError):
            await storage.complete_task(held)
        assert await storage.release_tasks_of("agent-1") == []

    async def test_a_task_that_several_holders_have_not_survived_is_left_to_its_lease(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.store_task(a_task())
        for _ in range(3):
            await claimed(storage, lease=60)
            assert await storage.release_tasks_of("agent-1") == ["task-1"]
        await claimed(storage, lease=60)

        assert await storage.release_tasks_of("agent-1") == []
        clock.advance(100)
        assert (await storage.requeue_expired_tasks()).requeued == ("task-1",)
        assert (await stored(storage)).retry_count == 1

    async def test_claims_that_their_holders_have_ended_do_not_leave_a_task_to_its_lease(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.store_task(a_task())
        for _ in range(4):
            await storage.release_task(await claimed(storage, lease=60))
        await storage.fail_task(await claimed(storage, lease=60), "no luck", retry_in=0)
        await claimed(storage, lease=60)
        clock.advance(100)
        await storage.requeue_expired_tasks()
        for _ in range(3):
            await claimed(storage, lease=60)
            assert await storage.release_tasks_of("agent-1") == ["task-1"]
        await claimed(storage, lease=60)

        assert await storage.release_tasks_of("agent-1") == []


@pytest.mark.asyncio
class TestRetryControl:
    """What a holder can say of the next attempt."""

    async def test_a_task_is_released_for_later_without_counting_a_retry(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        task = await a_claimed_task(storage)

        await storage.release_task(task, retry_in=timedelta(seconds=100))

        assert (task.status, task.retry_count, task.error) == (TaskStatus.PENDING, 0, None)
        assert is_about(task.run_at, clock.now() + timedelta(seconds=100))
        assert await stored(storage) == task
        assert await storage.claim_next_task("agent-2") is None
        clock.advance(120)
        assert (await claimed(storage, "agent-2")).claim_count == 2

    async def test_a_failure_is_final_if_no_retry_is_allowed_in_it(self, storage: Storage) -> None:
        await storage.store_task(a_task("next", dependencies=["task-1"]))
        task = await a_claimed_task(storage, max_retries=5)

        await storage.fail_task(task, "bad input", max_retries=0)

        assert (task.status, task.error, task.max_retries) == (TaskStatus.FAILED, "bad input", 5)
        assert await statuses(storage, ["task-1", "next"]) == [TaskStatus.FAILED] * 2

    async def test_a_failure_can_be_retried_beyond_the_tasks_own_limit(self, storage: Storage) -> None:
        task = await a_claimed_task(storage, retry_count=2, max_retries=2)

        await storage.fail_task(task, "no luck", retry_in=0, max_retries=3)
        assert (task.status, task.retry_count) == (TaskStatus.PENDING, 3)
        again = await claimed(storage)
        await storage.fail_task(again, "no luck", retry_in=0, max_retries=3)
        assert again.status is TaskStatus.FAILED

    async def test_a_limit_counts_the_stored_retries_rather_than_those_of_the_copy(self, storage: Storage) -> None:
        task = await a_claimed_task(storage, retry_count=1)
        task.retry_count = 0

        await storage.fail_task(task, "no luck", max_retries=1)

        assert task.status is TaskStatus.FAILED
