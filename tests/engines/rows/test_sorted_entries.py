"""The sorted collection against a plain sorted list."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_persistence.engines.rows.sorted_entries import HIGHEST, Entry, SortedEntries

_ENTRIES = st.tuples(st.integers(0, 3), st.integers(0, 12))
_BOUNDS = st.none() | _ENTRIES | st.tuples(st.integers(0, 4)) | st.tuples(st.integers(0, 3), st.just(HIGHEST))


@given(st.lists(_ENTRIES), st.sampled_from([1, 2, 4, 7]), _BOUNDS, _BOUNDS)
def test_entries_are_found_between_bounds_as_in_a_sorted_list(
    toggled: list[Entry], largest_chunk: int, start: Entry | None, stop: Entry | None
) -> None:
    entries, plain = SortedEntries(largest_chunk), set[Entry]()
    for entry in toggled:
        if entry in plain:
            entries.remove(entry)
        else:
            entries.add(entry)
        plain ^= {entry}

        expected = [one for one in sorted(plain) if _is_between(one, start, stop)]
        assert list(entries.between(start, stop)) == expected
        assert list(entries.between(start, stop, is_backward=True)) == expected[::-1]
        assert entries.count(start, stop) == len(expected)
        assert list(entries) == sorted(plain)
        assert len(entries) == len(plain)
        assert [chunk[-1] for chunk in entries._chunks] == entries._lasts


def _is_between(entry: Entry, start: Any, stop: Any) -> bool:
    return (start is None or not entry < start) and (stop is None or entry < stop)


@given(st.lists(_ENTRIES, unique=True), _ENTRIES)
def test_removing_what_is_not_there_changes_nothing(held: list[Entry], missing: Entry) -> None:
    entries = SortedEntries(2)
    for entry in held:
        if entry != missing:
            entries.add(entry)
    before = list(entries)

    with pytest.raises(KeyError):
        entries.remove(missing)

    assert list(entries) == before


def test_what_comes_in_ascending_order_fills_its_chunks() -> None:
    entries = SortedEntries(8)

    for number in range(20):
        entries.add((number,))

    assert [len(chunk) for chunk in entries._chunks] == [8, 8, 4]


def test_many_removals_leave_few_chunks() -> None:
    entries = SortedEntries(8)
    for number in range(1000):
        entries.add((number,))

    for number in range(1000):
        if number % 100:
            entries.remove((number,))

    assert [*entries] == [(number,) for number in range(0, 1000, 100)]
    assert len(entries._chunks) <= 5
