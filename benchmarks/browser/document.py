"""Writes `docs/performance-browser.md` from the results of a run."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.browser.scale import SCALES
from benchmarks.document import circumstances
from benchmarks.results import Results, Row

_HOW = """\
Every figure is the median of {rounds} rounds, in milliseconds; in each, both take their turns in a random order, in one
page, on new databases. A round's own figure is the median of {calls} calls, one after the other, or of {batches}
batches of {records:,} records. Documents have 40 words each; every tenth has both words that are searched for. `±` is
half the distance between the fastest and the slowest round. Durability is `relaxed` for both. Plain JavaScript stores
objects with two indexes (documents with one) and checks nothing; `WasmStorage` is Python, and does all that it
promises: it checks values, keeps versions, counts changes, takes turns with other tabs and notifies them. A timer that
fires as often as it can tells how late the event loop is: its longest delay while the call runs. `WasmStorage` stores
long bytes in pieces; plain JavaScript stores them as one value, and does not copy them into Python's memory.
"""
KINDS = {
    "put": "Store a task",
    "batch": "Store {records:,} tasks as one (a task)",
    "at once": "Store {records:,} tasks by as many calls at once (a task)",
    "get": "Read a task by its id",
    "claim": "Claim a task",
    "change": "Read, change and write a task in a transaction",
    "select": "Read {records:,} pending tasks in order (all of them)",
    "put document": "Put a document",
    "put documents": "Put {records:,} documents as one (a document)",
    "get document": "Read a document by its key",
    "list documents": "List {records:,} documents of a collection, by key (all of them)",
    "search documents": "Search {records:,} documents for two words, ranked (all of them)",
    "filter documents": "Find 20 of {records:,} documents by a value in their JSON (all of them)",
    "put large": "Put a document of {megabytes} MB of bytes",
    "put large, late": "– it makes the event loop late by",
    "get large": "Read a document of {megabytes} MB by its key",
    "get large, late": "– it makes the event loop late by",
    "update large": "Read a document of {megabytes} MB, change it and write it if its version is the same",
    "update large, late": "– it makes the event loop late by",
}


def write_document(results: Results, path: Path) -> None:
    """Write the page."""
    path.write_text("\n".join(_lines(results)) + "\n")


def text_of(results: Results) -> str:
    """Return the figures as a table in Markdown."""
    return "\n".join(_table(results))


def _lines(results: Results) -> Iterator[str]:
    yield "# Performance in the browser"
    yield ""
    yield "<!-- Written by `python -m benchmarks.browser`; what stands here is measured, not edited. -->"
    yield ""
    yield from circumstances(results, "make bench-browser")
    yield _HOW.format(**SCALES[results.scale]._asdict())
    yield from _table(results)


def _table(results: Results) -> Iterator[str]:
    yield "| ms | `WasmStorage` | plain JavaScript | times |"
    yield "|---|---:|---:|---:|"
    scale = SCALES[results.scale]
    for kind, title in KINDS.items():
        ours, plain = (next(row for row in results.of(kind) if row.peer == peer) for peer in ("swarm", "plain"))
        times = f"{ours.median / plain.median:.1f}" if plain.median else "–"
        what = title.format(records=scale.records, megabytes=scale.large // 1_000_000)
        yield f"| {what} | {_cell(ours)} | {_cell(plain)} | {times} |"


def _cell(row: Row) -> str:
    return f"{row.median:.3f} ±{50 * row.spread:.0f} %"
