"""The browser benchmark works: both do every kind of work, and the page is written. No times."""

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext

from benchmarks.browser.__main__ import run
from benchmarks.browser.document import KINDS, write_document
from benchmarks.browser.scale import SMOKE
from benchmarks.results import Results


@pytest.fixture(scope="module")
def results(browser: BrowserContext, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Run it, as small as can be."""
    return run(browser, package, tmp_path_factory.mktemp("disk"), SMOKE)


def test_both_do_every_kind_of_work_in_every_round(results: Results) -> None:
    measured = {(row.workload, row.peer): len(row.measurements) for row in results.rows}

    assert measured == {(kind, peer): SMOKE.rounds for kind in KINDS for peer in ("swarm", "plain")}


def test_the_page_tells_what_was_measured_and_where(results: Results, tmp_path: Path) -> None:
    write_document(results, tmp_path / "performance.md")

    page = (tmp_path / "performance.md").read_text()
    titles = [title.format(records=SMOKE.records, megabytes=SMOKE.large // 1_000_000) for title in KINDS.values()]
    assert [title for title in titles if f"| {title} |" not in page] == []
    assert "Python in the page 3.14" in page


def test_results_come_back_equal_from_json(results: Results, tmp_path: Path) -> None:
    results.write(tmp_path / "results.json")

    assert Results.read(tmp_path / "results.json") == results
