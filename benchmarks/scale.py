"""How much a run does: rounds, seconds, tasks in flight, and sizes of tables."""

import msgspec


class Scale(msgspec.Struct, frozen=True):
    """One size of run. A figure is the median of `rounds`, each of which lasts about `seconds`."""

    name: str
    rounds: int
    seconds: float
    in_flights: tuple[int, ...]
    left_out: frozenset[tuple[str, int]]
    """Peers and numbers in flight that would take longer than the rest of the run together."""
    records: int
    """Rows of the table before point reads, lists and the mix."""
    operations: int
    """The most operations of one round: records that are made beforehand."""
    metrics: int
    grown: int
    """Rows of the large table, for the SQLite file and for the memory storage."""
    batch: int
    process_seconds: float
    busy_seconds: float
    callers: int
    """Concurrent pending inserts whose memory is measured."""


FULL = Scale(
    name="full",
    rounds=7,
    seconds=0.3,
    in_flights=(1, 10, 100, 1000),
    left_out=frozenset(),
    records=20_000,
    operations=60_000,
    metrics=100_000,
    grown=1_000_000,
    batch=10_000,
    process_seconds=1.5,
    busy_seconds=1.5,
    callers=100_000,
)
QUICK = Scale(
    name="quick",
    rounds=3,
    seconds=0.05,
    in_flights=(1, 100, 1000),
    left_out=frozenset({("sqlalchemy", 1000)}),
    records=5_000,
    operations=15_000,
    metrics=30_000,
    grown=30_000,
    batch=3_000,
    process_seconds=0.3,
    busy_seconds=0.3,
    callers=20_000,
)
SMOKE = Scale(
    name="smoke",
    rounds=1,
    seconds=0.01,
    in_flights=(1, 10),
    left_out=frozenset(),
    records=300,
    operations=2_000,
    metrics=500,
    grown=2_000,
    batch=200,
    process_seconds=0.03,
    busy_seconds=0.3,
    callers=500,
)
"""Only shows that every part works; its figures mean nothing."""
