"""Tests of storages that are closed, or lose their database, while something is under way."""

import pytest

from browser.conftest import OpenTab
from chromium.tabs import Tab


@pytest.fixture(scope="module")
def tab(open_module_tab: OpenTab) -> Tab:
    """Give a tab for all tests."""
    return open_module_tab()


@pytest.mark.parametrize("what", ["write", "commit"])
def test_what_is_still_written_when_the_storage_is_closed_is_told_to_others(tab: Tab, name: str, what: str) -> None:
    assert tab.call(f"endings.cancel_a_{what}_and_close", name) == "task"
