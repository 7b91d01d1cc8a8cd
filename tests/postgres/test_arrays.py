"""How the values of many rows are sent: an array for each column, and one null for a column without any value."""

from collections.abc import Sequence
from math import copysign
from typing import Any

import pytest

from swarm_persistence import MetricModel, PostgresStorage
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.given_values import arrays_of
from swarm_persistence.schema.tables import TASKS
from swarm_persistence_conformance.records import MOMENT, a_task


@pytest.fixture
def inserted(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Any]]:
    """Record the values of each INSERT."""
    values_of: list[Sequence[Any]] = []
    run = Connection.run

    async def record(self: Connection, text: str, values: Sequence[Any] = ()) -> list[Any]:
        if text.startswith("INSERT"):
            values_of.append(values)
        return await run(self, text, values)

    monkeypatch.setattr(Connection, "run", record)
    return values_of


async def test_columns_are_arrays_but_those_of_nulls_only_are_null(
    storage: PostgresStorage, inserted: list[Sequence[Any]]
) -> None:
    tasks = [a_task("later", run_at=MOMENT), a_task("now"), a_task("too")]
    await storage.store_tasks(tasks)

    (values,) = inserted
    sent = dict(zip(TASKS.names, values, strict=True))
    assert sent["id"] == ("later", "now", "too")
    assert [value is None for value in sent["run_at"]] == [False, True, True]
    assert sent["error"] is sent["lease_expires_at"] is None
    assert [await storage.get_task(task.id) for task in tasks] == tasks


async def test_a_value_that_all_rows_have_is_sent_once(storage: PostgresStorage, inserted: list[Sequence[Any]]) -> None:
    tasks = [a_task(name, payload={"size": 1}) for name in "abc"]
    tasks[1].tags = {"of": "b"}
    await storage.store_tasks(tasks)

    sent = dict(zip(TASKS.names, inserted[0], strict=True))
    assert {name: len(sent[name]) for name in ("id", "payload", "version", "tags")} == {
        "id": 3,
        "payload": 1,
        "version": 1,
        "tags": 3,
    }
    assert [await storage.get_task(task.id) for task in tasks] == tasks


async def test_zero_and_its_negative_are_two_values(storage: PostgresStorage) -> None:
    metrics = [MetricModel.new("size", value, "gauge") for value in (0.0, -0.0)]
    await storage.store_many(metrics)

    stored = [await storage.repository(MetricModel).find_by_id(metric.id) for metric in metrics]
    assert [copysign(1, each.value) for each in stored if each is not None] == [1, -1]


def test_a_column_that_begins_or_ends_with_a_value_is_an_array() -> None:
    assert arrays_of([("a", None, 0), ("b", 1, None)]) == [("a", "b"), (None, 1), (0, None)]
    assert arrays_of([("a", None)]) == [("a",), None]
