"""Tests of what the query builder refuses, at once and by name, so that nothing a caller passes becomes SQL."""

from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_persistence.errors import InvalidQueryError, SerializationError
from swarm_persistence.models import AgentModel, AgentStatus, DocumentModel, MetricModel, Model, TaskModel
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence_conformance.records import MODELS

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - what must be refused
INJECTIONS = [
    "id = 'a' OR 1=1 --",
    "id; DROP TABLE tasks",
    'id"',
    "id)",
    "tasks.id",
    "ID",
    " id",
    "id ",
    "*",
    "1",
    "",
    "rowid",
    "sequence",
    "__class__",
    "id\0",
    "ｉｄ",
    None,
    7,
    ["id"],
    TaskModel,
]
STEPS: dict[str, Callable[[QueryBuilder[Any], Any], Any]] = {
    "where_eq": lambda query, field: query.where_eq(field, "a"),
    "where_ne": lambda query, field: query.where_ne(field, "a"),
    "where_gt": lambda query, field: query.where_gt(field, "a"),
    "where_ge": lambda query, field: query.where_ge(field, "a"),
    "where_lt": lambda query, field: query.where_lt(field, "a"),
    "where_le": lambda query, field: query.where_le(field, "a"),
    "where_like": lambda query, field: query.where_like(field, "a"),
    "where_in": lambda query, field: query.where_in(field, ["a"]),
    "where_null": lambda query, field: query.where_null(field),
    "where_not_null": lambda query, field: query.where_not_null(field),
    "order_by": lambda query, field: query.order_by(field),
}


@pytest.mark.parametrize("field", INJECTIONS)
@pytest.mark.parametrize("step", STEPS)
def test_a_field_that_the_model_lacks_is_refused_with_those_it_has(step: str, field: Any) -> None:
    with pytest.raises(InvalidQueryError) as caught:
        STEPS[step](QueryBuilder(TaskModel), field)

    assert f"TaskModel has no field {field!r}; it has id, task_type, priority, status" in str(caught.value)


@given(st.text(), st.text(), st.text())
def test_no_text_of_a_caller_ever_stands_in_the_sql(name: str, pattern: str, other: str) -> None:
    query = QueryBuilder(AgentModel)
    try:
        query = query.where_eq("name", name).where_like("agent_type", pattern).where_in("id", [name, other])
    except SerializationError:
        return

    text, values = query.build()

    assert text == "SELECT * FROM agents WHERE name = ? AND agent_type LIKE ? AND id IN (?, ?)"
    assert values == [name, pattern, name, other]


@pytest.mark.parametrize("model", [dict, str, None, 1, Model, AgentModel(name="a", agent_type="t")])
def test_what_is_no_model_is_refused_with_the_models(model: Any) -> None:
    with pytest.raises(InvalidQueryError, match="AgentModel, TaskModel, EventModel, MessageModel, MetricModel"):
        QueryBuilder(model)


@pytest.mark.parametrize("step", [step for step in STEPS if not step.endswith("null")])
@pytest.mark.parametrize(
    ("model", "field", "held"),
    [
        (TaskModel, "payload", "JSON"),
        (TaskModel, "dependencies", "JSON"),
        (MetricModel, "tags", "JSON"),
        (DocumentModel, "data", "bytes"),
        (DocumentModel, "embedding", "an embedding"),
    ],
)
def test_json_and_bytes_cannot_be_compared_or_sorted(step: str, model: type[Model], field: str, held: str) -> None:
    with pytest.raises(InvalidQueryError, match=rf"{field} holds {held}, which has no order"):
        STEPS[step](QueryBuilder(model), field)


@pytest.mark.parametrize("field", ["created_at", "retry_count", "priority", "version"])
def test_like_needs_text(field: str) -> None:
    with pytest.raises(InvalidQueryError, match=rf"LIKE needs a text field, and task\.{field}"):
        QueryBuilder(TaskModel).where_like(field, "%")


def test_a_pattern_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidQueryError, match="50000 bytes, not 50002"):
        QueryBuilder(TaskModel).where_like("error", "é" * 25_001)


@pytest.mark.parametrize("step", ["where_eq", "where_ne", "where_gt", "where_ge", "where_lt", "where_le"])
def test_a_comparison_with_none_is_refused_with_the_way_to_say_it(step: str) -> None:
    with pytest.raises(InvalidQueryError, match=r"task\.assigned_to .* None .*where_null or where_not_null"):
        getattr(QueryBuilder(TaskModel), step)("assigned_to", None)


def test_one_text_is_not_taken_for_several_values() -> None:
    with pytest.raises(InvalidQueryError, match=r"where_in\('id'\) needs several values"):
        QueryBuilder(TaskModel).where_in("id", "abc")


BY_LABEL = {model.__name__.removesuffix("Model").lower(): model for model in MODELS}


