"""Facts about the text of an enum's member in place of the member, and about the records that a store returns."""

from typing import Any

import pytest

from swarm_persistence import AgentStatus, SerializationError, Storage, TaskModel, TaskPriority, TaskStatus
from swarm_persistence_conformance.records import a_message, a_metric, a_task, an_agent, an_event


def assigned(model: Any, **texts: str) -> Any:
    """Return a record some of whose fields were set to texts after it was made."""
    for field, text in texts.items():
        setattr(model, field, text)
    return model


@pytest.mark.asyncio
class TestTextsOfChoices:
    """Where a field holds a member of an enum, its text stands for it."""

    async def test_texts_given_to_a_record_are_stored_as_their_members(self, storage: Storage) -> None:
        await storage.store_many([a_task(priority="high", status="running"), an_agent(status="busy")])

        task, agent = await storage.get_task("task-1"), await storage.get_agent("agent-1")

        assert task == a_task(priority=TaskPriority.HIGH, status=TaskStatus.RUNNING, version=1)
        assert agent == an_agent(status=AgentStatus.BUSY, version=1)

    @pytest.mark.parametrize("is_saved", [False, True])
    async def test_texts_assigned_to_a_record_are_stored_as_their_members_and_shown_so(
        self, storage: Storage, is_saved: bool
    ) -> None:
        task = assigned(a_task(), priority="low")
        await storage.store_task(task)
        assigned(task, priority="critical")
        await (storage.repository(TaskModel).save(task) if is_saved else storage.update_task(task))

        assert task.priority is TaskPriority.CRITICAL
        assert await storage.get_task("task-1") == task

    async def test_a_task_that_is_stored_as_completed_by_its_text_frees_its_dependents(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("b", dependencies=["a"]), assigned(a_task("a"), status="completed")])

        assert [task.id for task in await storage.get_ready_tasks()] == ["b"]

    async def test_a_task_that_is_updated_as_completed_by_its_text_frees_its_dependents(self, storage: Storage) -> None:
        first = a_task("a")
        await storage.store_tasks([first, a_task("b", dependencies=["a"])])

        await storage.update_task(assigned(first, status="completed"))

        assert [task.id for task in await storage.get_ready_tasks()] == ["b"]
        assert first.status is TaskStatus.COMPLETED

    async def test_a_task_that_is_stored_as_failed_by_its_text_fails_its_dependents(self, storage: Storage) -> None:
        await storage.store_task(a_task("b", dependencies=["a"]))

        await storage.store_task(assigned(a_task("a"), status="failed"))

        dependent = await storage.get_task("b")
        assert dependent is not None
        assert dependent.status is TaskStatus.FAILED

    @pytest.mark.parametrize("field", ["status", "priority"])
    async def test_a_text_of_no_member_is_refused_with_the_members(self, storage: Storage, field: str) -> None:
        with pytest.raises(SerializationError, match=rf"task\.{field} is 'urgent', expected a Task.*: one of "):
            await storage.store_task(a_task(**{field: "urgent"}))

        assert await storage.get_task("task-1") is None


@pytest.mark.asyncio
class TestStoredRecords:
    """Each `store_*` returns the stored record."""

    async def test_a_store_returns_the_record_as_it_is_read_back(self, storage: Storage) -> None:
        returned = [
            await storage.store_agent(an_agent()),
            await storage.store_task(a_task()),
            await storage.store_event(an_event()),
            await storage.store_message(a_message()),
            await storage.store_metric(a_metric()),
        ]

        for record in returned:
            assert await storage.repository(type(record)).find_by_id(record.id) == record
