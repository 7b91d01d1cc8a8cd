"""Facts about the conditions of queries."""

from collections.abc import Callable
from typing import Any

import pytest

from swarm_persistence import (
    AgentModel,
    AgentStatus,
    EventModel,
    MessageModel,
    MetricModel,
    QueryBuilder,
    Storage,
    TaskModel,
)
from swarm_persistence import TaskPriority as Priority
from swarm_persistence_conformance.records import MOMENT, a_message, a_metric, a_task, after, an_agent, an_event, ids

Build = Callable[[QueryBuilder[Any]], QueryBuilder[Any]]


async def find(storage: Storage, builder: QueryBuilder[Any]) -> list[str]:
    """Return the ids of the records that a query finds."""
    return ids(await storage.repository(builder.query.table.model).query(builder))


@pytest.mark.asyncio
class TestConditions:
    """Each condition finds the matching records."""

    async def test_the_seeds_example_finds_its_agents(self, storage: Storage) -> None:
        for number, agent_type in enumerate(("worker-a", "coordinator", "WORKER-b", "a worker")):
            agent = an_agent(agent_type, agent_type=agent_type, status=AgentStatus.ACTIVE, created_at=after(number))
            await storage.store_agent(agent)
        await storage.store_agent(an_agent("idle", agent_type="worker-c", status=AgentStatus.IDLE))

        query = QueryBuilder(AgentModel).where_eq("status", "active").where_like("agent_type", "worker%")

        assert await find(storage, query.order_by("created_at", True).limit(50)) == ["WORKER-b", "worker-a"]

    @pytest.mark.parametrize(
        ("build", "found"),
        [
            (lambda query: query.where_eq("retry_count", 2), ["2"]),
            (lambda query: query.where_ne("retry_count", 2), ["1", "3"]),
            (lambda query: query.where_gt("retry_count", 2), ["3"]),
            (lambda query: query.where_ge("retry_count", 2), ["2", "3"]),
            (lambda query: query.where_lt("retry_count", 2), ["1"]),
            (lambda query: query.where_le("retry_count", 2), ["1", "2"]),
            (lambda query: query.where_in("retry_count", [3, 1, 1, 7]), ["1", "3"]),
            (lambda query: query.where_in("retry_count", []), []),
            (lambda query: query.where_gt("retry_count", 1).where_lt("retry_count", 3), ["2"]),
            (lambda query: query.where_eq("retry_count", 1).where_eq("retry_count", 2), []),
            (lambda query: query, ["1", "2", "3"]),
        ],
    )
    async def test_whole_numbers_are_compared(self, storage: Storage, build: Build, found: list[str]) -> None:
        await storage.store_many([a_task(str(number), retry_count=number) for number in (1, 2, 3)])

        assert await find(storage, build(QueryBuilder(TaskModel))) == found

    @pytest.mark.parametrize(
        ("build", "found"),
        [
            (lambda query: query.where_eq("value", 1), ["1"]),
            (lambda query: query.where_gt("value", -0.5), ["0", "1"]),
            (lambda query: query.where_in("value", [1.0, -2]), ["-2", "1"]),
            (lambda query: query.where_eq("value", -0.0), ["0"]),
        ],
    )
    async def test_floats_are_compared(self, storage: Storage, build: Build, found: list[str]) -> None:
        await storage.store_many([a_metric(str(number), value=number) for number in (-2, 0, 1)])

        assert await find(storage, build(QueryBuilder(MetricModel))) == found

    @pytest.mark.parametrize(
        ("build", "found"),
        [
            (lambda query: query.where_eq("timestamp", MOMENT), ["0"]),
            (lambda query: query.where_gt("timestamp", MOMENT), ["1"]),
            (lambda query: query.where_le("timestamp", MOMENT), ["-1", "0"]),
            (lambda query: query.where_gt("timestamp", int(MOMENT.timestamp())), ["0", "1"]),
            (lambda query: query.where_lt("timestamp", int(MOMENT.timestamp())), ["-1"]),
            (lambda query: query.where_in("timestamp", [after(1), after(5)]), ["1"]),
        ],
    )
    async def test_times_are_compared_as_instants(self, storage: Storage, build: Build, found: list[str]) -> None:
        await storage.store_many([an_event(str(age), timestamp=after(age)) for age in (-1, 0, 1)])

        assert await find(storage, build(QueryBuilder(EventModel))) == found

    @pytest.mark.parametrize(
        ("build", "found"),
        [
            (lambda query: query.where_eq("priority", Priority.HIGH), ["high"]),
            (lambda query: query.where_eq("priority", "high"), ["high"]),
            (lambda query: query.where_gt("priority", Priority.MEDIUM), ["high", "critical"]),
            (lambda query: query.where_le("priority", "medium"), ["low", "medium"]),
            (lambda query: query.where_in("priority", ["critical", Priority.LOW]), ["low", "critical"]),
        ],
    )
    async def test_priorities_are_compared_by_urgency(self, storage: Storage, build: Build, found: list[str]) -> None:
        await storage.store_many([a_task(priority.value, priority=priority) for priority in Priority])

        assert await find(storage, build(QueryBuilder(TaskModel))) == found

    async def test_flags_are_compared(self, storage: Storage) -> None:
        await storage.store_many([a_message("read", read=True), a_message("unread")])

        assert await find(storage, QueryBuilder(MessageModel).where_eq("read", True)) == ["read"]
        assert await find(storage, QueryBuilder(MessageModel).where_lt("read", True)) == ["unread"]

    async def test_text_is_compared_by_code_point(self, storage: Storage) -> None:
        await storage.store_many([an_agent(name, name=name) for name in ("Z", "a", "é", "\ufffd", "\U0001f600")])

        assert await find(storage, QueryBuilder(AgentModel).where_gt("name", "a")) == ["é", "\ufffd", "\U0001f600"]
        assert await find(storage, QueryBuilder(AgentModel).where_lt("name", "a")) == ["Z"]
        assert await find(storage, QueryBuilder(AgentModel).where_gt("name", "\ufffd")) == ["\U0001f600"]

    async def test_text_equals_only_itself(self, storage: Storage) -> None:
        names = ["a", "A", "a ", " a", "á", "a\u0301", ""]
        await storage.store_many([an_agent(f"<{name}>", name=name) for name in names])

        for name in names:
            assert await find(storage, QueryBuilder(AgentModel).where_eq("name", name)) == [f"<{name}>"]

    async def test_an_events_sequence_can_be_asked_for(self, storage: Storage) -> None:
        first, second = an_event("first"), an_event("second")
        await storage.store_many([first, second])

        after_first = QueryBuilder(EventModel).where_gt("sequence", first.sequence).order_by("sequence")

        assert await find(storage, after_first) == ["second"]

    async def test_a_value_cannot_become_sql(self, storage: Storage) -> None:
        await storage.store_many([an_agent("1", name="x' OR '1'='1"), an_agent("2", name="y")])

        assert await find(storage, QueryBuilder(AgentModel).where_eq("name", "x' OR '1'='1")) == ["1"]
        assert await find(storage, QueryBuilder(AgentModel).where_like("name", "'; DROP TABLE agents; --")) == []
        assert await find(storage, QueryBuilder(AgentModel).where_in("name", ["') OR 1=1 --"])) == []
        assert len(await storage.list_agents()) == 2

    async def test_many_values_may_be_given_at_once(self, storage: Storage) -> None:
        await storage.store_many([a_task("1"), a_task("2")])
        wanted = [f"task-{number}" for number in range(5_000)]

        assert await find(storage, QueryBuilder(TaskModel).where_in("id", [*wanted, "2"])) == ["2"]


