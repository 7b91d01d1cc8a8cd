"""The opening of `docs/performance.md`: one table of whole tasks a second, and its picture."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.results import Results, Row
from benchmarks.table import figure

TASKS_RESULTS = Path(__file__).resolve().parents[1] / "results" / "tasks.json"
PICTURE = "performance-tasks.svg"
SQLITE, POSTGRES = "sqlite_tasks", "whole_tasks"
AT_ONCE = (1, 8, 50)
PLACES = {SQLITE: "on a SQLite file", POSTGRES: "on PostgreSQL"}
_UNITS = {SQLITE: "operations per second", POSTGRES: "tasks per second"}
TITLES = {
    "swarm": "swarm-persistence",
    "huey": "huey",
    "persist-queue": "persist-queue, ack queue",
    "diskcache": "diskcache, as a queue",
    "pgqueuer": "pgqueuer",
    "procrastinate": "procrastinate",
    "dbos": "DBOS",
}
_HOW = """\
Tasks done a second by one worker process: claimed, handled by a handler that does nothing, and recorded as done, with
that many at once. With every queue, what is recorded has reached the disk. On SQLite, the tasks are stored beforehand;
on PostgreSQL, another process stores them meanwhile. huey and diskcache delete a task when a worker takes it, so that
nothing is left to record, and a worker's death loses it; the library's tasks have leases, retries, dependencies and
results.
"""


def rates_of(results: Results, place: str) -> dict[str, dict[int, Row]]:
    """Return the rates of one process, by peer and by the number of tasks at once."""
    rates: dict[str, dict[int, Row]] = {}
    for row in results.of(place):
        if row.unit == _UNITS[place] and row.size in (0, 1):
            rates.setdefault(row.peer, {})[row.in_flight] = row
    return rates


def opening(results: Results) -> Iterator[str]:
    """Yield the table and the picture."""
    yield f"| tasks done a second | {' | '.join(f'{number} at once' for number in AT_ONCE)} |"
    yield f"|---|{'---:|' * len(AT_ONCE)}"
    for place, where in PLACES.items():
        rates = rates_of(results, place)
        for peer in sorted(rates, key=lambda peer: -max(row.median for row in rates[peer].values())):
            title = f"**{TITLES[peer]}**" if peer == "swarm" else TITLES[peer]
            cells = [figure(rates[peer][number].median) if number in rates[peer] else "–" for number in AT_ONCE]
            yield f"| {title}, {where} | {' | '.join(cells)} |"
    yield ""
    yield f"![Tasks done a second, by the library and by others]({PICTURE})"
    yield ""
    machine = results.machine
    busy = " **The machine was not idle.**" if machine.load > 1 else ""
    yield _HOW
    yield (
        f"Measured {results.finished_at[:10]} by `make bench-tasks`, medians of {results.rounds} rounds: "
        f"{machine.cpu}, {machine.cores} cores, fsync {machine.fsync_microseconds:.0f} µs, "
        f"load {machine.load} before the run.{busy}"
    )
    yield ""
