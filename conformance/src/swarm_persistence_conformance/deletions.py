"""Facts about deleting an agent: what is deleted with it, and what stays."""

import pytest

from swarm_persistence import Storage, TaskStatus
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.records import a_message, a_metric, a_task, after, an_agent, an_event, ids


@pytest.mark.asyncio
class TestDeletedAgents:
    """Deleting an agent releases its tasks and keeps history."""

    async def test_a_deleted_agent_is_gone(self, storage: Storage) -> None:
        await storage.store_agent(an_agent())

        await storage.delete_agent("agent-1")

        assert await storage.get_agent("agent-1") is None

    async def test_deleting_a_missing_agent_does_nothing(self, storage: Storage) -> None:
        await storage.store_agent(an_agent("other"))

        await storage.delete_agent("agent-1")

        assert ids(await storage.list_agents()) == ["other"]

    async def test_a_deleted_agent_can_be_stored_again(self, storage: Storage) -> None:
        await storage.store_agent(an_agent())
        await storage.delete_agent("agent-1")

        await storage.store_agent(an_agent(name="reborn"))

        assert await storage.get_agent("agent-1") == an_agent(name="reborn", version=1)

    @pytest.mark.parametrize("status", [TaskStatus.ASSIGNED, TaskStatus.RUNNING])
    async def test_an_unfinished_task_goes_back_to_pending(
        self, storage: Storage, clock: ManualClock, status: TaskStatus
    ) -> None:
        await storage.store_agent(an_agent())
        await storage.store_task(a_task(status=status, assigned_to="agent-1", started_at=after(1), retry_count=1))

        await storage.delete_agent("agent-1")

        (task,) = await storage.get_pending_tasks()
        assert task == a_task(retry_count=1, past_claims=task.past_claims, updated_at=clock.now(), version=2)

    @pytest.mark.parametrize(
        "status", [TaskStatus.PENDING, TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED]
    )
    async def test_a_task_that_is_not_under_way_stays_as_it_is(self, storage: Storage, status: TaskStatus) -> None:
        task = a_task(status=status, assigned_to="agent-1", started_at=after(1))
        await storage.store_agent(an_agent())
        await storage.store_task(task)

        await storage.delete_agent("agent-1")

        assert await storage.get_task("task-1") == task

    async def test_the_tasks_of_others_stay_assigned(self, storage: Storage) -> None:
        task = a_task(status=TaskStatus.RUNNING, assigned_to="agent-2")
        await storage.store_many([an_agent(), an_agent("agent-2"), task])

        await storage.delete_agent("agent-1")

        assert await storage.get_tasks_by_agent("agent-2") == [task]

    async def test_tasks_of_an_agent_that_was_never_stored_are_given_back_too(self, storage: Storage) -> None:
        await storage.store_task(a_task())
        await storage.claim_task("task-1", "agent-1")

        await storage.delete_agent("agent-1")

        assert ids(await storage.get_pending_tasks()) == ["task-1"]

    async def test_its_events_messages_and_metrics_stay(self, storage: Storage) -> None:
        event = an_event(agent_id="agent-1")
        message = a_message(from_agent="agent-1", to_agent="agent-2")
        metric = a_metric(agent_id="agent-1")
        await storage.store_many([an_agent(), event, message, metric])

        await storage.delete_agent("agent-1")

        assert await storage.get_events_by_agent("agent-1", 10) == [event]
        assert await storage.get_messages_between("agent-1", "agent-2", 10) == [message]
        assert await storage.get_metrics_by_agent("agent-1", "duration_ms") == [metric]
