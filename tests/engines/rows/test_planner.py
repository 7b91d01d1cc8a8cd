"""Which way the planner chooses, and how many rows lie on it."""

from collections.abc import Iterator
from typing import Any

import pytest

from swarm_persistence.engines.rows.evaluator import access_path_of, count_of, matching_rows, rows_of
from swarm_persistence.engines.rows.planner import ARRIVALS, AccessPath, Bound
from swarm_persistence.engines.rows.tables import RowTable
from swarm_persistence.models import (
    AgentModel,
    AgentStatus,
    EventModel,
    MessageModel,
    MetricModel,
    Model,
    TaskModel,
    TaskPriority,
    TaskStatus,
)
from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.schema.codec import Row, codec_of
from swarm_persistence.schema.tables import AGENTS, EVENTS, MESSAGES, METRICS, SEQUENCE, TASKS, Table, table_of

PENDING = Condition("status", "=", "pending")
MOST_URGENT_FIRST = (Order("priority", True), Order(SEQUENCE))
NEWEST_FIRST = (Order("timestamp", True),)
OLDEST_OF_PRIORITY = (Order("priority", is_descending=True), Order("timestamp"))


class CountingTable(RowTable):
    """Counts the rows that a reader has looked at."""

    looks = 0

    def scan(self, path: AccessPath) -> Iterator[Row]:
        for row in super().scan(path):
            self.looks += 1
            yield row


def filled(*models: Model) -> CountingTable:
    table = CountingTable(table_of(type(models[0])))
    hidden = (0,) * len(table.table.hidden)
    for sequence, model in enumerate(models, 1):
        table.add((*codec_of(type(model)).encode(model), *hidden, sequence))
    return table


def many_tasks() -> CountingTable:
    statuses, priorities = list(TaskStatus), list(TaskPriority)
    return filled(
        *(
            TaskModel(
                task_type="t",
                status=statuses[number % 6],
                priority=priorities[number % 4],
                assigned_to=f"agent-{number % 10}" if number % 6 else None,
            )
            for number in range(600)
        )
    )


def many_events() -> CountingTable:
    return filled(*(EventModel(event_type=f"e{n % 5}", agent_id=f"agent-{n % 10}") for n in range(500)))


def many_messages() -> CountingTable:
    return filled(
        *(
            MessageModel(from_agent=f"a{n % 5}", to_agent=f"a{n % 7}", message_type="m", read=n % 3 == 0)
            for n in range(700)
        )
    )


def many_metrics() -> CountingTable:
    return filled(*(MetricModel(agent_id=f"a{n % 5}", metric_type=f"m{n % 3}", value=n, unit="ms") for n in range(600)))


def many_agents() -> CountingTable:
    statuses = list(AgentStatus)
    return filled(*(AgentModel(name="a", agent_type="t", status=statuses[n % 7]) for n in range(700)))


WAYS: list[tuple[Query[Any], str]] = [
    (Query(AGENTS, (), (Order("created_at", True),)), "agents_by_age"),
    (Query(AGENTS, (Condition("status", "=", "idle"),), (Order("created_at", True),)), "agents_by_status"),
    (Query(TASKS, (PENDING,), MOST_URGENT_FIRST), "tasks_pending"),
    (Query(TASKS, (Condition("assigned_to", "=", "a"),), (Order("created_at", True),)), "tasks_by_agent"),
    (Query(EVENTS, (Condition("agent_id", "=", "a"),), NEWEST_FIRST, 10), "events_by_agent"),
    (Query(EVENTS, (Condition("event_type", "=", "a"),), NEWEST_FIRST, 10), "events_by_type"),
    (Query(EVENTS, (Condition("timestamp", ">=", 5),), (Order("timestamp"),)), "events_by_time"),
    (Query(EVENTS, (Condition(SEQUENCE, ">", 5),), (Order(SEQUENCE),), 10), "arrivals"),
    (Query(EVENTS, (), (Order(SEQUENCE, True), Order("timestamp")), 10), "arrivals"),
    (Query(EVENTS, (), (Order("timestamp", True), Order("timestamp"), Order(SEQUENCE, True)), 10), "events_by_time"),
    (Query(MESSAGES, (Condition("from_agent|to_agent", "PAIR", ("a", "b")),), NEWEST_FIRST, 9), "messages_by_pair"),
    (
        Query(MESSAGES, (Condition("to_agent", "=", "a"), Condition("read", "=", 0)), OLDEST_OF_PRIORITY),
        "messages_unread_by_priority",
    ),
    (
        Query(METRICS, (Condition("agent_id", "=", "a"), Condition("metric_type", "=", "m")), NEWEST_FIRST),
        "metrics_by_agent",
    ),
    (Query(TASKS), "arrivals"),
]


@pytest.mark.parametrize(("query", "index"), WAYS, ids=[f"{query.table.name} {index}" for query, index in WAYS])
def test_the_storages_own_lists_follow_an_index_in_order(query: Query[Any], index: str) -> None:
    path = access_path_of(query)

    assert (path.index.name, path.is_sorted, path.residual) == (index, True, ())


def test_an_aggregate_of_metrics_follows_their_type() -> None:
    during = (Condition("timestamp", ">=", 1), Condition("timestamp", "<=", 2))

    path = access_path_of(Query(METRICS, (Condition("metric_type", "=", "m"), *during)))

    assert (path.index.name, path.equal, path.residual) == ("metrics_by_type", ("m",), during)


def test_a_record_is_found_by_its_id_whatever_else_is_asked() -> None:
    path = access_path_of(Query(TASKS, (PENDING, Condition("id", "=", "t")), MOST_URGENT_FIRST))

    assert (path.ids, path.residual) == (("t",), (PENDING,))


