"""Writes `docs/performance-langgraph.md` from the results of a run."""

import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.document import circumstances, table, targets
from benchmarks.langgraph.savers import NOTHING, OURS, THEIRS
from benchmarks.results import Results, Row
from benchmarks.table import figure, ratio_to
from benchmarks.targets import NOTES, Verdict

_HOW = """\
Every figure is the median of {rounds} rounds; in each, all cases take their turns in a new random order, each on a new
file or database. Graphs on SQLite take three turns a round, each in a process of its own, which imports LangGraph and
the savers for SQLite, but no driver of a server. `±` is half the distance between the fastest and the slowest turn.
LangGraph's own savers and store are opened as their documentation says (`from_conn_string`). The server runs on the
same machine, `fsync` on. All wait for the disk: WAL with `synchronous=FULL` on SQLite, the defaults of PostgreSQL.
"""


class _Workload(NamedTuple):
    title: str
    about: str
    ours: str
    theirs: str


_GRAPH = """\
A graph of 10 nodes, each of which adds an item of 200 bytes, run with `durability="sync"`, in that many threads."""
_STORE = "Of 2,000 items of about 200 bytes in one namespace."
_WORKLOADS = {
    "graphs-sqlite": _Workload("Graphs on SQLite", _GRAPH, "SwarmSaver", "AsyncSqliteSaver"),
    "graphs-postgres": _Workload("Graphs on PostgreSQL", _GRAPH, "SwarmSaver", "AsyncPostgresSaver"),
    "processes": _Workload(
        "Graphs in four processes on one new file",
        "Four processes open the file at the same moment, and each runs four threads at once; the sum of their rates. "
        "0 is a run in which a process of LangGraph's saver has failed, as with `database is locked`.",
        "SwarmSaver",
        "AsyncSqliteSaver",
    ),
    "latest": _Workload("Latest checkpoint", "Of a thread of 5,000 checkpoints.", "SwarmSaver", "AsyncSqliteSaver"),
    "delete": _Workload(
        "Delete a thread",
        "Of 1,000 checkpoints, each with a pending write, in one call.",
        "SwarmSaver",
        "AsyncSqliteSaver",
    ),
    "get": _Workload("Read a document", "Of 5,000, by collection and key.", "`get_document`", "`get_task`"),
    "put": _Workload(
        "Put 1,000 documents as one",
        "Of about 200 bytes; half of the calls replace stored ones. `apsw` runs one prepared statement of the same "
        "effect on the same table, 1,000 times in one transaction.",
        "`put_documents`",
        "raw `apsw`, `executemany`",
    ),
    "store-put": _Workload("Store: put an item", "Each call by itself.", "SwarmStore", "AsyncSqliteStore"),
    "store-get": _Workload("Store: read an item", _STORE, "SwarmStore", "AsyncSqliteStore"),
    "store-filter": _Workload("Store: search by a filter", _STORE, "SwarmStore", "AsyncSqliteStore"),
    "store-vectors": _Workload(
        "Store: search by vectors",
        f"{_STORE} Vectors of 32 numbers.",
        "SwarmStore",
        "InMemoryStore, which keeps nothing",
    ),
}


class _Target(NamedTuple):
    key: str
    what: str
    workload: str
    in_flight: int
    at_least: float
    peer: str = THEIRS


_TARGETS = (
    _Target("langgraph-sqlite-1", "10 nodes, 1 thread, against AsyncSqliteSaver", "graphs-sqlite", 1, 1.5),
    _Target("langgraph-sqlite-50", "… 50 threads", "graphs-sqlite", 50, 4),
    _Target("langgraph-postgres-50", "10 nodes, 50 threads, against AsyncPostgresSaver", "graphs-postgres", 50, 1.5),
    _Target("langgraph-latest", "latest checkpoint of 5,000, against AsyncSqliteSaver", "latest", 1, 1),
    _Target("langgraph-delete", "`delete_thread` of 1,000 checkpoints, against AsyncSqliteSaver", "delete", 1, 0.5),
    _Target("documents-get", "`get_document` against `get_task`, 1 in flight", "get", 1, 0.83, "task"),
    _Target("documents-get-100", "… 100 in flight", "get", 100, 0.83, "task"),
    _Target("documents-put", "put 1,000 documents, of raw `apsw`", "put", 1, 0.6, "apsw"),
)


def write_document(results: Results, path: Path) -> None:
    """Write the page."""
    path.write_text("\n".join(_lines(results)) + "\n")


def text_of(results: Results) -> Iterator[str]:
    """Yield the lines of the run as plain text."""
    yield from results.machine.lines()
    yield f"medians of {results.rounds} rounds, took {results.took_seconds:.0f} s"
    for workload in _WORKLOADS:
        rows = results.of(workload)
        for row in rows:
            rate = f"{figure(row.median):>8} {row.unit} ±{50 * row.spread:.0f} %"
            name = _name(workload, row.peer)
            yield f"{workload:>16} {row.in_flight:>4} in flight  {name:<26} {rate} {ratio_to(row, rows)}".rstrip()
    for verdict in _judge(results):
        reached = "reached" if verdict.is_reached else "SHORT OF"
        yield f"{reached}  {verdict.what}: {verdict.seen} (target {verdict.at_least})"


def _lines(results: Results) -> Iterator[str]:
    yield "# Performance of LangGraph's checkpoints and memory"
    yield ""
    yield "<!-- Written by `python -m benchmarks.langgraph`; what stands here is measured, not edited. -->"
    yield ""
    yield from circumstances(results, "make bench-langgraph")
    yield _HOW.format(rounds=results.rounds)
    yield from targets([*_judge(results)])
    yield "## All rows"
    for key, workload in _WORKLOADS.items():
        rows = results.of(key)
        if rows:
            yield ""
            yield f"### {workload.title}"
            yield ""
            yield workload.about
            yield ""
            yield from table(rows, partial(_name, key))


def _name(workload: str, peer: str) -> str:
    if peer == NOTHING:
        return "a saver that serializes, and stores nothing"
    return _WORKLOADS[workload].ours if peer == OURS else _WORKLOADS[workload].theirs


def _judge(results: Results) -> Iterator[Verdict]:
    tried = tomllib.loads(NOTES.read_text())
    for target in _TARGETS:
        ours = _row(results, target, OURS)
        theirs = _row(results, target, target.peer)
        if ours is not None and theirs is not None and theirs.median:
            ratio = ours.median / theirs.median
            note = tried.get(target.key, {}).get("note", "")
            seen, wanted = f"{ratio:.2f} ×", f"{target.at_least:g} ×"
            yield Verdict(target.key, target.what, wanted, seen, ratio >= target.at_least, note)


def _row(results: Results, target: _Target, peer: str) -> Row | None:
    found = [row for row in results.of(target.workload) if (row.peer, row.in_flight) == (peer, target.in_flight)]
    return found[0] if found else None
