"""A short run of the benchmark of LangGraph: every case is measured, and the page tells of it. No times."""

from pathlib import Path

from benchmarks.langgraph.__main__ import CASES, PROCESSES, Scale, run
from benchmarks.langgraph.document import text_of, write_document
from benchmarks.langgraph.savers import THEIRS
from benchmarks.results import Results
from postgres.servers import Server

_FEW_AT_ONCE = [case for case in CASES if case.in_flight <= PROCESSES]


async def test_every_case_is_measured_and_the_page_names_its_peers(server: Server, tmp_path: Path) -> None:
    scale = Scale(seconds=0.001, latest_of=3, deleted=3, items=20, documents=20)

    results = await run(server.url(), tmp_path, _FEW_AT_ONCE, 1, scale)

    results.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results
    assert [(row.workload, row.peer, row.in_flight) for row in results.rows] == [case[:3] for case in _FEW_AT_ONCE]
    # In four processes on one file, LangGraph's own saver may fail: "database is locked".
    assert all(row.median > 0 for row in results.rows if (row.workload, row.peer) != ("processes", THEIRS))
    write_document(results, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    names = ("SwarmSaver", "AsyncSqliteSaver", "AsyncPostgresSaver", "SwarmStore", "AsyncSqliteStore", "raw `apsw`")
    assert [name for name in names if f"\n| {name}" not in page] == []
    assert "| 10 nodes, 1 thread, against AsyncSqliteSaver | " in page
    assert "documents, of raw `apsw`" in "\n".join(text_of(results))
