"""Facts about copies: stored records and returned ones share no mutable state."""

from typing import Any

import pytest

from swarm_persistence import AgentModel, QueryBuilder, Storage, TaskModel
from swarm_persistence_conformance.records import a_message, a_metric, a_task, an_agent, an_event, complete_records

CHANGES: dict[str, Any] = {
    "AgentModel": lambda record: record.capabilities.append("more"),
    "TaskModel": lambda record: record.payload["rows"][4]["deep"].append("more"),
    "EventModel": lambda record: record.data["rows"].append("more"),
    "MessageModel": lambda record: record.content.clear(),
    "MetricModel": lambda record: record.tags.update(more="more"),
}


@pytest.mark.asyncio
class TestCopies:
    """Changing a record does not change the stored one."""

    @pytest.mark.parametrize("model", CHANGES)
    async def test_changing_a_record_after_it_was_stored_changes_nothing(self, storage: Storage, model: str) -> None:
        (record,) = (record for record in complete_records() if type(record).__name__ == model)
        repository = storage.repository(type(record))
        await storage.store_many([record])
        before = await repository.find_by_id(record.id)

        CHANGES[model](record)

        assert await repository.find_by_id(record.id) == before != record

    @pytest.mark.parametrize("model", CHANGES)
    async def test_changing_a_record_that_was_read_changes_nothing(self, storage: Storage, model: str) -> None:
        (record,) = (record for record in complete_records() if type(record).__name__ == model)
        repository = storage.repository(type(record))
        await storage.store_many([record])
        read = await repository.find_by_id(record.id)

        CHANGES[model](read)

        assert await repository.find_by_id(record.id) == record != read

    async def test_assigning_to_a_stored_record_changes_nothing(self, storage: Storage) -> None:
        agent = an_agent()
        await storage.store_agent(agent)

        agent.name = "changed"

        assert await storage.get_agent("agent-1") == an_agent(version=1)

    async def test_changing_a_record_after_its_update_changes_nothing(self, storage: Storage) -> None:
        task = a_task()
        await storage.store_task(task)
        task.payload = {"list": [1]}
        await storage.update_task(task)

        task.payload["list"].append(2)

        assert await storage.get_task("task-1") == a_task(payload={"list": [1]}, version=2)

    async def test_two_reads_give_two_objects(self, storage: Storage) -> None:
        await storage.store_agent(an_agent(metadata={"k": [1]}))
        first, second = await storage.get_agent("agent-1"), await storage.get_agent("agent-1")
        assert first is not None

        first.metadata["k"].append(2)

        assert second == an_agent(metadata={"k": [1]}, version=1)

    async def test_a_list_that_was_read_does_not_follow_the_store(self, storage: Storage) -> None:
        await storage.store_agent(an_agent())
        listed = await storage.list_agents()

        await storage.store_agent(an_agent("agent-2"))
        await storage.delete_agent("agent-1")

        assert listed == [an_agent(version=1)]

    async def test_changing_what_any_verb_listed_changes_nothing(self, storage: Storage) -> None:
        async def lists() -> list[list[Any]]:
            return [
                await storage.list_agents(),
                await storage.list_agents_by_status("initializing"),
                await storage.get_pending_tasks(),
                await storage.get_tasks_by_agent("a"),
                await storage.get_events_by_agent("a", 1),
                await storage.get_events_by_type("task_completed", 1),
                await storage.get_events_since(0),
                await storage.get_messages_between("coordinator", "worker-001", 1),
                await storage.get_unread_messages("worker-001"),
                await storage.get_metrics_by_agent("a", "duration_ms"),
                await storage.repository(AgentModel).find_all(),
                await storage.repository(TaskModel).query(QueryBuilder(TaskModel)),
            ]

        await storage.store_many(
            [
                an_agent(metadata={}),
                a_task(assigned_to="a", payload={}),
                an_event(agent_id="a", data={}),
                a_message(content={}),
                a_metric(agent_id="a"),
            ]
        )
        before = await lists()

        for records in await lists():
            for record in records:
                CHANGES_OF_EMPTY[type(record).__name__](record)
            records.clear()

        assert await lists() == before
        assert all(before)

    async def test_changing_a_record_within_a_transaction_changes_nothing_in_it(self, storage: Storage) -> None:
        agent = an_agent(metadata={"k": [1]})
        async with storage.transaction():
            await storage.store_agent(agent)
            agent.metadata["k"].append(2)
            read = await storage.get_agent("agent-1")
            assert read is not None
            read.metadata["k"].append(3)

        assert await storage.get_agent("agent-1") == an_agent(metadata={"k": [1]}, version=1)


CHANGES_OF_EMPTY: dict[str, Any] = {
    "AgentModel": lambda record: record.metadata.update(more="more"),
    "TaskModel": lambda record: record.payload.update(more="more"),
    "EventModel": lambda record: record.data.update(more="more"),
    "MessageModel": lambda record: record.content.update(more="more"),
    "MetricModel": lambda record: record.tags.update(more="more"),
}
