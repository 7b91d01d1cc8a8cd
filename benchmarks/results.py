"""What a run has measured, and its JSON form."""

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from benchmarks.machine import Machine

RATE = "operations per second"


class Quantity(NamedTuple):
    """What a figure counts; `size` is the number of records or callers where a workload compares two of them."""

    unit: str
    size: int = 0


class Row(msgspec.Struct, frozen=True):
    """One figure of one peer: a measurement for each round. `in_flight` is 0 where it means nothing."""

    workload: str
    peer: str
    in_flight: int
    measurements: list[float]
    unit: str = RATE
    size: int = 0

    @property
    def median(self) -> float:
        """Return the figure."""
        return statistics.median(self.measurements)

    @property
    def spread(self) -> float:
        """Return how far the rounds lie apart, as a share of the figure."""
        return (max(self.measurements) - min(self.measurements)) / self.median if self.median else 0.0


class Results(msgspec.Struct, frozen=True):
    """A whole run."""

    scale: str
    rounds: int
    finished_at: str
    took_seconds: float
    machine: Machine
    rows: list[Row]

    def of(self, workload: str) -> list[Row]:
        """Return a workload's figures."""
        return [row for row in self.rows if row.workload == workload]

    def find(self, workload: str, peer: str, in_flight: int, unit: str = RATE, size: int = 0) -> Row | None:
        """Return a figure, if the run has it."""
        wanted = (workload, peer, in_flight, unit, size)
        for row in self.rows:
            if (row.workload, row.peer, row.in_flight, row.unit, row.size) == wanted:
                return row
        return None

    def sizes(self, workload: str) -> Iterator[int]:
        """Yield the sizes that a workload compares, smallest first."""
        yield from sorted({row.size for row in self.of(workload)})

    def write(self, path: Path) -> None:
        """Write the results as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Read what `write` wrote."""
        return msgspec.json.decode(path.read_bytes(), type=cls)
