"""Tests of a page with newer code, that meets a database of older code, and the pages that have it open."""

from typing import Any

import pytest

from browser.conftest import OpenTab
from chromium.tabs import Tab

KEYS_OF = """([name, store, index]) => new Promise((resolve, reject) => {
  const request = indexedDB.open(name);
  request.onerror = () => reject(request.error);
  request.onsuccess = () => {
    const database = request.result;
    const keys = database.transaction(store).objectStore(store).index(index).getAllKeys();
    keys.onsuccess = () => { database.close(); resolve(keys.result); };
  };
})"""
OPEN_FOR_EVER = """(name) => new Promise((resolve) => {
  const request = indexedDB.open(name);
  request.onsuccess = () => { window.stubborn = request.result; resolve(null); };
})"""
CREATE_FOREIGN = """(name) => new Promise((resolve) => {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => request.result.createObjectStore("theirs");
  request.onsuccess = () => { request.result.close(); resolve(null); };
})"""


@pytest.fixture
def old(tab: Tab) -> Tab:
    """Give a tab with the code of today."""
    return tab


@pytest.fixture(scope="module")
def new(open_module_tab: OpenTab) -> Tab:
    """Give a tab with the code of tomorrow."""
    return open_module_tab()


def test_a_newer_page_upgrades_the_database_while_an_older_one_has_it_open(old: Tab, new: Tab, name: str) -> None:
    old.call("upgrades.open_and_store", name, 2_500)

    ids, version, steps = new.call("upgrades.open_with_later_code", name, 30)

    assert ids == [f"task-{place}" for place in range(2_500)]
    assert (version, steps[-1]) == (len(steps), "later")


def test_an_upgrade_puts_every_row_into_a_new_index(old: Tab, new: Tab, name: str) -> None:
    old.call("upgrades.open_and_store", name, 2_500)
    new.call("upgrades.open_with_later_code", name, 30)

    keys: Any = new.page.evaluate(KEYS_OF, [name, "tasks", "tasks_by_type"])

    numbers = [int(key.removeprefix("task-")) for key in keys if key.startswith("task-")]
    assert [number % 3 for number in numbers] == sorted(number % 3 for number in numbers)
    assert len(numbers) == 2_500


def test_tasks_of_the_first_version_come_in_the_order_of_their_arrival(old: Tab, name: str) -> None:
    assert old.call("upgrades.store_with_first_code", name, 1_200) == 1

    steps, pending, claimed = old.call("upgrades.claim_all", name, 1_200)

    assert steps[:2] == ["stores", "order of arrival"]
    assert pending == claimed == [f"task-{place}" for place in range(1_200)]


def test_the_older_page_is_told_to_load_again(old: Tab, new: Tab, name: str) -> None:
    old.call("upgrades.open_and_store", name, 1)
    new.call("upgrades.open_with_later_code", name, 30)

    assert old.call("upgrades.use_open_storage") == (
        f"DatabaseError: Database error: a newer version of this page has upgraded the database {name!r}; "
        "load this page again"
    )
    assert old.call("upgrades.open_again", name) == (
        f"MigrationError: Migration error: the database {name!r} is newer than this code; "
        "load the page again to get its code"
    )


def test_a_transaction_of_the_older_page_neither_stops_the_upgrade_nor_survives_it(
    open_tab: OpenTab, new: Tab, name: str
) -> None:
    old = open_tab()
    old.call("upgrades.open_and_store", name, 1)
    old.begin("upgrades.begin")
    old.wait_until("upgrades.has_begun")

    ids, _, _ = new.call("upgrades.open_with_later_code", name, 30)

    assert ids == ["task-0"]


def test_a_page_that_does_not_let_go_of_the_old_database_is_waited_for_so_long_only(
    old: Tab, new: Tab, name: str
) -> None:
    old.call("upgrades.open_and_store", name, 1)
    old.page.evaluate(OPEN_FOR_EVER, name)

    (error,) = new.call("upgrades.open_with_later_code", name, 0.5)
    old.page.evaluate("() => window.stubborn.close()")

    assert error.startswith("PoolError: Connection pool error: another tab kept an older version")
    assert new.call("upgrades.open_with_later_code", name, 30)[0] == ["task-0"]


@pytest.mark.parametrize("turns", [0, 3, 30])
def test_one_who_has_given_up_opening_does_not_stop_an_upgrade(old: Tab, new: Tab, name: str, turns: int) -> None:
    old.call("upgrades.give_up_opening", name, turns)

    ids, version, steps = new.call("upgrades.open_with_later_code", name, 10)

    assert (ids, version, steps[-1]) == ([], len(steps), "later")


def test_a_database_of_another_program_is_left_alone(old: Tab, new: Tab, name: str) -> None:
    old.page.evaluate(CREATE_FOREIGN, name)

    today = old.call("upgrades.open_again", name)
    (tomorrow,) = new.call("upgrades.open_with_later_code", name, 30)

    assert "belongs to another program" in today
    assert "belongs to another program" in tomorrow
    stores = "(name) => indexedDB.databases().then((all) => all.filter((one) => one.name === name)[0].version)"
    assert old.page.evaluate(stores, name) == 1
