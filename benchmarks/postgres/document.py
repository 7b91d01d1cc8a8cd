"""Writes `docs/performance-postgres.md` from the results of a run."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.document import circumstances, table, targets
from benchmarks.postgres.peers import PEERS
from benchmarks.results import RATE, Results
from benchmarks.targets import NOTES, Verdict

_HOW = """\
Every figure is the median of {rounds} rounds; in each, all peers take their turns in a new random order, on one server
that runs on the same machine with its own defaults, `fsync` on, and 16 connections for each peer. A closed loop: so
many callers, each waiting for one operation before the next. `±` is half the distance between the fastest and the
slowest round. `asyncpg by hand` is one prepared statement an operation on the library's own table, and COPY for many
rows; the task queues keep their own tables.
"""
_TITLES = {
    "insert": "Store a task",
    "get": "Read a task by its id",
    "store_many": "Store 10,000 tasks as one (records per second)",
    "claim_next": "Claim the next task",
}


class _Target(NamedTuple):
    key: str
    what: str
    verb: str
    at_least: float


_TARGETS = (
    _Target("postgres-insert", "store, 100 in flight, against asyncpg one by one", "insert", 3.5),
    _Target("postgres-get", "point read, 100 in flight, against asyncpg one by one", "get", 4),
)


def write_document(results: Results, path: Path) -> None:
    """Write the page."""
    path.write_text("\n".join(_lines(results)) + "\n")


def _lines(results: Results) -> Iterator[str]:
    yield "# Performance on PostgreSQL"
    yield ""
    yield "<!-- Written by `python -m benchmarks.postgres`; what stands here is measured, not edited. -->"
    yield ""
    yield from circumstances(results, "make bench-postgres")
    yield _HOW.format(rounds=results.rounds)
    yield from targets([*_judge(results)])
    yield "## All rows"
    for verb, title in _TITLES.items():
        rows = results.of(verb)
        if rows:
            yield ""
            yield f"### {title}"
            yield ""
            yield from table(rows, lambda key: PEERS[key][0])


def _judge(results: Results) -> Iterator[Verdict]:
    tried = tomllib.loads(NOTES.read_text())
    for target in _TARGETS:
        ours = results.find(target.verb, "swarm", 100, RATE)
        theirs = results.find(target.verb, "asyncpg", 100, RATE)
        if ours is not None and theirs is not None:
            ratio = ours.median / theirs.median
            note = tried.get(target.key, {}).get("note", "")
            is_reached = ratio >= target.at_least
            yield Verdict(target.key, target.what, f"{target.at_least:g} ×", f"{ratio:.1f} ×", is_reached, note)
