"""Tests of the package in a page: what it loads, what it refuses, and that its docs run."""

import re
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

from browser.conftest import OpenTab
from chromium.tabs import Tab

DOCS = Path(__file__).parents[2] / "docs" / "browser.md"
PROGRAMS = re.findall(r"^```py\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_program_of_the_docs_runs_in_the_page(tab: Tab, program: str) -> None:
    tab.call("pages.run_text", program)


def test_the_package_loads_nothing_but_msgspec(tab: Tab) -> None:
    own = {"_pyodide", "_pyodide_core", "js", "msgspec", "programs", "pyodide", "pyodide_js", "swarm_persistence"}

    assert {name for name in tab.call("pages.loaded") if not name.startswith("__")} - own == set()


def test_what_the_package_loads_asks_for_no_threads_sockets_or_databases(tab: Tab) -> None:
    modules, imported = tab.call("pages.imports")

    assert "swarm_persistence.engines.watches" in modules
    assert "asyncio" in imported
    unwanted = {"_thread", "apsw", "asyncpg", "concurrent", "queue", "socket", "sqlite3", "ssl", "threading"}
    assert unwanted.isdisjoint(imported)


@pytest.mark.parametrize(("platform", "names"), [("emscripten", {"msgspec"}), ("linux", {"msgspec", "apsw"})])
def test_the_wheel_asks_for_what_its_platform_needs(package: Path, platform: str, names: set[str]) -> None:
    with ZipFile(package) as wheel:
        (place,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(wheel.read(place))
    required = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    circumstances = {"sys_platform": platform, "extra": ""}

    assert {each.name for each in required if each.marker is None or each.marker.evaluate(circumstances)} == names


def test_all_that_the_package_exports_can_be_imported_at_once(tab: Tab) -> None:
    assert tab.call("pages.everything") == ["BlockingStorage", "MemoryStorage", "Storage", "WasmStorage"]


def test_what_a_browser_has_not_is_refused_in_words(tab: Tab) -> None:
    file, name, durability, blocking, handler = tab.call("pages.refusals")

    assert "a browser has no SQLite; expected indexeddb://name or :memory:" in file
    assert "the name of the database is empty" in name
    assert "durability is 'none', expected 'relaxed' or 'strict'" in durability
    assert "use the async storage here" in blocking
    assert "a browser has none; write it as async def" in handler


def test_a_worker_does_tasks_in_the_page(tab: Tab, name: str) -> None:
    assert tab.call("pages.work", name) == 42


def test_a_storage_may_be_told_to_wait_for_a_month(tab: Tab, name: str) -> None:
    assert tab.call("pages.open_patiently", name, 30) == ["task-1"]


def test_who_waits_for_a_task_is_woken_by_another_tab(tab: Tab, open_tab: OpenTab, name: str) -> None:
    waiting = open_tab().begin("pages.wait_for_task", name)

    tab.call("swarms.store", name, "task-1")

    assert waiting.result() == {"from": "the page"}
