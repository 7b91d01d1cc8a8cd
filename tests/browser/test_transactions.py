"""Tests of what the storage does with IndexedDB: how many transactions it takes, how durable, and older browsers."""

import pytest

from chromium.tabs import Tab


@pytest.mark.parametrize("durability", ["relaxed", "strict"])
def test_every_write_is_as_durable_as_it_was_asked_to_be(tab: Tab, name: str, durability: str) -> None:
    of_write, of_block, of_checkpoint = tab.call("transactions.of_each_kind", name, durability)

    assert of_write == [f"readwrite {durability}"]
    assert of_block[-1] == f"readwrite {durability}"
    assert of_checkpoint == ["readwrite strict"]


def test_writes_that_wait_together_are_one_transaction(tab: Tab, name: str) -> None:
    assert tab.call("transactions.of_writes_at_once", name, 100) == ["readwrite relaxed"]


def test_a_browser_that_reads_backwards_only_by_a_cursor_finds_the_same(tab: Tab, name: str) -> None:
    here, in_older_one = tab.call("transactions.newest_first", name)

    odd, even = ([f"{place:02}" for place in range(start, -1, -2)] for start in (59, 58))
    assert here == in_older_one == [kind[:limit] for kind in (odd, even) for limit in (1, 7, 30, 100)]
