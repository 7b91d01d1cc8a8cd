"""Tests of what outlives a page and a browser, and of what does not fit."""

from pathlib import Path

import pytest

from browser.conftest import OpenBrowser, OpenTabAt
from chromium.server import Server
from chromium.tabs import Tab

KEPT = [[True, True, True], ["task-1"], [[None, 1.0, 1, True]]]


def test_a_reload_and_a_restart_of_the_browser_keep_the_data(
    open_browser: OpenBrowser, server: Server, tmp_path: Path
) -> None:
    with open_browser(tmp_path) as browser:
        tab = Tab(browser, f"{server.url}/index.html").ready()
        tab.call("durability.work", None)
        tab.page.reload()
        after_reload = tab.ready().call("durability.look", None)

    with open_browser(tmp_path) as browser:
        after_restart = Tab(browser, f"{server.url}/index.html").ready().call("durability.look", "indexeddb://swarm")

    assert after_reload == after_restart == ["WasmStorage('swarm')", *KEPT]


@pytest.fixture
def narrow_tab(open_tab_at: OpenTabAt, server: Server) -> Tab:
    """Give a tab of another site, which has room for 4 MB."""
    tab = open_tab_at(server.other_url)
    devtools = tab.page.context.new_cdp_session(tab.page)
    devtools.send("Storage.overrideQuotaForOrigin", {"origin": server.other_url, "quotaSize": 4_000_000})
    return tab


FULL = "Database error: the browser's room for this site is full, and nothing of this write is stored"


def test_what_does_not_fit_is_refused_and_earlier_data_stay_readable(narrow_tab: Tab, name: str) -> None:
    kind, text, ids = narrow_tab.call("durability.fill_in_a_transaction", f"{name}-1", 8_000_000)

    assert (kind, text.startswith(FULL), ids) == ("DatabaseError", True, ["small"])

    kind, text, stored, refused, payload, ids = narrow_tab.call("durability.fill", f"{name}-2", 500_000)

    assert (kind, text.startswith(FULL)) == ("DatabaseError", True)
    assert (stored > 0, refused, payload) == (True, None, "kept")
    assert ids == ["small"]


def test_of_writes_at_once_those_that_have_room_are_stored(narrow_tab: Tab, name: str) -> None:
    outcomes, ids = narrow_tab.call("durability.fill_at_once", name, 8_000_000)

    assert [outcome.startswith(FULL, len("DatabaseError: ")) for outcome in outcomes] == [False, False, True, False]
    assert ids == ["small-0", "small-1", "small-3"]


def test_who_has_no_room_at_all_can_make_some(tab: Tab, name: str) -> None:
    stored, alone, together, in_a_transaction, ids = tab.call("durability.delete_without_room", name)

    assert stored.startswith(FULL, len("DatabaseError: "))
    assert (alone, together, in_a_transaction) == ("done", "done", "done")
    assert ids == ["5"]


def clear_data(tab: Tab) -> None:
    """Clear the site's data, as a user does."""
    devtools = tab.page.context.new_cdp_session(tab.page)
    origin = tab.page.url.removesuffix("/index.html")
    devtools.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "indexeddb"})


def test_a_database_that_the_user_clears_is_said_to_be_gone(tab: Tab, name: str) -> None:
    tab.call("durability.open_for_long", name)

    clear_data(tab)
    tab.wait_until("durability.is_lost")

    assert tab.call("durability.call_open_storage").startswith("DatabaseError: Database error: the browser has closed")


def test_who_waits_to_write_when_the_user_clears_the_database_is_told(tab: Tab, name: str) -> None:
    tab.call("durability.wait_to_write", name)

    clear_data(tab)
    write, begin, close = tab.call("durability.what_came_of_waiting")

    assert write.startswith("DatabaseError: Database error: the browser has closed")
    assert begin.startswith("DatabaseError: Database error: the browser has closed")
    assert close == "done"


def test_a_storage_tells_its_size_and_the_room_of_the_site(tab: Tab, name: str) -> None:
    size, usage, quota, is_kept = tab.call("durability.room", name)

    assert 10_000 < size < 12_000
    assert 0 <= usage < quota
    assert is_kept in (True, False)
