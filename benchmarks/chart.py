"""Draws runs: rates with 100 operations in flight, how inserts gain from more in flight, and whole tasks a second."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, StrMethodFormatter

from benchmarks.headline.document import PLACES, TITLES, rates_of
from benchmarks.peers import PEERS
from benchmarks.results import RATE, Results, Row
from benchmarks.table import figure, name_of

_BARS = ("insert", "point-read", "mix", "claim", "claim-next")
_TITLES = {
    "insert": "Inserts a second",
    "point-read": "Point reads a second",
    "mix": "80/20 mix, operations a second",
    "claim": "Claims by id a second",
    "claim-next": "Claims of the next task a second",
}
_IN_FLIGHT = 100
_OURS, _LIMIT, _OTHERS = "#0b7285", "#ced4da", "#868e96"
_COLORS = {"swarm": _OURS, "apsw-batches": _LIMIT, "apsw-autocommit": _LIMIT}


def draw(results: Results, path: Path) -> None:
    """Write the chart as `path` with `.png` and with `.svg`."""
    sheet = Figure(figsize=(13.5, 7.2), layout="constrained")
    sheet.suptitle(
        f"Durable throughput (synchronous=FULL, WAL), {_IN_FLIGHT} operations in flight; blocking drivers one by one\n"
        f"{results.machine.cpu}, {results.machine.cores} cores, fsync {results.machine.fsync_microseconds:.0f} µs",
        fontsize=11,
    )
    panels = sheet.subplots(2, 3).flat
    for workload, axes in zip(_BARS, panels, strict=False):
        _draw_bars(axes, workload, results)
    _draw_lines(sheet.axes[-1], results)
    _save(sheet, path)
    sheet.savefig(path.with_suffix(".png"), dpi=110, metadata={"Software": None})


def draw_tasks(results: Results, path: Path) -> None:
    """Write the picture of whole tasks a second, each queue with the number at once that suits it best."""
    best = {
        place: sorted(
            (max(row.median for row in rates.values()), peer) for peer, rates in rates_of(results, place).items()
        )
        for place in PLACES
    }
    heights = [len(bars) for bars in best.values()]
    sheet = Figure(figsize=(8.5, 0.6 + 0.45 * sum(heights)), layout="constrained")
    sheet.suptitle("Tasks done a second by one worker process, recorded on the disk", fontsize=12)
    panels = sheet.subplots(len(best), 1, sharex=True, height_ratios=heights)
    for axes, (place, bars) in zip(panels, best.items(), strict=True):
        drawn = axes.barh(
            [TITLES[peer] for _, peer in bars],
            [rate for rate, _ in bars],
            color=[_OURS if peer == "swarm" else _OTHERS for _, peer in bars],
        )
        axes.bar_label(drawn, [figure(rate) for rate, _ in bars], padding=4, fontsize=10)
        axes.set_title(PLACES[place], fontsize=10, loc="left")
        axes.margins(x=0.12)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        _tidy(axes)
        axes.tick_params(labelsize=10, length=0)
    _save(sheet, path)


def _save(sheet: Figure, path: Path) -> None:
    # The same run gives the same files, so that a commit shows what has changed.
    with mpl.rc_context({"svg.hashsalt": "swarm-persistence"}):
        sheet.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def _draw_bars(axes: Axes, workload: str, results: Results) -> None:
    rows = [row for row in results.of(workload) if row.in_flight == _of_peer(row, results)]
    rows.sort(key=lambda row: row.median)
    bars = axes.barh(
        [name_of(row.peer) for row in rows],
        [row.median for row in rows],
        color=[_COLORS.get(row.peer, _OTHERS) for row in rows],
    )
    axes.bar_label(bars, [figure(row.median) for row in rows], padding=3, fontsize=8)
    axes.set_title(_TITLES[workload], fontsize=10)
    axes.margins(x=0.18)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    _tidy(axes)


def _of_peer(row: Row, results: Results) -> int:
    """Return the number in flight that stands for a row's peer: blocking drivers do one after the other."""
    numbers = [other.in_flight for other in results.of(row.workload) if other.peer == row.peer]
    return _IN_FLIGHT if _IN_FLIGHT in numbers else max(numbers)


def _draw_lines(axes: Axes, results: Results) -> None:
    for peer in PEERS:
        rows = [row for row in results.of("insert") if row.peer == peer and row.unit == RATE]
        if len(rows) > 1:
            color = {"swarm": _OURS, "apsw-batches": "#adb5bd"}.get(peer)
            width = 2.5 if peer == "swarm" else 1.3
            numbers, rates = [row.in_flight for row in rows], [row.median for row in rows]
            (line,) = axes.plot(numbers, rates, marker="o", markersize=4, color=color, linewidth=width)
            # Beside the line's end, where no other line runs, in place of a legend.
            axes.annotate(
                name_of(peer),
                (numbers[-1], rates[-1]),
                xytext=(6, 0),
                textcoords="offset points",
                fontsize=7,
                va="center",
                color=line.get_color(),
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_title("Inserts a second by operations in flight", fontsize=10)
    axes.margins(x=0.05)
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
