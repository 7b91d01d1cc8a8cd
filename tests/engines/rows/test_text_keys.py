"""Tests that the keys of IndexedDB sort as the entries of an index in memory do, and that spans hold the same rows."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.rows.row_strategies import along_indexes, plain_answer, queries, rows
from swarm_persistence.engines.rows.evaluator import count_of, rows_of
from swarm_persistence.engines.rows.indexeddb.fetched_table import FetchedTable
from swarm_persistence.engines.rows.indexeddb.keys import text_keys_of
from swarm_persistence.engines.rows.indexes import keys_of
from swarm_persistence.engines.rows.planner import indexes_of
from swarm_persistence.query.query import Query
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import TABLES, Column, Index, Kind, Table

INDEXES = [(table, index) for table in TABLES for index in indexes_of(table)]
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
SOME_TEXTS = ["", "a", "ab", "a\x01", "é", "\uffff", "\U0001f600", "z"]
TEXTS = st.text(CHARACTERS, max_size=3) | st.sampled_from(SOME_TEXTS)
WHOLE = st.integers(-(2**62), 2**62) | st.sampled_from([0, 1, -1, 2**53, 2**53 + 1, 250_000_000_000_000_001])
REAL = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 1e-300, -1e-300])


def value_of(column: Column) -> st.SearchStrategy[Any]:
    """Return values of a column, as columns keep them."""
    if column.kind is Kind.REAL:
        values: st.SearchStrategy[Any] = REAL
    elif column.kind is Kind.FLAG:
        values = st.integers(0, 1)
    elif column.kind is Kind.CHOICE:
        assert column.choices is not None
        values = st.sampled_from([member.value for member in column.choices])
    elif column.kind in (Kind.RANK, Kind.COUNT, Kind.VERSION, Kind.TIME):
        values = WHOLE
    else:
        values = TEXTS
    return st.none() | values if column.is_nullable else values


def any_rows(table: Table[Any]) -> st.SearchStrategy[list[Row]]:
    """Return rows of a table, each with its own sequence and id."""
    columns = [table.column(name) for name in table.stored_names]
    several = st.lists(st.tuples(*map(value_of, columns)), max_size=8)
    return several.map(lambda some: [(f"id-{place}", *row[1:], place) for place, row in enumerate(some, start=1)])


@pytest.mark.parametrize(("table", "index"), INDEXES, ids=[index.name for _, index in INDEXES])
@settings(max_examples=40)
@given(data=st.data())
def test_keys_sort_as_the_entries_in_memory_do(table: Table[Any], index: Index, data: st.DataObject) -> None:
    drawn = data.draw(any_rows(table))
    keys, entries = text_keys_of(table, index), keys_of(table, index)

    held = [row for row in drawn if entries.entry_of(row) is not None]

    assert [row for row in drawn if keys.key_of(row) is not None] == held
    by_key: Sequence[Row] = sorted(held, key=lambda row: str(keys.key_of(row)))
    by_entry: Sequence[Row] = sorted(held, key=lambda row: entries.entry_of(row) or ())
    assert by_key == by_entry


def answer(table: Table[Any], stored: list[Row], request: tuple[Any, ...]) -> Any:
    """Answer a request as IndexedDB does, from rows in a list."""
    kind, _, *details = request
    if kind == "get":
        return [next((row for row in stored if row[0] == id), None) for id in details[0]]
    name, lower, upper, *rest = details
    (index,) = (index for index in indexes_of(table) if index.name == name)
    key_of = text_keys_of(table, index).key_of
    keyed = sorted((key, row[-1], row) for row in stored if (key := key_of(row)) is not None)
    found = [row for key, _, row in keyed if (lower is None or key >= lower) and (upper is None or key < upper)]
    if kind == "count":
        return len(found)
    is_backward, limit = rest
    return (found[::-1] if is_backward else found)[:limit]


@pytest.mark.parametrize("table", TABLES, ids=[table.name for table in TABLES])
@settings(max_examples=40)
@given(data=st.data())
def test_queries_of_rows_fetched_bit_by_bit_find_what_they_should(table: Table[Any], data: st.DataObject) -> None:
    drawn = data.draw(st.lists(rows(table), max_size=25, unique_by=lambda row: row[0]))
    stored: list[Row] = [(*row, place) for place, row in enumerate(drawn, start=1)]
    query: Query[Any] = data.draw(queries(table) | along_indexes(table))
    fetched = FetchedTable(table)
    fetched.first_rows = data.draw(st.sampled_from([None, 1, 3, 16]))

    for _ in range(10):
        found, number = rows_of(fetched, query), count_of(fetched, query)
        if not fetched.is_missing:
            break
        for request, receive in fetched.requests():
            receive(answer(table, stored, request))

    assert not fetched.is_missing
    assert found == plain_answer(query, stored)
    assert number == len(plain_answer(msgspec.structs.replace(query, limit=None, offset=0), stored))
