"""Whatever way the planner chooses, the answer is that of looking at every row."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from row_strategies import plain_answer, queries, rows, tables

from swarm_persistence.engines.rows.evaluator import count_of, matching_rows, rows_of
from swarm_persistence.engines.rows.tables import RowTable
from swarm_persistence.query.query import Query


@settings(max_examples=200)
@given(st.data())
def test_answers_are_those_of_a_full_scan(data: st.DataObject) -> None:
    table = data.draw(tables)
    source = RowTable(table)
    stored = []
    for sequence, values in enumerate(data.draw(st.lists(rows(table), max_size=12, unique_by=lambda row: row[0])), 1):
        stored.append((*values, sequence))
        source.add(stored[-1])

    for query in data.draw(st.lists(queries(table), min_size=1, max_size=4)):
        unbounded: Query[Any] = Query(table, query.conditions)
        assert rows_of(source, query) == plain_answer(query, stored)
        assert sorted(matching_rows(source, query), key=lambda row: row[-1]) == plain_answer(unbounded, stored)  # type: ignore[arg-type, return-value]
        assert count_of(source, query) == len(plain_answer(unbounded, stored))
