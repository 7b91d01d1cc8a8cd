"""Facts about claiming a task."""

import pytest

from swarm_persistence import ConflictError, InvalidQueryError, Storage, TaskStatus
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.records import a_task, an_agent, ids
from swarm_persistence_conformance.tasks import NOT_PENDING


@pytest.mark.asyncio
class TestClaims:
    """The contract of `claim_task`."""

    async def test_a_pending_task_is_claimed(self, storage: Storage) -> None:
        await storage.store_task(a_task())

        assert await storage.claim_task("task-1", "agent-456") is True

    async def test_a_claim_shows_in_what_is_read_back(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_task(a_task(payload={"k": 1}, retry_count=2))

        await storage.claim_task("task-1", "agent-1")

        assert await storage.get_task("task-1") == a_task(
            payload={"k": 1},
            retry_count=2,
            status=TaskStatus.ASSIGNED,
            assigned_to="agent-1",
            updated_at=clock.now(),
            claim_count=1,
            version=2,
        )

    async def test_a_claimed_task_is_the_agents_and_no_longer_pending(self, storage: Storage) -> None:
        await storage.store_task(a_task())

        await storage.claim_task("task-1", "agent-1")

        assert ids(await storage.get_tasks_by_agent("agent-1")) == ["task-1"]
        assert await storage.get_pending_tasks() == []

    async def test_a_claimed_task_is_not_claimed_again(self, storage: Storage) -> None:
        await storage.store_task(a_task())
        await storage.claim_task("task-1", "agent-1")

        assert await storage.claim_task("task-1", "agent-2") is False

    async def test_a_lost_claim_leaves_the_task_to_its_holder(self, storage: Storage) -> None:
        await storage.store_task(a_task())
        await storage.claim_task("task-1", "agent-1")
        held = await storage.get_task("task-1")

        await storage.claim_task("task-1", "agent-2")

        assert await storage.get_task("task-1") == held

    async def test_an_agent_does_not_claim_its_own_task_twice(self, storage: Storage) -> None:
        await storage.store_task(a_task())
        await storage.claim_task("task-1", "agent-1")

        assert await storage.claim_task("task-1", "agent-1") is False

    async def test_a_missing_task_is_not_claimed(self, storage: Storage) -> None:
        assert await storage.claim_task("task-123", "agent-1") is False

    async def test_a_claim_whose_agent_is_a_task_and_whose_task_is_none_is_refused(self, storage: Storage) -> None:
        await storage.store_task(a_task())

        with pytest.raises(InvalidQueryError, match="agent_id is 'task-1', the id of a task"):
            await storage.claim_task("agent-1", "task-1")

        assert ids(await storage.get_pending_tasks()) == ["task-1"]

    async def test_a_claim_whose_task_is_an_agent_is_refused(self, storage: Storage) -> None:
        await storage.store_agent(an_agent())

        with pytest.raises(InvalidQueryError, match="task_id is 'agent-1', the id of an agent"):
            await storage.claim_task("agent-1", "task-1")

    async def test_ids_that_a_task_and_an_agent_share_are_no_mistake(self, storage: Storage) -> None:
        await storage.store_many([an_agent("1"), a_task("1"), a_task("2")])

        assert await storage.claim_task("1", "2") is True
        assert await storage.claim_task("1", "2") is False

    @pytest.mark.parametrize("status", NOT_PENDING)
    async def test_a_task_that_is_not_pending_is_not_claimed(self, storage: Storage, status: TaskStatus) -> None:
        task = a_task(status=status)
        await storage.store_task(task)

        assert await storage.claim_task("task-1", "agent-1") is False
        assert await storage.get_task("task-1") == task

    async def test_a_claim_leaves_other_tasks_alone(self, storage: Storage) -> None:
        other = a_task("task-2")
        await storage.store_many([a_task(), other])

        await storage.claim_task("task-1", "agent-1")

        assert await storage.get_pending_tasks() == [other]

    async def test_a_claim_puts_older_copies_out_of_date(self, storage: Storage) -> None:
        task = a_task()
        await storage.store_task(task)
        await storage.claim_task("task-1", "agent-1")

        with pytest.raises(ConflictError):
            await storage.update_task(task)

    async def test_a_task_that_went_back_to_pending_can_be_claimed_again(self, storage: Storage) -> None:
        await storage.store_task(a_task())
        await storage.claim_task("task-1", "agent-1")
        task = await storage.get_task("task-1")
        assert task is not None
        task.status, task.assigned_to = TaskStatus.PENDING, None
        await storage.update_task(task)

        assert await storage.claim_task("task-1", "agent-2") is True
