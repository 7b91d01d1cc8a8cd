"""What a transaction reads and leaves behind, against a plain dictionary."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engines.rows.row_strategies import IDS, plain_answer, queries, rows, tables
from swarm_persistence.engines.rows.evaluator import count_of, rows_of
from swarm_persistence.engines.rows.overlays import OverlayTable
from swarm_persistence.engines.rows.tables import RowTable
from swarm_persistence.query.query import Query
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import Table

Plain = dict[str, Row]


def plain_rows(plain: Plain) -> list[Row]:
    return list(plain.values())


def change(data: st.DataObject, table: Table[Any], source: Any, plain: Plain) -> None:
    """Write or delete a random record in both."""
    values = data.draw(rows(table))
    id = values[0]
    stored = plain.get(id)
    if stored is None:
        source.last_sequence += 1
        plain[id] = (*values, source.last_sequence)
        source.add(plain[id])
    elif data.draw(st.booleans()):
        plain[id] = (*values, stored[-1])
        source.change(stored, plain[id])
    else:
        source.remove(plain.pop(id))


@settings(max_examples=100)
@given(st.data())
def test_a_transaction_sees_its_own_writes_and_others_see_them_once_it_commits(data: st.DataObject) -> None:
    table = data.draw(tables)
    base, committed = RowTable(table), Plain()
    for _ in range(data.draw(st.integers(0, 8))):
        change(data, table, base, committed)
    asked = data.draw(st.lists(queries(table), min_size=1, max_size=3))
    overlay, plain = OverlayTable(base), dict(committed)

    for _ in range(data.draw(st.integers(0, 8))):
        change(data, table, overlay, plain)
        # An index of the overlay is built when it is first read, after any number of writes.
        for query in (each for each in asked if data.draw(st.booleans())):
            assert_equal(overlay, query, plain)
            assert_equal(base, query, committed)
    overlay.commit()

    for query in [*asked, Query(table)]:
        assert_equal(base, query, plain)
    assert {id: base.get(id) for id in IDS if base.get(id)} == plain
    assert base.last_sequence == overlay.last_sequence


def assert_equal(source: Any, query: Query[Any], plain: Plain) -> None:
    assert rows_of(source, query) == plain_answer(query, plain_rows(plain))
    unbounded: Query[Any] = Query(query.table, query.conditions)
    assert count_of(source, query) == len(plain_answer(unbounded, plain_rows(plain)))
