"""Writes `docs/performance-postgres.md` from the results of a run."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.document import circumstances, table, targets
from benchmarks.postgres.peers import PEERS
from benchmarks.postgres.queues import QUEUES
from benchmarks.postgres.whole_tasks import TASKS, UNITS
from benchmarks.results import RATE, Results, Row
from benchmarks.table import figure, ratio_to
from benchmarks.targets import NOTES, Verdict
from benchmarks.workloads import claim_limits

_HOW = """\
Every figure is the median of {rounds} rounds; in each, all peers take their turns in a new random order, on one server
that runs on the same machine with its own defaults, `fsync` on, and 16 connections for each peer. The load is a closed
loop: that many callers, each waiting for one operation before the next. `±` is half the distance between the fastest
and the slowest round. `asyncpg by hand` is one prepared statement an operation on the library's own table, and COPY for
many rows; the task queues keep their own tables.
"""
_WHOLE_TASKS = """\
Tasks are stored by one caller, a hundred at once, claimed by workers that run all the while in processes of their own,
handled by a handler that does nothing, and recorded as done: the rate is that of the whole. The statements and the
bytes of the log are the server's counts, the storing included; commits are those of transactions that wrote, each of
which waits for the disk. DBOS cannot store many tasks at once, so ten callers store its tasks one by one; it polls,
here 100 times a second. pgqueuer claims half of its tasks at once, which is the most that its limit of tasks
at once allows.
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
    yield from _whole_tasks(results)
    yield "## Single operations"
    yield ""
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
    if limited := results.of(claim_limits.KEY):
        yield ""
        yield f"### {claim_limits.TITLE}"
        yield ""
        yield claim_limits.ABOUT.format(grown=limited[0].size)
        yield ""
        yield from table(limited, lambda key: PEERS[key][0])


def text_of(results: Results) -> Iterator[str]:
    """Yield the lines of the run as plain text."""
    yield from results.machine.lines()
    for processes, at_once, rows in _whole_task_rows(results):
        yield f"whole tasks, {_processes(processes)}, {at_once} at once"
        for row in rows:
            counts = ", ".join(f"{count.median:,.2f} {count.unit}" for count in _counts_of(results, row))
            ratio = ratio_to(row, rows)
            yield f"  {QUEUES[row.peer].title:<20} {row.median:>8,.0f} /s {ratio:>7}  {counts}"
    for verb in _TITLES:
        for row in results.of(verb):
            yield f"{verb:>12} {row.in_flight:>4} in flight  {PEERS[row.peer][0]:<26} {row.median:>10,.0f} /s"
    for row in results.of(claim_limits.KEY):
        yield f"{claim_limits.KEY:>12} {row.size:,} pending, {row.unit.replace(':', ': ' + figure(row.median), 1)}"


def _whole_tasks(results: Results) -> Iterator[str]:
    if not results.of("whole_tasks"):
        return
    yield "## Whole tasks by workers"
    yield ""
    yield _WHOLE_TASKS
    for processes, at_once, rows in _whole_task_rows(results):
        yield f"| {_processes(processes)}, {at_once} at once | {' | '.join(UNITS)} |"
        yield f"|---|{'---:|' * len(UNITS)}"
        for row in rows:
            ratio = ratio_to(row, rows)
            rate = f"{figure(row.median)} ±{50 * row.spread:.0f} %{f' ({ratio})' if ratio else ''}"
            counts = [f"{count.median:,.2f}" for count in _counts_of(results, row)]
            yield f"| {QUEUES[row.peer].title} | {' | '.join((rate, *counts))} |"
        yield ""


def _whole_task_rows(results: Results) -> Iterator[tuple[int, int, list[Row]]]:
    """Yield the rates for each number of processes and of tasks at once."""
    rates = [row for row in results.of("whole_tasks") if row.unit == TASKS]
    for processes, at_once in dict.fromkeys((row.size, row.in_flight) for row in rates):
        yield processes, at_once, [row for row in rates if (row.size, row.in_flight) == (processes, at_once)]


def _counts_of(results: Results, row: Row) -> list[Row]:
    found = [results.find(row.workload, row.peer, row.in_flight, unit, row.size) for unit in UNITS if unit != TASKS]
    return [count for count in found if count is not None]


def _processes(number: int) -> str:
    return "1 process" if number == 1 else f"{number} processes"


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
