"""Holds `WasmStorage` to the conformance suite, which runs inside the page."""

import inspect
from collections.abc import Iterator

import pytest

import swarm_persistence_conformance as conformance
from browser.conftest import OpenTab
from chromium.tabs import Tab

FACTS = [
    f"{cls.__name__}.{name}"
    for cls in conformance.CORE
    for name, _ in inspect.getmembers(cls, inspect.iscoroutinefunction)
    if name.startswith("test_")
]

Outcomes = dict[str, list[str | None]]
"""What went wrong with each case of a fact; `None` for one that held."""


def outcomes_in(tabs: list[Tab], classes: list[str]) -> Iterator[tuple[str, str | None]]:
    """Try some classes of facts, each tab its share of them."""
    running = [tab.begin("suite.run", classes[place :: len(tabs)]) for place, tab in enumerate(tabs)]
    for pending in running:
        yield from pending.result()


@pytest.fixture(scope="module")
def tabs(open_module_tab: OpenTab) -> list[Tab]:
    """Give two tabs that have the suite."""
    tabs = [open_module_tab(), open_module_tab()]
    for tab in tabs:
        tab.load("suite")
    return tabs


@pytest.fixture(scope="module")
def outcomes(tabs: list[Tab]) -> Outcomes:
    """Try every fact once, in two tabs at a time."""
    classes = [cls.__name__ for cls in conformance.CORE]
    outcomes: Outcomes = {}
    for name, error in outcomes_in(tabs, classes):
        fact = name.strip("'\"").partition("[")[0]
        outcomes.setdefault(fact, []).append(None if error is None else f"{name}\n{error}")
    return outcomes


@pytest.mark.parametrize("fact", FACTS)
def test_a_fact_of_every_storage_holds_in_the_browser(fact: str, outcomes: Outcomes) -> None:
    broken = [error for error in outcomes[fact] if error is not None]

    if broken:
        pytest.fail("\n".join(broken), pytrace=False)


@pytest.mark.parametrize("what", ["operations", "queries", "verbs of tasks"])
def test_the_browser_does_the_same_as_memory_and_a_plain_model(tabs: list[Tab], what: str) -> None:
    tabs[0].call("suite.agree", what)
