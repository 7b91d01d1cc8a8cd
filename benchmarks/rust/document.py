"""Writes `docs/performance-rust.md` from the results of a run."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.document import circumstances
from benchmarks.results import Results, Row
from benchmarks.table import figure

_VERBS = {
    "insert": "store an event",
    "claim": "claim a task by its id",
    "get": "read a task by its id",
    "pending": "list the 100 pending tasks",
}
_PEERS = {
    "swarm": ("swarm-persistence", "on the disk"),
    "rust": (
        "Rust crate, as published",
        "not on one connection of its pool, which is the one that a single caller uses",
    ),
    "rust-durable": ("Rust crate, made durable", "on the disk: `PRAGMA synchronous` is ignored on all connections"),
}
_TARGETS = {("pending", 1): 0.5, ("get", 1): 0.5}
_HOW = """\
Every figure is the median of {rounds} rounds, in each of which all cases take their turns in a new random order, each
on a fresh copy of its file. The load is a closed loop: that many callers, each waiting for one operation before the
next. The crate runs in a program of its own (`benchmarks/rust/`), built with `--release`, on tokio's runtime with
several threads.

The crate writes the status of a task with JSON's quotes around it, so that it finds no pending task; for the list and
the claims its file is corrected beforehand. It checks no lease, dependency or version, and stores each record twice: in
columns and as JSON, which it reads.
"""


def write_document(results: Results, path: Path) -> None:
    """Write the page."""
    path.write_text("\n".join(_lines(results)) + "\n")


def text_of(results: Results) -> Iterator[str]:
    """Yield the report as plain text."""
    yield from results.machine.lines()
    yield f"medians of {results.rounds} rounds, took {results.took_seconds:.0f} s"
    for cells in _cells(results):
        yield "  ".join(cells)
    yield from _verdicts(results)


def _lines(results: Results) -> Iterator[str]:
    yield "# Performance beside the Rust crate"
    yield ""
    yield "<!-- Written by `python -m benchmarks.rust`; what stands here is measured, not edited. -->"
    yield ""
    yield from circumstances(results, "make bench-rust")
    yield _HOW.format(rounds=results.rounds)
    yield "| operations per second | in flight | | ours against it | what a call that has returned has written |"
    yield "|---|---:|---:|---:|---|"
    for cells in _cells(results):
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield from _verdicts(results)


def _cells(results: Results) -> Iterator[tuple[str, str, str, str, str]]:
    for row in results.rows:
        title, durability = _PEERS[row.peer]
        ratio = "" if row.peer == "swarm" else f"{_ratio(results, row):.2f} ×"
        rate = f"{figure(row.median)} ±{50 * row.spread:.0f} %"
        is_read = row.workload in ("get", "pending")
        what = f"{_VERBS[row.workload]}: {title}"
        yield what, f"{row.in_flight:,}", rate, ratio, "–" if is_read else durability


def _verdicts(results: Results) -> Iterator[str]:
    for (verb, in_flight), at_least in _TARGETS.items():
        theirs = results.find(verb, "rust", in_flight)
        if theirs is not None:
            ratio = _ratio(results, theirs)
            reached = "reached" if ratio >= at_least else "falls short"
            yield f"- {_VERBS[verb]}, {in_flight} in flight: {ratio:.2f} × (target {at_least} ×): {reached}"


def _ratio(results: Results, theirs: Row) -> float:
    ours = results.find(theirs.workload, "swarm", theirs.in_flight)
    return ours.median / theirs.median if ours is not None and theirs.median else 0.0
