"""Holds `WasmStorage` to the conformance suite, which runs inside the page."""

import pytest

from browser.conftest import OpenTab
from browser.facts import Outcomes, chosen_facts, facts, outcomes_by_fact, shares
from chromium.tabs import Tab

# What is refused reaches no browser: the same Python refuses it on every engine.
LEFT_OUT = (
    "TestRefusedFields.",
    "TestRefusedArguments.",
    "TestRefusedCoordination.",
    "TestHostileValues.test_no_argument_raises_any_error_but_ours",
    "TestHostileValues.test_no_field_raises_any_error_but_ours",
)


@pytest.fixture(scope="module")
def tabs(open_module_tab: OpenTab) -> list[Tab]:
    """Give two tabs that have the suite."""
    tabs = [open_module_tab(), open_module_tab()]
    for tab in tabs:
        tab.load("suite")
    return tabs


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tabs: list[Tab]) -> Outcomes:
    """Try every fact that was chosen once, in two tabs at a time."""
    running = [
        tab.begin("suite.run", share) for tab, share in zip(tabs, shares(chosen_facts(request), len(tabs)), strict=True)
    ]
    return outcomes_by_fact(each for pending in running for each in pending.result())


@pytest.mark.parametrize("fact", facts(LEFT_OUT))
def test_a_fact_of_every_storage_holds_in_the_browser(fact: str, outcomes: Outcomes) -> None:
    if broken := outcomes[fact]:
        pytest.fail("\n".join(broken), pytrace=False)


@pytest.mark.parametrize("what", ["operations", "queries", "verbs of tasks"])
def test_the_browser_does_the_same_as_memory_and_a_plain_model(tabs: list[Tab], what: str) -> None:
    tabs[0].call("suite.agree", what)
