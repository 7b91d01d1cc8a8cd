"""Tests of several tabs, and of a worker, on one database."""

from typing import Any

import pytest

from browser.conftest import OpenTab
from chromium.tabs import Tab


@pytest.fixture(scope="module")
def tabs(tab: Tab, open_module_tab: OpenTab) -> list[Tab]:
    """Give two tabs."""
    return [tab, open_module_tab()]


def both(tabs: list[Tab], program: str, *arguments: list[Any]) -> list[Any]:
    """Run a program in both tabs at once, each with its own arguments."""
    running = [tab.begin(program, *own) for tab, own in zip(tabs, arguments, strict=True)]
    return [pending.result() for pending in running]


def test_two_tabs_never_claim_the_same_task(tabs: list[Tab], name: str) -> None:
    tabs[0].call("swarms.store_tasks", name, 200)

    won = both(tabs, "swarms.claim_all", [name, "left", 200], [name, "right", 200])

    every_id = [f"task-{place}" for place in range(200)]
    assert sorted(won[0] + won[1]) == sorted(every_id)
    assert all(won), "each tab must have had a part, or nothing was contested"
    holders = {**dict.fromkeys(won[0], "left"), **dict.fromkeys(won[1], "right")}
    assert tabs[0].call("swarms.holders", name) == holders


def test_claims_made_naively_do_collide(tabs: list[Tab], name: str) -> None:
    """Show that the test above could fail: by reading, looking and writing, both tabs win the same tasks."""
    tabs[0].call("swarms.store_tasks", name, 200)

    won = both(tabs, "swarms.claim_all_naively", [name, "left", 200], [name, "right", 200])

    assert set(won[0]) & set(won[1])


def test_read_modify_write_transactions_of_two_tabs_lose_nothing(tabs: list[Tab], name: str) -> None:
    tabs[0].call("swarms.start_counting", name)

    both(tabs, "swarms.count_up", [name, 100], [name, 100])

    assert tabs[1].call("swarms.counted", name) == 200


@pytest.mark.parametrize("what", ["update", "delete"])
def test_a_transaction_notices_what_was_written_past_its_lock(tabs: list[Tab], name: str, what: str) -> None:
    error, payloads = tabs[0].call("swarms.write_past_a_lock", name, what)

    assert error.startswith("DatabaseError: Database error: something else has written to the database")
    assert payloads == {"update": ["past the lock"], "delete": []}[what]


def test_a_tab_that_is_closed_within_a_transaction_leaves_nothing_and_blocks_no_other_tab(
    tabs: list[Tab], open_tab: OpenTab, name: str
) -> None:
    tabs[0].call("swarms.store", name, "before")
    holder = open_tab()
    holder.begin("swarms.hold", name)
    holder.wait_until("swarms.is_holding")
    waiting = tabs[0].begin("swarms.store", name, "after")

    holder.close()
    waiting.result()

    assert tabs[1].call("swarms.stored_ids", name) == ["before", "after"]


def test_a_tab_that_waits_in_vain_for_anothers_transaction_is_told(tabs: list[Tab], name: str) -> None:
    tabs[1].begin("swarms.hold", name)
    tabs[1].wait_until("swarms.is_holding")

    error = tabs[0].call("swarms.store_impatiently", name, "in vain", 0.2)
    tabs[1].call("swarms.let_go")

    assert error.startswith("PoolError: Connection pool error: another transaction of this database was open")
    assert tabs[0].call("swarms.stored_ids", name) == []


def test_a_worker_and_its_page_share_a_database(tabs: list[Tab], name: str) -> None:
    tab = tabs[0]
    tab.call("swarms.store_tasks", name, 100)
    tab.start_worker()

    in_worker = tab.begin_in_worker("swarms.claim_all", name, "worker", 100)
    page_won = tab.call("swarms.claim_all", name, "page", 100)
    worker_won = in_worker.result()

    assert sorted(worker_won + page_won) == sorted(f"task-{place}" for place in range(100))
    assert worker_won
    assert page_won