@pytest.mark.asyncio
class TestNull:
    """Null in queries."""

    @pytest.mark.parametrize(
        ("build", "found"),
        [
            (lambda query: query.where_null("assigned_to"), ["null"]),
            (lambda query: query.where_not_null("assigned_to"), ["empty", "a", "b"]),
            (lambda query: query.where_eq("assigned_to", "a"), ["a"]),
            (lambda query: query.where_ne("assigned_to", "a"), ["empty", "b"]),
            (lambda query: query.where_lt("assigned_to", "b"), ["empty", "a"]),
            (lambda query: query.where_ge("assigned_to", ""), ["empty", "a", "b"]),
            (lambda query: query.where_like("assigned_to", "%"), ["empty", "a", "b"]),
            (lambda query: query.where_in("assigned_to", ["", "b"]), ["empty", "b"]),
            (lambda query: query.order_by("assigned_to"), ["null", "empty", "a", "b"]),
            (lambda query: query.order_by("assigned_to", desc=True), ["b", "a", "empty", "null"]),
        ],
    )
    async def test_null_is_found_by_name_only_and_sorts_below_everything(
        self, storage: Storage, build: Build, found: list[str]
    ) -> None:
        for id, agent_id in (("null", None), ("empty", ""), ("a", "a"), ("b", "b")):
            await storage.store_task(a_task(id, assigned_to=agent_id))

        assert await find(storage, build(QueryBuilder(TaskModel))) == found

    async def test_a_json_null_is_null_where_the_field_may_be_none(self, storage: Storage) -> None:
        await storage.store_many([a_task("null"), a_task("zero", result=0), a_task("false", result=False)])

        assert await find(storage, QueryBuilder(TaskModel).where_null("result")) == ["null"]
        assert await find(storage, QueryBuilder(TaskModel).where_not_null("result")) == ["zero", "false"]

    @pytest.mark.parametrize("field", ["id", "status", "priority", "created_at", "retry_count", "payload", "version"])
    async def test_a_field_that_is_never_none_is_never_null(self, storage: Storage, field: str) -> None:
        await storage.store_task(a_task())

        assert await find(storage, QueryBuilder(TaskModel).where_null(field)) == []
        assert await find(storage, QueryBuilder(TaskModel).where_not_null(field)) == ["task-1"]

    async def test_times_may_be_null(self, storage: Storage) -> None:
        await storage.store_many([a_task("waiting"), a_task("started", started_at=MOMENT)])

        assert await find(storage, QueryBuilder(TaskModel).where_null("started_at")) == ["waiting"]
        assert await find(storage, QueryBuilder(TaskModel).where_le("started_at", after(1))) == ["started"]