class OtherStatus(Enum):
    """An enum that no field has."""

    ACTIVE = "active"


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("agent.status", "sleepy", InvalidQueryError, "'sleepy'; it is one of initializing, active"),
        ("agent.status", OtherStatus.ACTIVE, SerializationError, "agent.status"),
        ("agent.status", 1, SerializationError, "agent.status is 1"),
        ("task.priority", "urgent", InvalidQueryError, "one of low, medium, high, critical"),
        ("task.priority", 3, SerializationError, "task.priority is 3"),
        ("task.status", AgentStatus.ACTIVE, SerializationError, "task.status"),
        ("task.created_at", NAIVE, SerializationError, "task.created_at"),
        ("task.created_at", "2026-01-01", SerializationError, "task.created_at"),
        ("task.created_at", True, SerializationError, "task.created_at"),
        ("task.created_at", float("nan"), SerializationError, "task.created_at is nan"),
        ("task.created_at", 1e300, SerializationError, "task.created_at is 1e+300"),
        ("task.retry_count", 1.5, SerializationError, "task.retry_count is 1.5"),
        ("task.retry_count", "1", SerializationError, "task.retry_count is '1'"),
        ("task.retry_count", True, SerializationError, "task.retry_count is True"),
        ("task.retry_count", -1, SerializationError, "task.retry_count is -1"),
        ("task.id", 7, SerializationError, "task.id is 7"),
        ("task.id", "a\0b", SerializationError, "NUL"),
        ("task.error", "\ud800", SerializationError, "surrogate"),
        ("message.read", 1, SerializationError, "message.read is 1"),
        ("message.read", "true", SerializationError, "message.read is 'true'"),
        ("metric.value", float("inf"), SerializationError, "metric.value is inf"),
        ("metric.value", "1", SerializationError, "metric.value is '1'"),
        ("event.sequence", -1, SerializationError, "event.sequence is -1"),
    ],
)
@pytest.mark.parametrize("step", ["where_eq", "where_gt", "where_in"])
def test_a_value_that_the_field_cannot_hold_is_refused(
    step: str, name: str, value: Any, error: type[Exception], words: str
) -> None:
    label, field = name.split(".")
    query = QueryBuilder(BY_LABEL[label])

    with pytest.raises(error) as caught:
        getattr(query, step)(field, [value] if step == "where_in" else value)

    assert caught.type is error
    assert name in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("nothing", "a", "eq", 1), InvalidQueryError, "nothing"),
        (("id", "a", "eq", 1), InvalidQueryError, "task.id holds"),
        (("dependencies", "a", "eq", 1), InvalidQueryError, "task.dependencies holds"),
        (("payload", 0, "eq", 1), InvalidQueryError, "path in task.payload is 0"),
        (("payload", ["a", 0], "eq", 1), InvalidQueryError, "path in task.payload is ['a', 0]"),
        (("payload", b"a", "eq", 1), InvalidQueryError, "path in task.payload is b'a'"),
        (("payload", ["a"] * 257, "eq", 1), InvalidQueryError, "path in task.payload has 257 keys, expected 256"),
        (("payload", ["\ud800"], "eq", 1), SerializationError, "path in task.payload"),
        (("payload", "a", "=", 1), InvalidQueryError, "'=', expected one of eq, ne, gt, ge, lt, le"),
        (("payload", "a", ["eq"], 1), InvalidQueryError, "['eq'], expected one of eq, ne, gt, ge, lt, le"),
        (("payload", "a", "eq", None), InvalidQueryError, "task.payload with None"),
        (("payload", "a", "lt", True), InvalidQueryError, "True and False of task.payload have no order"),
        (("payload", "a", "eq", [1]), SerializationError, "task.payload is [1]"),
        (("payload", "a", "eq", {}), SerializationError, "task.payload is {}"),
        (("payload", "a", "eq", b"a"), SerializationError, "task.payload is b'a'"),
        (("payload", "a", "eq", float("nan")), SerializationError, "task.payload is nan"),
        (("payload", "a", "eq", float("-inf")), SerializationError, "task.payload is -inf"),
        (("payload", "a", "eq", "\ud800"), SerializationError, "surrogates"),
        (("payload", "a", "eq", 10**5000), SerializationError, "fewer digits"),
    ],
)
def test_a_comparison_with_json_that_means_nothing_is_refused(
    arguments: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        QueryBuilder(TaskModel).where_json(*arguments)

    assert caught.type is error
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("model", "collection", "below", "error", "words"),
    [
        (
            TaskModel,
            ("a",),
            False,
            InvalidQueryError,
            "the query is for TaskModel",
        ),
        (DocumentModel, "a", False, SerializationError, "collection is 'a', expected a tuple of str"),
        (DocumentModel, ("a", 1), False, SerializationError, "collection[1] is 1, expected a str"),
        (DocumentModel, ("a\0",), True, SerializationError, "collection"),
        (DocumentModel, ("a",), 1, InvalidQueryError, "below is 1, expected True or False"),
    ],
)
def test_a_collection_that_is_none_is_refused(
    model: type[Model], collection: Any, below: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        QueryBuilder(model).where_collection(collection, below=below)

    assert caught.type is error
    assert words in str(caught.value)


@pytest.mark.parametrize("number", [-1, 1.0, "5", "5; DROP TABLE tasks", None, True, 2**63])
@pytest.mark.parametrize("step", ["limit", "offset"])
def test_a_bound_that_is_no_whole_number_is_refused(step: str, number: Any) -> None:
    with pytest.raises(InvalidQueryError, match=rf"{step} is .* expected a whole number"):
        getattr(QueryBuilder(TaskModel), step)(number)
