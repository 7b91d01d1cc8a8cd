"""Tests of the versions of the browser's stores, and of rows that are older than their table."""

from typing import Any

import msgspec
import pytest

from swarm_persistence.engines.rows.indexeddb.schema import VERSIONS, StoreSchema, upgrade
from swarm_persistence.errors import MigrationError
from swarm_persistence.models import KeyPolicy, MessagePriority
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import EVENTS, IS_COUNTED, MESSAGES, PAST_CLAIMS, TASKS
from swarm_persistence_conformance.records import a_task

STORES_OF_VERSION = {
    1: "3da6",
    2: "28f4",
    3: "403c",
    4: "3db7",
    5: "dd2d",
    6: "eb5e",
    7: "42f5",
    8: "5310",
    9: "f774",
    10: "b9eb",
    11: "b179",
}
"""A short sum of the stores of each version. If yours differs, add a version to `VERSIONS`, and its sum here."""


def sum_of(schema: StoreSchema) -> str:
    """Return a short sum of the stores, indexes and columns."""
    from hashlib import sha256

    indexes = [[str(index) for index in table.indexes] for table in schema.tables]
    text = repr((schema.stores(), schema.columns(), indexes))
    return sha256(text.encode()).hexdigest()[:4]


def test_stores_that_have_changed_have_a_new_version() -> None:
    assert sum_of(StoreSchema()) == STORES_OF_VERSION[len(VERSIONS)]


def upgraded(old_columns: list[str], row: list[Any], table: str = "tasks") -> list[Any]:
    """Take one row of an older version through an upgrade, and return it in its new form."""
    exchange = upgrade(StoreSchema((*VERSIONS, "later")))
    next(exchange)
    schema = msgspec.json.encode([[[{table: old_columns}, [["stores", "then"]]]]]).decode()
    first = exchange.send((1, schema))
    assert msgspec.json.decode(first)["fetch"][0][:2] == ["range", table]
    with pytest.raises(StopIteration) as end:
        exchange.send((1, msgspec.json.encode([[row]]).decode()))
    order, new_row = end.value.value.split("\n")
    assert msgspec.json.decode(order)["put"][table]["records"][0][0] == row[0]
    values: list[Any] = msgspec.json.decode(new_row)
    return values


def test_a_row_of_an_older_version_gets_the_defaults_of_new_columns() -> None:
    columns = ["id", "task_type", "priority", "status", "payload", "dependencies", "created_at", "updated_at"]
    row = ["task-1", "x", 2, "pending", '{"a":1}', "[]", 1, 2]

    new_row = upgraded([*columns, "sequence"], [*row, 7])

    task = codec_of(TASKS.model).decode(new_row)
    assert (task.id, task.payload, task.max_retries, task.fails_with_dependencies) == ("task-1", {"a": 1}, 3, True)
    assert (new_row[-1], new_row[TASKS.positions["unmet_dependencies"]]) == (7, 0)


def test_a_row_that_lacks_what_has_no_default_stops_the_upgrade() -> None:
    with pytest.raises(MigrationError, match=r"task\.task_type has no default"):
        upgraded(["id", "sequence"], ["task-1", 1])


def test_an_event_that_is_older_than_tasks_and_metadata_of_events_has_neither() -> None:
    columns = ["id", "event_type", "agent_id", "data", "timestamp", "idempotency_key", "sequence"]

    new_row = upgraded(columns, ["event-1", "e", None, '{"a":1}', 5, None, 7], "events")

    event = codec_of(EVENTS.model).decode(new_row)
    assert (event.id, event.data, event.task_id, event.metadata, event.sequence) == ("event-1", {"a": 1}, None, {}, 7)


def test_a_task_that_is_older_than_groups_keeps_its_key_for_ever() -> None:
    columns = [name for name in TASKS.positions if name not in ("group", "tags", "key_policy")]
    encoded = codec_of(TASKS.model).encode(a_task())
    values = dict.fromkeys(columns, None) | dict(zip(TASKS.positions, encoded, strict=False))
    old = {**values, "change_number": 1, "unmet_dependencies": 0, "is_delayed": 0, "version": 1, "sequence": 7}

    task = codec_of(TASKS.model).decode(upgraded(columns, [old[name] for name in columns]))

    assert (task.id, task.group, task.tags, task.key_policy) == ("task-1", None, {}, KeyPolicy.FOR_EVER)


def test_a_task_that_is_older_than_limits_has_no_key_requires_nothing_and_is_not_counted() -> None:
    columns = [name for name in TASKS.positions if name not in ("concurrency_key", "required_capabilities", IS_COUNTED)]
    values = dict.fromkeys(columns, None) | dict(
        zip(TASKS.positions, codec_of(TASKS.model).encode(a_task()), strict=False)
    )
    old = {**values, "change_number": 1, "unmet_dependencies": 0, "is_delayed": 0, "version": 1, "sequence": 7}

    new_row = upgraded(columns, [old[name] for name in columns])

    task = codec_of(TASKS.model).decode(new_row)
    assert (task.id, task.concurrency_key, task.required_capabilities) == ("task-1", None, None)
    assert new_row[TASKS.positions[IS_COUNTED]] == 0


def test_a_task_that_is_older_than_past_claims_has_none() -> None:
    columns = [name for name in TASKS.positions if name != PAST_CLAIMS]
    encoded = codec_of(TASKS.model).encode(a_task(claim_count=7))
    values = dict.fromkeys(columns, None) | dict(zip(TASKS.positions, encoded, strict=False))
    old = {**values, "change_number": 1, "unmet_dependencies": 0, "is_delayed": 0, "is_counted": 0, "sequence": 7}

    task = codec_of(TASKS.model).decode(upgraded(columns, [old[name] for name in columns]))

    assert (task.id, task.claim_count, task.past_claims) == ("task-1", 7, ())


def test_a_message_that_is_older_than_priorities_has_the_normal_one() -> None:
    columns = ["id", "from_agent", "to_agent", "message_type", "content", "read", "timestamp", "acknowledged_at"]

    row = ["message-1", "a", "b", "m", "1", 1, 5, None, None, 7]
    new_row = upgraded([*columns, "result", "sequence"], row, "messages")

    message = codec_of(MESSAGES.model).decode(new_row)
    assert (message.priority, message.read, message.read_at) == (MessagePriority.NORMAL, True, None)
