"""Tests of storages that are closed, or lose their database, while something is in flight."""

import pytest

from chromium.tabs import Tab


@pytest.mark.parametrize("what", ["write", "commit"])
def test_what_is_still_written_when_the_storage_is_closed_is_told_to_others(tab: Tab, name: str, what: str) -> None:
    assert tab.call(f"endings.cancel_a_{what}_and_close", name) == "task"


def test_who_waits_to_begin_a_transaction_when_the_storage_is_closed_is_told_so(tab: Tab, name: str) -> None:
    assert tab.call("endings.begin_and_close", name) == "ClosedError: Storage closed: the storage is closed"


def test_a_database_that_another_tab_deletes_is_let_go_and_said_to_be_deleted(tab: Tab, name: str) -> None:
    error, ids = tab.call("endings.delete_open_database", name)

    assert error == (
        f"DatabaseError: Database error: another tab has deleted the database {name!r}; "
        "load this page again, to begin a new one"
    )
    assert ids == []
