"""Tests of the codec: every record becomes a row and comes back equal, and a row that cannot be read is named."""

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given

from swarm_persistence.errors import SerializationError, UnreadableError
from swarm_persistence.models import Model, TaskModel
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import TABLES, Kind, Table
from swarm_persistence_conformance.records import MODELS, a_task, an_event, complete_records
from swarm_persistence_conformance.strategies import JSON, any_records
from swarm_persistence_conformance.values import exactly


def through_a_row(record: Model) -> Any:
    """Return what comes back of a record, as the first that was stored."""
    codec: Any = codec_of(type(record))
    return codec.decode((*codec.encode(record), 1))


@given(JSON)
def test_any_json_comes_back_with_its_types(value: Any) -> None:
    task = through_a_row(a_task(payload=value, result=value))

    assert exactly(task.payload) == exactly(task.result) == exactly(value)


@given(any_records())
def test_any_record_comes_back(record: Model) -> None:
    stored = through_a_row(record)

    for name in record.__struct_fields__:
        expected = {"version": 1, "sequence": 1}.get(name, getattr(record, name))
        assert exactly(getattr(stored, name)) == exactly(expected)


@given(any_records())
def test_what_comes_back_is_a_record_like_any_other(record: Model) -> None:
    stored = through_a_row(record)
    made = type(record)(**{name: getattr(stored, name) for name in stored.__struct_fields__})

    assert type(stored) is type(record)
    assert (stored, repr(stored), stored.to_json()) == (made, repr(made), made.to_json())
    assert copy.copy(stored) == copy.deepcopy(stored) == pickle.loads(pickle.dumps(stored)) == stored


def test_two_records_share_no_list_and_no_dict() -> None:
    one, other = through_a_row(a_task()), through_a_row(a_task())
    one.dependencies.append("task-2")

    assert other.dependencies == []


@pytest.mark.parametrize("record", complete_records(), ids=lambda record: type(record).__name__)
def test_a_row_has_a_value_for_every_column(record: Model) -> None:
    codec = codec_of(type(record))

    assert len(codec.encode(record)) == len(codec.table.columns)


@pytest.mark.parametrize("table", TABLES, ids=repr)
def test_a_table_has_a_column_for_every_field_but_the_sequence(table: Table[Any]) -> None:
    assert table.names == tuple(name for name in table.model.__struct_fields__ if name != "sequence")


@pytest.mark.parametrize("table", TABLES, ids=repr)
def test_indexes_name_columns_that_can_be_compared(table: Table[Any]) -> None:
    fields = [field for index in table.indexes for text in index.columns for field in text.lstrip("-").split("|")]

    assert all(table.column(field).is_comparable for field in fields)


def test_only_priorities_are_kept_by_rank() -> None:
    ranks = [f"{table.label}.{column.name}" for table in TABLES for column in table.columns if column.kind is Kind.RANK]

    assert ranks == ["task.priority", "message.priority", "schedule.priority"]


@pytest.mark.parametrize(
    ("column", "value"),
    [("status", "sleepy"), ("priority", 9), ("created_at", "yesterday"), ("payload", "{"), ("dependencies", None)],
)
def test_a_row_that_cannot_be_read_is_named_and_not_left_out(column: str, value: Any) -> None:
    codec = codec_of(type(a_task()))
    row: list[Any] = [*codec.encode(a_task()), 1]
    row[codec.table.positions[column]] = value

    with pytest.raises(SerializationError, match="stored task 'task-1' cannot be read back"):
        codec.decode(row)


@pytest.mark.parametrize("hidden", [(0, 0, 0, 5), ()], ids=["with hidden columns", "without"])
def test_a_row_that_cannot_be_read_is_named_by_its_sequence(hidden: tuple[int, ...]) -> None:
    codec = codec_of(TaskModel)
    values = [*codec.encode(a_task())]
    values[codec.table.positions["status"]] = "sleepy"

    with pytest.raises(UnreadableError) as refusal:
        codec.decode((*values, *hidden, 17))

    assert (refusal.value.id, refusal.value.sequence) == ("task-1", 17)


def test_a_row_that_is_too_short_is_refused() -> None:
    with pytest.raises(SerializationError, match="cannot be read back"):
        codec_of(type(an_event())).decode(("event-1",))


@pytest.mark.parametrize("model", MODELS)
def test_encoding_changes_nothing_in_the_record(model: type[Model]) -> None:
    (record,) = (record for record in complete_records() if type(record) is model)
    before = record.to_json()

    codec_of(model).encode(record)

    assert record.to_json() == before
