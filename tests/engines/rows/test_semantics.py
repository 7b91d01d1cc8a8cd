"""The semantics of conditions and orders, compared with SQLite's where they are the same."""

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engines.rows.row_strategies import plain_answer, queries, rows, tables, values_of
from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.query.semantics import like_pattern, predicate_of, sorted_rows
from swarm_persistence.schema.tables import METRICS, TASKS

_DATABASE = apsw.Connection(":memory:")
_TEXTS = st.text(st.sampled_from("aAbB%_.\\\nßéÉſK[*"), max_size=8)


@example("É", "é")
@example("\u017f", "s")
@example("\u212a", "k")
@example("a\nb", "A_b")
@example("ab\n", "ab")
@given(_TEXTS, _TEXTS)
def test_like_is_that_of_sqlite(text: str, pattern: str) -> None:
    [(expected,)] = _DATABASE.execute("SELECT ? LIKE ?", (text, pattern))

    assert (like_pattern(pattern).fullmatch(text) is not None) == bool(expected)


@pytest.mark.timeout(120)  # with backtracking, it would not end
def test_a_pattern_of_many_wildcards_does_not_backtrack() -> None:
    assert not like_pattern("%a" * 5_000 + "b").fullmatch("a" * 20_000)


@given(st.data())
def test_conditions_and_orders_find_the_rows_of_a_plain_evaluation(data: st.DataObject) -> None:
    table = data.draw(tables)
    drawn = data.draw(st.lists(rows(table), max_size=12, unique_by=lambda row: row[0]))
    stored = [(*values, sequence) for sequence, values in enumerate(drawn, 1)]
    query = data.draw(queries(table))

    fulfils = predicate_of(table, query.conditions)
    found = sorted_rows(query, [row for row in stored if fulfils(row)])

    end = None if query.limit is None else query.offset + query.limit
    assert found[query.offset : end] == plain_answer(query, stored)


@pytest.mark.parametrize("operator", ["=", "<>", "<", "<=", ">", ">="])
@pytest.mark.parametrize("value", [None, "a"])
def test_null_compares_with_nothing(operator: str, value: str | None) -> None:
    row = (None,) * len(METRICS.positions)

    assert not predicate_of(METRICS, [Condition("agent_id", operator, value)])(row)  # type: ignore[arg-type]


def test_text_sorts_in_both_directions_with_null_lowest() -> None:
    place, width = TASKS.positions["assigned_to"], len(TASKS.positions)
    names = ["b", None, "B", "ab", "é"]
    stored = [(*[None] * place, name, *[None] * (width - place - 2), 1) for name in names]

    upwards, downwards = (
        [values_of(TASKS, row)["assigned_to"] for row in sorted_rows(Query(TASKS, (), (order,)), stored)]
        for order in (Order("assigned_to"), Order("assigned_to", is_descending=True))
    )

    assert upwards == [None, "B", "ab", "b", "é"]
    assert downwards == upwards[::-1]
