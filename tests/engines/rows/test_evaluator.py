"""Whatever way the planner chooses, the answer is that of looking at every row."""

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engines.rows.row_strategies import plain_answer, queries, rows, tables
from swarm_persistence.engines.rows.evaluator import count_of, matching_rows, rows_of
from swarm_persistence.engines.rows.planner import AccessPath
from swarm_persistence.engines.rows.tables import RowTable
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import TASK_LINKS


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


class _Looked(RowTable):
    """Counts the rows that were looked at."""

    def __init__(self) -> None:
        super().__init__(TASK_LINKS)
        self.looks = 0

    def scan(self, path: AccessPath) -> Iterator[Row]:
        for row in super().scan(path):
            self.looks += 1
            yield row


def test_the_rows_of_several_values_are_found_along_the_index_of_their_column() -> None:
    source = _Looked()
    for sequence in range(1, 101):
        source.add((f"link-{sequence}", "task", f"dependency-{sequence}", sequence))
    several: Query[Any] = Query(
        TASK_LINKS, (Condition("dependency_id", "IN", ("dependency-9", "dependency-4", "none")),)
    )

    assert [row[-1] for row in rows_of(source, several)] == [4, 9]
    assert [row[-1] for row in matching_rows(source, several)] == [9, 4]
    assert count_of(source, several) == 2
    assert source.looks <= 6
