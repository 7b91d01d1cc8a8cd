"""Writes `docs/performance-web.md` from the results of a run."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.document import circumstances, targets
from benchmarks.results import Results, Row
from benchmarks.table import figure
from benchmarks.targets import Verdict
from benchmarks.web.load import CONNECTIONS, NICENESS, REQUESTS_A_SECOND, STREAMS
from benchmarks.web.working_swarm import AT_ONCE, EVENTS_A_SECOND, HANDLER_SECONDS

WEB = "web"
IDLE, LOADED = "server idle", "server loaded"
TASKS = "tasks per second"
ANSWERED, FAILED, FRAMES = "answers per second", "unsuccessful answers", "events streamed per second"
P50, P99 = "median, ms until an answer", "p99, ms until an answer"
_AT_LEAST = 0.8

_HOW = f"""\
Three processes on one machine share its processors and one SQLite file: a worker, `serve`, and the clients. The worker
runs {AT_ONCE} tasks at once, each of which waits {1000 * HANDLER_SECONDS:.0f} ms, as a short call to another service
does; its process stores the tasks, too, and {EVENTS_A_SECOND} events a second. The clients hold {STREAMS} streams, half
of them `/live`, which a page follows, and half `/api/v1/events/stream`, and send {REQUESTS_A_SECOND:,} requests a
second over {CONNECTIONS} connections: of ten, eight read a task, one a page of 20 tasks, and one stores an event, which
100 streams then carry. The clients have niceness {NICENESS}, as if they ran elsewhere, but the processor time that
they take is missing here all the same.

The worker is measured with and without the clients, in turns, in a new random order each round; the medians of
{{rounds}} rounds follow. `±` is half the distance between the fastest and the slowest round.
"""


def write_document(results: Results, path: Path) -> None:
    """Write the page."""
    path.write_text("\n".join(_lines(results)) + "\n")


def text_of(results: Results) -> Iterator[str]:
    """Yield the lines of the run as plain text."""
    yield from results.machine.lines()
    for row in results.rows:
        yield f"{row.peer:>14}  {_figure(row):>16}  {row.unit}"
    verdict = judge(results)
    yield f"{'reached' if verdict.is_reached else 'SHORT OF'}  {verdict.what}: {verdict.seen} ({verdict.at_least})"


def judge(results: Results) -> Verdict:
    """Tell how much of its throughput the worker keeps, as the median of the rounds' ratios."""
    idle, loaded = (_row(results, case, TASKS) for case in (IDLE, LOADED))
    ratio = loaded.median / idle.median
    what = f"the worker's throughput beside {STREAMS} streams and {REQUESTS_A_SECOND:,} requests a second"
    asked = _row(results, LOADED, ANSWERED).median
    note = f"The server answered {figure(asked)} requests a second."
    return Verdict("web-load", what, f"{100 * _AT_LEAST:.0f} %", f"{100 * ratio:.0f} %", ratio >= _AT_LEAST, note)


def _row(results: Results, case: str, unit: str) -> Row:
    (found,) = (row for row in results.rows if (row.peer, row.unit) == (case, unit))
    return found


def _lines(results: Results) -> Iterator[str]:
    yield "# Performance of a server under load"
    yield ""
    yield "<!-- Written by `python -m benchmarks.web`; what stands here is measured, not edited. -->"
    yield ""
    yield from circumstances(results, "make bench-web")
    yield _HOW.format(rounds=results.rounds)
    yield "| | | |"
    yield "|---|---|---:|"
    for row in results.rows:
        yield f"| {row.peer} | {row.unit} | {_figure(row)} |"
    yield ""
    yield from targets([judge(results)])


def _figure(row: Row) -> str:
    return f"{figure(row.median)} ±{50 * row.spread:.0f} %"
