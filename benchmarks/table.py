"""Prints a run as plain text."""

from collections.abc import Sequence

from benchmarks.peers import PEERS
from benchmarks.results import Results, Row
from benchmarks.targets import judge
from benchmarks.workloads import WORKLOADS


def text_of(results: Results) -> str:
    """Return the whole report."""
    machine = results.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    parts = [
        f"{machine.cpu}, {machine.cores} cores, {machine.memory_gibibytes} GiB, {machine.system}, "
        f"{machine.filesystem}, fsync {machine.fsync_microseconds:.0f} µs, load {machine.load}\n{versions}\n"
        f"{results.scale} run, medians of {results.rounds} rounds, took {results.took_seconds:.0f} s"
    ]
    for workload in WORKLOADS:
        rows = results.of(workload.key)
        if rows:
            parts.append(f"{workload.title}\n" + "\n".join(_lines(rows)))
    verdicts = [
        ("reached" if verdict.is_reached else "SHORT OF", verdict.what, verdict.at_least, verdict.seen)
        for verdict in judge(results)
    ]
    if verdicts:
        parts.append("What it must reach\n" + "\n".join(_aligned(("", "", "at least", "seen"), verdicts)))
    return "\n\n".join(parts)


def name_of(peer: str) -> str:
    """Return how a row names its peer."""
    return PEERS[peer].title if peer in PEERS else "MemoryStorage"


def figure(value: float) -> str:
    """Return a number with as many digits as it deserves."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def ratio_to(row: Row, rows: Sequence[Row]) -> str:
    """Return the library's figure against this one of the same kind; empty where there is nothing to compare."""
    for ours in rows:
        is_same = (ours.in_flight, ours.unit, ours.size) == (row.in_flight, row.unit, row.size)
        if ours.peer == "swarm" and row.peer != "swarm" and is_same and row.median and row.unit.endswith("second"):
            ratio = ours.median / row.median
            return f"{ratio:.2f} ×" if ratio < 10 else f"{ratio:.0f} ×"
    return ""


def _lines(rows: Sequence[Row]) -> list[str]:
    cells = [
        (
            name_of(row.peer),
            f"{row.in_flight:,} in flight" + (f", {row.size:,} records" if row.size else ""),
            figure(row.median),
            f"±{50 * row.spread:.0f} %",
            row.unit,
            ratio_to(row, rows),
        )
        for row in rows
    ]
    return _aligned(("", "", "median", "spread", "", "ours against it"), cells)


def _aligned(head: tuple[str, ...], cells: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (head, *cells)
    ]
