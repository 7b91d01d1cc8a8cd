"""A short run of the benchmark of a server under load: all is measured, and the page tells of it. No times."""

from pathlib import Path

from benchmarks.results import Results
from benchmarks.web.__main__ import run
from benchmarks.web.document import FAILED, text_of, write_document


def test_a_swarm_is_measured_with_and_without_a_loaded_server(tmp_path: Path) -> None:
    results = run(tmp_path, 1, 0.5)

    results.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results
    assert {row.unit for row in results.rows if row.median == 0} == {FAILED}
    write_document(results, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    for text in ("| server idle | tasks per second |", "| server loaded | tasks per second |", "(target 80 %)"):
        assert text in page
    assert "200 streams and 1,000 requests a second" in "\n".join(text_of(results))
