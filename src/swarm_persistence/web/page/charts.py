"""Geometry of the charts: where the bars and lines of a time series lie in a box of 100 by 100."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from swarm_persistence import TaskThroughput
from swarm_persistence.query.task_statuses import FINISHED

RANGES: dict[str, tuple[float, float]] = {
    "15m": (900, 15),
    "1h": (3_600, 60),
    "6h": (21_600, 300),
    "24h": (86_400, 1_200),
}
"""The ranges that a chart may show: their length and the width of a bucket, in seconds."""


class Bar(msgspec.Struct, frozen=True):
    """A rectangle of a stacked bar."""

    x: float
    y: float
    width: float
    height: float
    kind: str


class ChartLine(msgspec.Struct, frozen=True):
    """A line: the pieces between which values are missing, as `points` of SVG."""

    kind: str
    pieces: list[str]


class Chart(msgspec.Struct, frozen=True):
    """A chart with its highest value; the table beside it holds the numbers."""

    highest: float
    bars: list[Bar] = []
    lines: list[ChartLine] = []


class Buckets:
    """The buckets of a range of time, the last one the present."""

    def __init__(self, name: str, present: datetime) -> None:
        self.seconds, self.width = RANGES[name]
        self.end = present
        last = present.timestamp() // self.width * self.width
        self.count = round(self.seconds / self.width)
        self._first = last - (self.count - 1) * self.width

    @property
    def start(self) -> datetime:
        """The start of the first bucket."""
        return self.end - timedelta(seconds=self.end.timestamp() - self._first)

    def place(self, moment: datetime) -> int:
        """Return the number of the bucket that begins at a moment."""
        return round((moment.timestamp() - self._first) / self.width)

    def bars(self, values: Mapping[int, Mapping[str, float]], kinds: Sequence[str]) -> Chart:
        """Return a chart of stacked bars; `kinds` from the bottom up."""
        highest = max((sum(each.values()) for each in values.values()), default=0.0)
        bars = []
        for place, by_kind in values.items():
            top = 100.0
            for kind in kinds:
                if number := by_kind.get(kind, 0):
                    height = number / highest * 100
                    top -= height
                    width = 100 / self.count
                    bars.append(Bar(_r(place * width + width * 0.1), _r(top), _r(width * 0.8), _r(height), kind))
        return Chart(highest, bars=bars)

    def lines(self, values: Mapping[str, Mapping[int, float | None]]) -> Chart:
        """Return a chart of lines by their kinds."""
        highest = max((each for line in values.values() for each in line.values() if each is not None), default=0.0)
        scale = 100 / highest if highest else 0.0
        lines = []
        for kind, by_place in values.items():
            points = {
                place: f"{_r((place + 0.5) * 100 / self.count)},{_r(100 - value * scale)}"
                for place, value in by_place.items()
                if value is not None
            }
            lines.append(ChartLine(kind, [*_pieces(points)]))
        return Chart(highest, lines=lines)


def _pieces(points: Mapping[int, str]) -> Iterable[str]:
    piece: list[str] = []
    before: int | None = None
    for place in sorted(points):
        if before is not None and place != before + 1:
            yield " ".join(piece)
            piece = []
        piece.append(points[place])
        before = place
    if piece:
        yield " ".join(piece)


def throughput_charts(buckets: Buckets, throughput: TaskThroughput) -> dict[str, Any]:
    """Return the charts of the throughput and of its durations."""
    placed = {buckets.place(each.start): each for each in throughput.buckets}
    ended = {place: {status.value: float(n) for status, n in each.counts.items()} for place, each in placed.items()}
    durations = {}
    for name in ("queue_seconds", "run_seconds"):
        by_kind = {
            kind: {place: getattr(getattr(each, name), kind) for place, each in placed.items()}
            for kind in ("p99", "p95", "p50")
        }
        durations[name] = buckets.lines(by_kind)
    return {"ended": buckets.bars(ended, [status.value for status in FINISHED]), **durations}


def _r(number: float) -> float:
    return round(number, 2)
