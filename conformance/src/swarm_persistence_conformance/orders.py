"""Facts about `ORDER BY`, `LIMIT` and `OFFSET` in queries."""

import pytest

from swarm_persistence import AgentModel, MetricModel, QueryBuilder, Storage, TaskModel
from swarm_persistence import TaskPriority as Priority
from swarm_persistence_conformance.queries import Build, find
from swarm_persistence_conformance.records import a_metric, a_task, an_agent


@pytest.mark.asyncio
class TestOrders:
    """Queries sort, limit and skip their records."""

    async def test_without_an_order_records_come_as_they_arrived(self, storage: Storage) -> None:
        await storage.store_many([a_task(id) for id in ("m", "z", "a")])

        assert await find(storage, QueryBuilder(TaskModel)) == ["m", "z", "a"]

    async def test_text_is_sorted_by_code_point(self, storage: Storage) -> None:
        names = ["\U0001f600", "b", "é", "B", "", "a", "\ufffd", "Ä", "_", "aa", "1", "10", "9"]
        await storage.store_many([an_agent(f"<{name}>", name=name) for name in names])

        found = await find(storage, QueryBuilder(AgentModel).order_by("name"))

        assert found == [f"<{name}>" for name in sorted(names)]

    async def test_priorities_are_sorted_by_urgency(self, storage: Storage) -> None:
        await storage.store_many([a_task(name, priority=Priority(name)) for name in ("high", "low", "critical")])

        assert await find(storage, QueryBuilder(TaskModel).order_by("priority")) == ["low", "high", "critical"]

    async def test_numbers_are_sorted_as_numbers(self, storage: Storage) -> None:
        await storage.store_many([a_metric(str(number), value=number) for number in (10, -1, 9, 0.5)])

        assert await find(storage, QueryBuilder(MetricModel).order_by("value")) == ["-1", "0.5", "9", "10"]

    async def test_a_second_order_decides_among_equals(self, storage: Storage) -> None:
        for id, name, agent_type in (("1", "b", "x"), ("2", "a", "y"), ("3", "b", "z"), ("4", "a", "x")):
            await storage.store_agent(an_agent(id, name=name, agent_type=agent_type))

        query = QueryBuilder(AgentModel).order_by("name").order_by("agent_type", desc=True)

        assert await find(storage, query) == ["2", "4", "3", "1"]

    async def test_equals_come_as_they_arrived(self, storage: Storage) -> None:
        await storage.store_many([a_task(id) for id in ("m", "z", "a")])

        assert await find(storage, QueryBuilder(TaskModel).order_by("task_type")) == ["m", "z", "a"]

    async def test_equals_of_a_descending_order_come_latest_arrival_first(self, storage: Storage) -> None:
        await storage.store_many([a_task(id) for id in ("m", "z", "a")])

        assert await find(storage, QueryBuilder(TaskModel).order_by("task_type", desc=True)) == ["a", "z", "m"]

    @pytest.mark.parametrize(
        ("build", "found"),
        [
            (lambda query: query.limit(2), ["0", "1"]),
            (lambda query: query.limit(0), []),
            (lambda query: query.limit(9), ["0", "1", "2", "3"]),
            (lambda query: query.limit(2**63 - 1), ["0", "1", "2", "3"]),
            (lambda query: query.offset(3), ["3"]),
            (lambda query: query.offset(9), []),
            (lambda query: query.offset(2**63 - 1), []),
            (lambda query: query.offset(1).limit(2), ["1", "2"]),
            (lambda query: query.limit(1).limit(3), ["0", "1", "2"]),
            (lambda query: query.order_by("id", desc=True).limit(2).offset(1), ["2", "1"]),
        ],
    )
    async def test_a_limit_and_an_offset_cut_out_a_page(self, storage: Storage, build: Build, found: list[str]) -> None:
        await storage.store_many([a_task(str(number)) for number in range(4)])

        assert await find(storage, build(QueryBuilder(TaskModel))) == found