def test_ids_are_looked_up_once_each() -> None:
    path = access_path_of(Query(TASKS, (Condition("id", "IN", ("t", None, "u", "t")),)))

    assert path.ids == ("t", "u")


def test_a_range_is_read_along_its_index() -> None:
    source = many_tasks()
    urgent = Query(TASKS, (PENDING, Condition("priority", ">", TaskPriority.MEDIUM.rank)), MOST_URGENT_FIRST)

    found = rows_of(source, urgent)

    assert len(found) == source.looks == sum(row[TASKS.positions["priority"]] > 1 for row in pending_rows(source))  # type: ignore[operator]


def pending_rows(source: RowTable) -> list[Row]:
    return [row for row in source.rows.values() if row[TASKS.positions["status"]] == "pending"]


def test_a_partial_index_does_not_serve_other_values() -> None:
    path = access_path_of(Query(TASKS, (Condition("status", "=", "running"),), MOST_URGENT_FIRST))

    assert (path.index, path.is_sorted) == (ARRIVALS, False)


def test_a_range_of_a_column_that_may_be_null_begins_above_null() -> None:
    path = access_path_of(Query(TASKS, (Condition("assigned_to", "<", "b"),)))

    assert (path.lower, path.upper) == (Bound(None, False), Bound("b", False))


def test_an_index_gives_no_order_that_turns_some_of_its_columns_only() -> None:
    newest_of_the_most_urgent = (Order("priority", True), Order(SEQUENCE, True))

    assert not access_path_of(Query(TASKS, (PENDING,), newest_of_the_most_urgent)).is_sorted
    assert not access_path_of(Query(TASKS, (PENDING,), (Order("priority", True),))).is_sorted


def test_what_can_find_nothing_looks_nowhere() -> None:
    assert access_path_of(Query(TASKS, (PENDING, Condition("assigned_to", "=", None)))).ids == ()
    assert access_path_of(Query(METRICS, (Condition("metric_type", "IS NULL"),))).ids == ()


@pytest.mark.parametrize(
    ("table", "query", "rows"),
    [
        (many_tasks, Query(TASKS, (PENDING,), MOST_URGENT_FIRST, 1), 1),
        (many_tasks, Query(TASKS, (PENDING,), MOST_URGENT_FIRST, 10, 5), 15),
        (many_tasks, Query(TASKS, (Condition("assigned_to", "=", "agent-3"),), (Order("created_at", True),), 4), 4),
        (many_tasks, Query(TASKS, (), (), 3), 3),
        (many_agents, Query(AGENTS, (Condition("status", "=", "idle"),), (Order("created_at", True),)), 100),
        (many_events, Query(EVENTS, (Condition("agent_id", "=", "agent-3"),), NEWEST_FIRST, 7), 7),
        (many_events, Query(EVENTS, (Condition("event_type", "=", "e3"),), NEWEST_FIRST, 7), 7),
        (many_events, Query(EVENTS, (Condition(SEQUENCE, ">", 495),), (Order(SEQUENCE),)), 5),
        (many_messages, Query(MESSAGES, (Condition("from_agent|to_agent", "PAIR", ("a2", "a1")),), NEWEST_FIRST, 5), 5),
        (
            many_messages,
            Query(MESSAGES, (Condition("read", "=", 0), Condition("to_agent", "=", "a6")), OLDEST_OF_PRIORITY, 5),
            5,
        ),
        (
            many_metrics,
            Query(METRICS, (Condition("metric_type", "=", "m1"), Condition("agent_id", "=", "a1")), NEWEST_FIRST, 5),
            5,
        ),
    ],
)
def test_no_more_rows_are_looked_at_than_are_found(table: Any, query: Query[Any], rows: int) -> None:
    source = table()

    found = rows_of(source, query)

    assert source.looks == rows
    assert len(found) == (rows if query.limit is None else query.limit)


def test_the_first_of_several_types_are_found_without_a_look_at_the_rest() -> None:
    source = filled(*(TaskModel(task_type=f"type-{number % 100}") for number in range(1000)))
    ready = (PENDING, Condition("unmet_dependencies", "=", 0), Condition("is_delayed", "=", 0))
    types = Condition("task_type", "IN", ("type-7", "type-5", "type-7", None))

    found = rows_of(source, Query(TASKS, (*ready, types), MOST_URGENT_FIRST, 3))

    assert [row[TASKS.positions["task_type"]] for row in found] == ["type-5", "type-7", "type-5"]
    assert source.looks <= 2 * 3


def test_several_values_that_no_index_serves_take_one_pass() -> None:
    source = many_tasks()
    types = Condition("task_type", "IN", ("t", "u", "v"))

    assert len(rows_of(source, Query(TASKS, (types,), (Order("updated_at"),), 3))) == 3

    assert source.looks == 600


def test_the_tasks_to_give_back_are_found_among_their_agents() -> None:
    source = many_tasks()
    held = (Condition("assigned_to", "=", "agent-3"), Condition("status", "IN", ("assigned", "running")))

    assert matching_rows(source, Query(TASKS, held))

    assert source.looks <= 60


def test_counting_along_an_index_looks_at_no_row() -> None:
    source = many_tasks()

    assert count_of(source, Query(TASKS, (PENDING,), (), 3)) == 100

    assert source.looks == 0


def test_an_end_without_a_limit_is_kept() -> None:
    table: Table[Any] = TASKS
    source = many_tasks()

    assert len(rows_of(source, Query(table, (), (), 2**63 - 1, 590))) == 10
    assert rows_of(source, Query(table, (), (Order("task_type"),), 2**63 - 1, 2**63 - 1)) == []
