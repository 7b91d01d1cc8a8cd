"""Debian's Firefox as well: the main paths of the live page, and the conformance suite of `WasmStorage`."""

from collections.abc import Iterator

import pytest

from browser.facts import Outcomes, chosen_facts, facts, outcomes_by_fact, shares
from browser.firefox import run_in_firefox
from chromium import needs
from chromium.server import Server
from postgres.servers import embedded_programs, new_server
from web.servers import TOKEN
from web.servers import server as swarm_server

PATHS = (
    "a browser logs in, and comes to the page it wanted",
    "the overview counts new tasks without a reload",
    "a task is reached from the list, and its payload is text",
    "a task is cancelled after a confirmation only",
    "the search finds a task by the keyboard",
    "the events arrive in the list",
    "logging out ends it",
)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def target(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give a database that does not exist yet."""
    if missing := needs.missing():
        pytest.fail(f"the browser tests need {missing}; make test-fast leaves them out", pytrace=False)
    if request.param == "sqlite":
        yield "swarm.db"
        return
    with new_server(embedded_programs()) as server:
        yield server.url(schema="firefox")


@pytest.fixture(scope="module")
def walked(target: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """Walk all paths once, and give what went wrong with each."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "token").touch(mode=0o600)
    (folder / "token").write_text(TOKEN)
    with swarm_server(folder, target, "--token-file", "token") as serving:
        walked: dict[str, str | None] = run_in_firefox("main_paths", url=serving.url, token=TOKEN)
    return walked


@pytest.mark.parametrize("path", PATHS)
def test_a_main_path_of_the_page_can_be_walked(path: str, walked: dict[str, str | None]) -> None:
    assert walked[path] is None


def test_no_path_is_walked_unseen(walked: dict[str, str | None]) -> None:
    assert set(walked) == set(PATHS)


# What is refused reaches no browser. What takes longest there, on thousands of rows, is the same Python as in Chromium
# over the same few calls of IndexedDB, which the other facts make in Firefox.
LEFT_OUT = (
    "TestRefusedFields.",
    "TestRefusedArguments.",
    "TestRefusedCoordination.",
    "TestHostileValues.",
    "TestPruning.test_any_number_of_records_goes",
    "TestPruning.test_old_records_are_found_however_many_young_ones_lie_between",
    "TestPruning.test_the_key_of_a_pruned_task_is_free_again",
    "TestPruningAmongOthers.",
    "TestRecovery.",
    "TestLostClaims.",
    "TestAbandonedClaims.",
    "TestCancellation.test_a_cancelled_read_keeps_the_storage_usable",
    "TestCancellation.test_a_cancelled_write_has_done_all_or_nothing_for_good",
)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, server: Server) -> Outcomes:
    """Try every fact that was chosen once, in two tabs at a time."""
    return outcomes_by_fact(run_in_firefox("conformance", url=server.url, shares=shares(chosen_facts(request), 2)))


@pytest.mark.parametrize("fact", facts(LEFT_OUT))
def test_a_fact_of_every_storage_holds_in_firefox(fact: str, outcomes: Outcomes) -> None:
    if broken := outcomes[fact]:
        pytest.fail("\n".join(broken), pytrace=False)
