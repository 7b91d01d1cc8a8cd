"""Tests of the query builder: the text and the values that it builds, and that it never changes."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from swarm_persistence.models import (
    AgentModel,
    AgentStatus,
    DocumentModel,
    EventModel,
    MessageModel,
    MetricModel,
    Model,
    TaskModel,
    TaskPriority,
)
from swarm_persistence.query.builder import QueryBuilder

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
MICROSECONDS = 1_767_225_600_000_000

Build = Callable[[QueryBuilder[Any]], QueryBuilder[Any]]


def test_the_seeds_example_is_built_to_the_letter() -> None:
    query, params = (
        QueryBuilder(AgentModel)
        .where_eq("status", "active")
        .where_like("agent_type", "worker%")
        .order_by("created_at", True)
        .limit(50)
        .build()
    )

    assert query == "SELECT * FROM agents WHERE status = ? AND agent_type LIKE ? ORDER BY created_at DESC LIMIT 50"
    assert params == ["active", "worker%"]


@pytest.mark.parametrize(
    ("model", "table"),
    [
        (AgentModel, "agents"),
        (TaskModel, "tasks"),
        (EventModel, "events"),
        (MessageModel, "messages"),
        (MetricModel, "metrics"),
    ],
)
def test_every_model_has_its_table(model: type[Model], table: str) -> None:
    assert QueryBuilder(model).build() == (f"SELECT * FROM {table}", [])


@pytest.mark.parametrize(
    ("build", "text", "values"),
    [
        (lambda query: query.where_eq("id", "a"), "WHERE id = ?", ["a"]),
        (lambda query: query.where_ne("id", "a"), "WHERE id <> ?", ["a"]),
        (lambda query: query.where_gt("retry_count", 1), "WHERE retry_count > ?", [1]),
        (lambda query: query.where_ge("retry_count", 1), "WHERE retry_count >= ?", [1]),
        (lambda query: query.where_lt("retry_count", 1), "WHERE retry_count < ?", [1]),
        (lambda query: query.where_le("retry_count", 1), "WHERE retry_count <= ?", [1]),
        (lambda query: query.where_like("error", "%x_"), "WHERE error LIKE ?", ["%x_"]),
        (lambda query: query.where_in("id", ["a", "b"]), "WHERE id IN (?, ?)", ["a", "b"]),
        (lambda query: query.where_in("id", []), "WHERE id IN ()", []),
        (lambda query: query.where_null("assigned_to"), "WHERE assigned_to IS NULL", []),
        (lambda query: query.where_not_null("result"), "WHERE result IS NOT NULL", []),
        (lambda query: query.order_by("priority"), "ORDER BY priority", []),
        (lambda query: query.order_by("priority", desc=True), "ORDER BY priority DESC", []),
        (
            lambda query: query.order_by("priority", True).order_by("created_at"),
            "ORDER BY priority DESC, created_at",
            [],
        ),
        (lambda query: query.limit(0), "LIMIT 0", []),
        (lambda query: query.limit(10).offset(20), "LIMIT 10 OFFSET 20", []),
        (lambda query: query.offset(20).limit(10), "LIMIT 10 OFFSET 20", []),
        (lambda query: query.offset(20), "LIMIT -1 OFFSET 20", []),
        (lambda query: query.offset(0), "", []),
        (
            lambda query: (
                query.where_eq("status", "pending").where_in("id", ["a", "b"]).where_null("error").where_gt("id", "c")
            ),
            "WHERE status = ? AND id IN (?, ?) AND error IS NULL AND id > ?",
            ["pending", "a", "b", "c"],
        ),
    ],
)
def test_each_step_adds_its_clause_and_its_values(build: Build, text: str, values: list[Any]) -> None:
    assert build(QueryBuilder(TaskModel)).build() == (f"SELECT * FROM tasks {text}".rstrip(), values)


@pytest.mark.parametrize(
    ("model", "field", "value", "kept"),
    [
        (AgentModel, "status", AgentStatus.BUSY, "busy"),
        (AgentModel, "status", "busy", "busy"),
        (TaskModel, "priority", TaskPriority.CRITICAL, 3),
        (TaskModel, "priority", "low", 0),
        (TaskModel, "created_at", NEW_YEAR, MICROSECONDS),
        (TaskModel, "created_at", NEW_YEAR.astimezone(timezone(timedelta(hours=5))), MICROSECONDS),
        (TaskModel, "created_at", 1_767_225_600, MICROSECONDS),
        (TaskModel, "created_at", 1_767_225_600.5, MICROSECONDS + 500_000),
        (TaskModel, "completed_at", -1, -1_000_000),
        (TaskModel, "version", 3, 3),
        (MessageModel, "read", True, 1),
        (MessageModel, "read", False, 0),
        (MetricModel, "value", 1, 1.0),
        (MetricModel, "value", -0.5, -0.5),
        (EventModel, "sequence", 17, 17),
    ],
)
def test_values_are_given_as_columns_keep_them(model: type[Model], field: str, value: Any, kept: Any) -> None:
    _, values = QueryBuilder(model).where_eq(field, value).build()

    assert [(type(found), found) for found in values] == [(type(kept), kept)]


@pytest.mark.parametrize(
    "step",
    [
        lambda query: query.where_eq("id", "a"),
        lambda query: query.where_in("id", ["a"]),
        lambda query: query.where_null("error"),
        lambda query: query.where_like("error", "%"),
        lambda query: query.order_by("id"),
        lambda query: query.limit(1),
        lambda query: query.offset(1),
    ],
)
def test_a_step_leaves_the_builder_as_it_is(step: Build) -> None:
    query = QueryBuilder(TaskModel).where_eq("status", "pending").order_by("priority").limit(5)
    before = query.build()

    changed = step(query)

    assert query.build() == before != changed.build()


def test_two_queries_may_grow_from_one() -> None:
    pending = QueryBuilder(TaskModel).where_eq("status", "pending")

    urgent, named = pending.where_eq("priority", "critical"), pending.where_eq("id", "a")

    assert urgent.build()[1] == ["pending", 3]
    assert named.build()[1] == ["pending", "a"]


@pytest.mark.parametrize(
    ("build", "text", "values"),
    [
        (lambda query: query.where_gt("id", "a").where_gt("id", "b"), "id > ?", ["b"]),
        (lambda query: query.where_gt("id", "b").where_ge("id", "a"), "id > ?", ["b"]),
        (lambda query: query.where_ge("id", "b").where_gt("id", "b"), "id > ?", ["b"]),
        (lambda query: query.where_gt("id", "b").where_ge("id", "b"), "id > ?", ["b"]),
        (lambda query: query.where_lt("id", "a").where_lt("id", "b"), "id < ?", ["a"]),
        (lambda query: query.where_le("id", "a").where_lt("id", "a"), "id < ?", ["a"]),
        (lambda query: query.where_lt("id", "a").where_le("id", "a"), "id < ?", ["a"]),
        (lambda query: query.where_ge("id", "\U00010000").where_ge("id", "\uffff"), "id >= ?", ["\U00010000"]),
        (lambda query: query.where_lt("retry_count", 3).where_le("retry_count", 20), "retry_count < ?", [3]),
        (
            lambda query: query.where_ge("id", "a").where_lt("id", "z").where_gt("retry_count", 0).where_gt("id", "b"),
            "id > ? AND id < ? AND retry_count > ?",
            ["b", "z", 0],
        ),
        (lambda query: query.where_ne("id", "a").where_ne("id", "b"), "id <> ? AND id <> ?", ["a", "b"]),
    ],
)
def test_of_two_bounds_on_one_side_the_tighter_one_is_kept(build: Build, text: str, values: list[Any]) -> None:
    assert build(QueryBuilder(TaskModel)).build() == (f"SELECT * FROM tasks WHERE {text}", values)


@pytest.mark.parametrize("collection", [("a", "b c"), ["a", "b c"]])
def test_a_collection_is_a_range_of_ids(collection: Any) -> None:
    first, after = DocumentModel.id_of(("a", "b c"), ""), DocumentModel.id_of(("a", "b c"), "k")
    query = QueryBuilder(DocumentModel).where_collection(collection)

    text, values = query.build()
    assert (text, values[0]) == ("SELECT * FROM documents WHERE id >= ? AND id < ?", first)
    assert after < str(values[1]) < DocumentModel.id_of(("a", "b c", ""), "")
    assert query.where_gt("id", after).build() == (text.replace(">=", ">"), [after, values[1]])


def test_below_no_parts_lie_all_documents() -> None:
    assert QueryBuilder(DocumentModel).where_collection((), below=True).build() == ("SELECT * FROM documents", [])


def test_a_list_that_is_changed_afterwards_does_not_change_the_query() -> None:
    wanted = ["a"]
    query = QueryBuilder(TaskModel).where_in("id", wanted)

    wanted.append("b")

    assert query.build()[1] == ["a"]


def test_values_to_choose_from_may_come_from_any_iterable() -> None:
    query = QueryBuilder(TaskModel).where_in("id", (str(number) for number in range(3)))

    assert query.build() == ("SELECT * FROM tasks WHERE id IN (?, ?, ?)", ["0", "1", "2"])


def test_a_builder_shows_its_text_and_none_of_its_values() -> None:
    query = QueryBuilder(AgentModel).where_eq("name", "secret")

    assert repr(query) == "QueryBuilder(AgentModel): SELECT * FROM agents WHERE name = ?"
