"""Facts about rows that cannot be read back: the error names them, no read skips them, no other call fails."""

import asyncio
from typing import Any

import pytest

from sqlite.tracing import Watch
from swarm_persistence import (
    AgentModel,
    EventModel,
    MessageModel,
    MetricModel,
    SerializationError,
    SqliteStorage,
    TaskModel,
)
from swarm_persistence.errors import UnreadableError
from swarm_persistence_conformance.records import a_message, a_metric, a_task, an_agent, an_event

DAMAGE = [
    (AgentModel, "agents", "status", "'sleepy'"),
    (AgentModel, "agents", "metadata", "'{not JSON'"),
    (TaskModel, "tasks", "priority", "99"),
    (TaskModel, "tasks", "created_at", str(2**62)),
    (EventModel, "events", "data", "''"),
    (MessageModel, "messages", "content", "'[1,'"),
    (MetricModel, "metrics", "tags", "'\ufeff'"),
]


class TestUnreadableRows:
    @pytest.fixture(autouse=True)
    async def _filled(self, storage: SqliteStorage) -> None:
        for number in (1, 2):
            await storage.store_many(
                make(f"{name}-{number}")
                for name, make in (
                    ("agent", an_agent),
                    ("task", a_task),
                    ("event", an_event),
                    ("message", a_message),
                    ("metric", a_metric),
                )
            )

    @pytest.mark.parametrize("damage", DAMAGE)
    async def test_reading_one_names_it(
        self, storage: SqliteStorage, watch: Watch, damage: tuple[type[Any], str, str, str]
    ) -> None:
        model, table, column, value = damage
        watch.writer.execute(f"UPDATE {table} SET {column} = {value} WHERE id LIKE '%-1'")
        repository, name = storage.repository(model), table.removesuffix("s")
        message = f"the stored {name} '{name}-1' cannot be read back"

        with pytest.raises(SerializationError, match=message):
            await repository.find_by_id(f"{name}-1")
        with pytest.raises(SerializationError, match=message):
            await repository.find_all()

        assert await repository.find_by_id(f"{name}-2") is not None

    async def test_its_neighbours_in_the_batch_are_read(self, storage: SqliteStorage, watch: Watch) -> None:
        watch.writer.execute("UPDATE agents SET status = 'sleepy' WHERE id = 'agent-1'")

        outcomes = await asyncio.gather(
            storage.get_agent("agent-2"),
            storage.get_agent("agent-1"),
            storage.list_agents(),
            storage.get_task("task-1"),
            return_exceptions=True,
        )

        assert [type(outcome) for outcome in outcomes] == [
            AgentModel,
            UnreadableError,
            UnreadableError,
            TaskModel,
        ]

    async def test_it_can_be_mended_with_the_storages_own_verbs(self, storage: SqliteStorage, watch: Watch) -> None:
        watch.writer.execute("UPDATE agents SET status = 'sleepy' WHERE id = 'agent-1'")

        await storage.update_agent(an_agent(), force=True)

        assert await storage.get_agent("agent-1") is not None

    async def test_it_does_not_doom_a_transaction(self, storage: SqliteStorage, watch: Watch) -> None:
        watch.writer.execute("UPDATE agents SET status = 'sleepy' WHERE id = 'agent-1'")

        async with storage.transaction():
            with pytest.raises(SerializationError):
                await storage.list_agents()
            await storage.delete_agent("agent-1")

        assert [agent.id for agent in await storage.list_agents()] == ["agent-2"]
