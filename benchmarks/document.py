"""Writes `docs/performance.md` from the results of a run."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.headline.document import opening
from benchmarks.peers import PEERS
from benchmarks.results import Results, Row
from benchmarks.scale import FULL, QUICK, SMOKE
from benchmarks.table import figure, name_of
from benchmarks.targets import Verdict, judge
from benchmarks.workloads import WORKLOADS

_SCALES = {scale.name: scale for scale in (FULL, QUICK, SMOKE)}
_HOW = """\
Every figure is the median of {rounds} rounds. The peers of a row are measured in one go, in a new random order each
round, each on a fresh copy of the same file; after each measurement the file is checked for what the peer was asked to
write. The load is a closed loop: that many callers, each waiting for one operation before the next. `±` is half the
distance between the fastest and the slowest round.

Equal work: all peers run with WAL and `synchronous=FULL`, on the same tables with the same indexes (the library's own),
and store the same values. `apsw`, `sqlite3` and `aiosqlite` are given the library's own encoder and decoder, so that
only the storing differs; SQLAlchemy has its own types for the same columns, with the same JSON encoder. The
queues store each task as JSON in tables of their own.
"""


def write_document(results: Results, tasks: Results, path: Path) -> None:
    """Write the page from a run of the suite and one of whole tasks; the charts lie beside it."""
    path.write_text("\n".join(_lines(results, tasks)) + "\n")


def _lines(results: Results, tasks: Results) -> Iterator[str]:
    yield "# Performance"
    yield ""
    yield "<!-- Written by `python -m benchmarks`; what stands here is measured, not edited. -->"
    yield ""
    yield from opening(tasks)
    yield "## Single operations on SQLite"
    yield ""
    yield "![Throughput of the library and its peers](performance.svg)"
    yield ""
    yield from circumstances(results, "make bench")
    yield _HOW.format(rounds=results.rounds)
    yield from _peers(results)
    yield from targets(judge(results))
    yield "## All rows"
    sizes = _SCALES[results.scale]
    for workload in WORKLOADS:
        rows = results.of(workload.key)
        if rows:
            yield ""
            yield f"### {workload.title}"
            yield ""
            yield workload.about.format(
                batch=sizes.batch, metrics=sizes.metrics, grown=sizes.grown, callers=sizes.callers
            )
            yield ""
            yield from table(rows, name_of)


def circumstances(results: Results, command: str) -> Iterator[str]:
    """Yield when, where and with what it was measured."""
    machine = results.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    yield f"Measured {results.finished_at[:10]} by `{command}` ({results.took_seconds / 60:.0f} minutes)."
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| machine | {machine.cpu}, {machine.cores} cores, {machine.memory_gibibytes:.0f} GiB |"
    busy = " **(the machine was not idle)**" if machine.load > 1 else ""
    yield f"| system | {machine.system}, load {machine.load} before the run{busy} |"
    yield f"| disk | {machine.filesystem}, {machine.fsync_microseconds:.0f} µs for 4 KiB and an fsync |"
    yield f"| versions | {versions} |"
    yield ""


def _peers(results: Results) -> Iterator[str]:
    measured = {row.peer for row in results.rows}
    yield "| peer | how it is used |"
    yield "|---|---|"
    for peer in PEERS.values():
        if peer.key in measured:
            yield f"| {peer.title} | {peer.about} |"
    yield ""


def targets(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield what is reached, and what was tried where it falls short."""
    yield "## What it must reach"
    yield ""
    yield "| | seen | |"
    yield "|---|---|---|"
    for verdict in verdicts:
        reached = "reached" if verdict.is_reached else "**falls short**"
        yield f"| {verdict.what} | {verdict.seen} (target {verdict.at_least}) | {reached} |"
    yield ""
    for verdict in verdicts:
        if not verdict.is_reached:
            yield f"- **Falls short:** {verdict.what}. {verdict.note or 'Not investigated yet.'}"
    yield ""


def table(rows: Sequence[Row], name_of: Callable[[str], str]) -> Iterator[str]:
    """Yield one line a peer and kind of figure, one column for each number in flight or size."""
    has_sizes = any(row.size for row in rows)
    columns = sorted({_column(row, has_sizes) for row in rows})
    heads = [f"{column:,}{' records' if has_sizes else ' in flight'}" for column in columns]
    units = list(dict.fromkeys(row.unit for row in rows))
    for unit in units:
        yield f"| {unit} | {' | '.join(heads)} |"
        yield f"|---|{'---:|' * len(heads)}"
        of_unit = [row for row in rows if row.unit == unit]
        ours = {_column(row, has_sizes): row for row in of_unit if row.peer == "swarm"}
        for peer in dict.fromkeys(row.peer for row in of_unit):
            cells = {_column(row, has_sizes): row for row in of_unit if row.peer == peer}
            smallest = cells[min(cells)] if has_sizes and unit.endswith("second") else None
            shown = [_cell(cells.get(column), ours.get(column), smallest) for column in columns]
            yield f"| {name_of(peer)} | {' | '.join(shown)} |"
        if unit != units[-1]:
            yield ""


def _column(row: Row, has_sizes: bool) -> int:
    return row.size if has_sizes else row.in_flight


def _cell(row: Row | None, ours: Row | None, smallest: Row | None) -> str:
    if row is None:
        return "–"
    text = f"{figure(row.median)} ±{50 * row.spread:.0f} %"
    if smallest is not None and row is not smallest and smallest.median:
        text = f"{text}, {100 * row.median / smallest.median:.0f} % of the first"
    if ours is None or row.peer == "swarm" or not row.median or not row.unit.endswith("second"):
        return text
    return f"{text} ({_times(ours.median / row.median)})"


def _times(ratio: float) -> str:
    return f"{ratio:.2f} ×" if ratio < 10 else f"{ratio:.0f} ×"
