"""Numbers about groups of rows, as SQL gives them."""

from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.rows.row_strategies import column_values, rows
from swarm_persistence.engines.reads import Aggregate, AggregateFunction, Bucket
from swarm_persistence.engines.rows.reading import aggregate_rows
from swarm_persistence.engines.rows.tables import RowTable
from swarm_persistence.engines.sql.compiler import Compiler
from swarm_persistence.engines.sql.sqlite.connection import HAS_PERCENTILE, add_percentile
from swarm_persistence.engines.sql.sqlite.dialect import SqliteDialect
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.query.text import listed
from swarm_persistence.schema.tables import METRICS, TASKS

_NAMES: list[Any] = ["count", "avg", "min", "max", "sum"]


GROUPINGS: list[tuple[str | Bucket, ...]] = [
    (),
    ("assigned_to",),
    ("status", "error"),
    ("group",),
    (Bucket("started_at", 1_000_003),),
    (Bucket("created_at", 7), "assigned_to"),
]


@pytest.mark.parametrize("has_percentile", [True, False], ids=["built in", "our own"])
@given(stored=st.lists(rows(TASKS), unique_by=lambda row: row[0]), group_by=st.sampled_from(GROUPINGS))
def test_aggregates_are_those_of_sqlite(
    has_percentile: bool, stored: list[Any], group_by: tuple[str | Bucket, ...]
) -> None:
    fields = ("retry_count", "started_at", "priority")
    functions = (
        AggregateFunction("count"),
        *(AggregateFunction(name, field) for field in fields for name in _NAMES),
        *(AggregateFunction("percentile", "retry_count", fraction) for fraction in (0.0, 0.5, 0.95, 0.999, 1.0)),
    )
    aggregate = Aggregate(Query(TASKS), group_by, functions)
    source, database = RowTable(TASKS), apsw.Connection(":memory:")
    if not has_percentile or not HAS_PERCENTILE:
        add_percentile(database)
    database.execute(f"CREATE TABLE tasks ({listed(TASKS.stored_names)})")
    for sequence, values in enumerate(stored, 1):
        source.add((*values, sequence))
        database.execute(f"INSERT INTO tasks VALUES ({', '.join('?' * len(values))})", values)

    answer = aggregate_rows(source, aggregate)

    assert answer == database.execute(*Compiler(SqliteDialect()).aggregate(aggregate)).fetchall()


def metrics(*numbers: float) -> RowTable:
    source = RowTable(METRICS)
    for sequence, number in enumerate(numbers, 1):
        values: dict[str, Any] = {
            "id": str(sequence),
            "metric_type": "m",
            "value": number,
            "unit": "ms",
            "tags": "{}",
            "timestamp": 0,
        }
        source.add((*(values.get(name) for name in METRICS.names), sequence))
    return source


@pytest.mark.parametrize(
    ("numbers", "total", "average"),
    [
        ((0.1,) * 10, 1.0, 0.1),
        ((1e100, 1.0, -1e100), 1.0, 1 / 3),
        ((2.0,), 2.0, 2.0),
        ((1.7e308, 1.7e308), float("inf"), float("inf")),
    ],
)
def test_sums_of_reals_are_exact_and_floats(numbers: tuple[float, ...], total: float, average: float) -> None:
    aggregate = Aggregate(
        Query(METRICS), ("unit",), (AggregateFunction("sum", "value"), AggregateFunction("avg", "value"))
    )

    [(_, summed, averaged)] = aggregate_rows(metrics(*numbers), aggregate)

    assert (summed, averaged, type(summed)) == (total, average, float)


def test_of_no_rows_there_is_one_row_unless_they_are_grouped() -> None:
    nothing: Query[Any] = Query(METRICS, (Condition("unit", "=", "none"),))
    functions = (AggregateFunction("count"), AggregateFunction("sum", "value"), AggregateFunction("min", "value"))

    assert aggregate_rows(metrics(1.0), Aggregate(nothing, (), functions)) == [(0, None, None)]
    assert aggregate_rows(metrics(1.0), Aggregate(nothing, ("unit",), functions)) == []


@given(st.lists(column_values(METRICS.column("agent_id"))))
def test_groups_are_sorted_with_null_first(agents: list[Any]) -> None:
    source = RowTable(METRICS)
    for sequence, agent in enumerate(agents, 1):
        values = {"agent_id": agent}
        source.add((*(values.get(name) for name in METRICS.names), sequence))

    groups = [row[0] for row in aggregate_rows(source, Aggregate(Query(METRICS), ("agent_id",), ()))]

    assert groups == sorted(set(agents), key=lambda agent: (agent is not None, agent))
