"""What the library must reach, and whether a run has reached it."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks.results import RATE, Results
from benchmarks.workloads import (
    busy_loop,
    fan_in,
    growth,
    iteration,
    memory,
    processes,
    queue_depth,
    residency,
    threads,
)

NOTES = Path(__file__).with_name("notes.toml")

_FLAT_MEBIBYTES = 16.0
_AT_MOST_SLOWER = 2.0
_FEWEST_COMPLETIONS = 4_000
"""A second, with 100,000 dependencies."""


class Verdict(msgspec.Struct, frozen=True):
    """One line of the table."""

    key: str
    what: str
    at_least: str
    seen: str
    is_reached: bool
    note: str = ""
    """What was tried, where it falls short."""


class _Ratio(msgspec.Struct, frozen=True):
    """The library's figure against a peer's."""

    key: str
    what: str
    workload: str
    in_flight: int
    peer: str
    at_least: float
    peer_in_flight: int | None = None
    unit: str = RATE
    ours: str = "swarm"

    @property
    def is_share(self) -> bool:
        """Whether it is told in percent: the peer is the limit."""
        return self.at_least < 1


_BULK = "records per second"
_RATIOS = (
    _Ratio("insert-100-raw", "insert, 100 in flight, of raw apsw in batches of 100", "insert", 100,
           "apsw-batches", 0.8),
    _Ratio("insert-100-isolated", "… against aiosqlite, isolated", "insert", 100, "aiosqlite-isolated", 25),
    _Ratio("insert-100-shared", "… against aiosqlite, shared transaction", "insert", 100, "aiosqlite-shared", 3),
    _Ratio("insert-100-sqlalchemy", "… against SQLAlchemy", "insert", 100, "sqlalchemy", 70),
    _Ratio("insert-1000-raw", "insert, 1,000 in flight, of raw apsw in batches of 1,000", "insert", 1000,
           "apsw-batches", 0.55),
    _Ratio("insert-1-raw", "insert, 1 in flight, of raw apsw autocommit", "insert", 1, "apsw-autocommit", 0.8),
    _Ratio("insert-1-aiosqlite", "… against aiosqlite, isolated", "insert", 1, "aiosqlite-isolated", 1.6),
    _Ratio("insert-1-normal", "… not synced, of raw apsw autocommit, not synced", "normal-durability", 1,
           "apsw-autocommit", 0.6),
    _Ratio("claim-next-1", "claim-next, 1 in flight, of raw autocommit claim-next", "claim-next", 1,
           "apsw-autocommit", 0.8),
    _Ratio("blocking-insert-1", "blocking form: insert, 1 thread, of raw apsw autocommit", "insert", 1,
           "apsw-autocommit", 0.85, ours="swarm-blocking"),
    _Ratio("blocking-insert-threads", f"… {threads.WRITING} threads, of the async form with as many in flight",
           "threads", threads.WRITING, "swarm", 0.6, unit=threads.INSERTS, ours="swarm-blocking"),
    _Ratio("blocking-read-1", "… point read + decode, 1 thread, of sqlite3", "point-read", 1, "sqlite3", 0.45,
           ours="swarm-blocking"),
    _Ratio("blocking-read-threads", f"… point read, {threads.READING} threads against 1", "threads", threads.READING,
           "swarm-blocking", 1, peer_in_flight=1, unit=threads.READS, ours="swarm-blocking"),
    _Ratio("read-1", "point read + decode against aiosqlite, isolated, 1 in flight", "point-read", 1,
           "aiosqlite-isolated", 2.5),
    _Ratio("read-100", "… 100 in flight", "point-read", 100, "aiosqlite-isolated", 8),
    _Ratio("read-1000", "… 1,000 in flight", "point-read", 1000, "aiosqlite-isolated", 15),
    _Ratio("mix-100", "80/20 mix, 100 in flight, against aiosqlite, isolated", "mix", 100, "aiosqlite-isolated", 6),
    _Ratio("claim-next-100", "claim-next, 100 in flight, against raw autocommit claim-next", "claim-next", 100,
           "apsw-autocommit", 5, peer_in_flight=1),
    _Ratio("store-many", "`store_many`, of raw apsw `executemany`", "store-many", 1, "apsw-autocommit", 0.7,
           unit=_BULK),
)  # fmt: skip

KEYS = frozenset(
    (
        *(ratio.key for ratio in _RATIOS),
        "documents-put",
        "documents-get",
        "documents-get-100",
        "langgraph-delete",
        "langgraph-latest",
        "langgraph-postgres-50",
        "langgraph-sqlite-50",
        "fan-in",
        "processes",
        "busy-loop",
        "growth",
        "queue-depth",
        "queue-depth-typed",
        "queue-finished",
        "memory-store",
        "memory-claim",
        "residency",
        "iterator",
    )
)
"""The targets, as the notes name them."""


def judge(results: Results, notes: Path = NOTES) -> list[Verdict]:
    """Return a verdict for each target that the run has measured."""
    tried = tomllib.loads(notes.read_text())
    verdicts = [
        *_ratios(results),
        *_fan_in(results),
        *_processes(results),
        *_busy(results),
        *_sizes(results),
        *_queues(results),
    ]
    verdicts += _residency(results)
    return [msgspec.structs.replace(verdict, note=tried.get(verdict.key, {}).get("note", "")) for verdict in verdicts]


def _ratios(results: Results) -> Iterator[Verdict]:
    for target in _RATIOS:
        ours = results.find(target.workload, target.ours, target.in_flight, target.unit)
        at = target.in_flight if target.peer_in_flight is None else target.peer_in_flight
        theirs = results.find(target.workload, target.peer, at, target.unit)
        if ours is not None and theirs is not None:
            ratio = ours.median / theirs.median
            show = _share if target.is_share else _times
            is_reached = ratio >= target.at_least
            seen = show(ratio)
            if not is_reached and seen == show(target.at_least):
                seen = f"{seen}, rounded up"
            yield Verdict(target.key, target.what, show(target.at_least), seen, is_reached)


def _fan_in(results: Results) -> Iterator[Verdict]:
    rows = results.of(fan_in.FanIn.key)
    if rows:
        few, many = (choose(rows, key=lambda row: row.size) for choose in (min, max))
        what = f"completions a second of {many.size:,} dependencies of one task, and of {few.size:,}"
        seen = f"{many.median:,.0f}; {few.median:,.0f}"
        yield Verdict("fan-in", what, f"{_FEWEST_COMPLETIONS:,}", seen, many.median >= _FEWEST_COMPLETIONS)


def _processes(results: Results) -> Iterator[Verdict]:
    share = results.find("processes", "swarm", processes.PROCESSES, processes.SHARE)
    double = results.find("processes", "swarm", processes.PROCESSES, processes.DOUBLE)
    if share is not None and double is not None:
        doubles = sum(double.measurements)
        yield Verdict(
            "processes",
            f"{processes.PROCESSES} processes claiming: slowest of fastest; double claims",
            "60 %; none",
            f"{share.median:.0f} %; {doubles:.0f}",
            share.median >= 60 and doubles == 0,
        )


def _busy(results: Results) -> Iterator[Verdict]:
    share = results.find("busy-loop", "swarm", busy_loop.IN_FLIGHT, busy_loop.OF_IDLE)
    p99 = results.find("busy-loop", "swarm", busy_loop.IN_FLIGHT, busy_loop.P99)
    if share is not None and p99 is not None:
        yield Verdict(
            "busy-loop",
            f"busy loop (1 ms bursts), insert, {busy_loop.IN_FLIGHT} in flight: of its own idle figure; p99",
            "15 %; ≤ 100 ms",
            f"{share.median:.0f} %; {p99.median:.0f} ms",
            share.median >= 15 and p99.median <= 100,
        )


def _sizes(results: Results) -> Iterator[Verdict]:
    sizes = list(results.sizes("growth"))
    if sizes:
        small, large = (results.find("growth", "swarm", growth.IN_FLIGHT, RATE, size) for size in sizes[-2:])
        if small is not None and large is not None:
            what = f"insert rate at {large.size:,} rows, of that at {small.size:,}"
            share = large.median / small.median
            yield Verdict("growth", what, "60 %", _share(share), share >= 0.6)
    sizes = list(results.sizes("memory-storage"))
    for verb in ("store", "claim") if sizes else ():
        unit = memory.unit_of(verb)
        few, many = (results.find("memory-storage", "memory", 1, unit, size) for size in (sizes[0], sizes[-1]))
        if few is not None and many is not None:
            what = f"`MemoryStorage`, {verb}: µs a record at {many.size:,} records, at {few.size:,}"
            times = many.median / few.median
            seen = f"{many.median:.1f}; {few.median:.1f}: {_times(times)}"
            yield Verdict(f"memory-{verb}", what, f"a few, ≤ {_times(_AT_MOST_SLOWER)}", seen, times <= _AT_MOST_SLOWER)


def _queues(results: Results) -> Iterator[Verdict]:
    rows = [row for row in results.of(queue_depth.QueueDepth.key) if row.peer == "swarm"]
    if not rows:
        return
    few, many = (choose(row.size for row in rows) for choose in (min, max))
    in_flight = max(queue_depth.IN_FLIGHTS)
    for key, wanted, pending, finished in (
        ("queue-depth", queue_depth.ANY_TYPE, many, 0),
        ("queue-depth-typed", queue_depth.SOME_TYPES, many, 0),
        ("queue-finished", queue_depth.ANY_TYPE, few, many),
    ):
        short = results.find(
            queue_depth.QueueDepth.key, "swarm", in_flight, queue_depth.unit_of(wanted, in_flight), few
        )
        unit = queue_depth.unit_of(wanted, in_flight, finished)
        long = results.find(queue_depth.QueueDepth.key, "swarm", in_flight, unit, pending)
        if short is not None and long is not None:
            beside = f" beside {finished:,} finished" if finished else ""
            what = f"claim next, {wanted}, {in_flight} in flight, {pending:,} pending{beside}: of the rate with {few:,}"
            share = long.median / short.median
            # Not all: the most urgent tasks of a long queue lie on pages of their own, all of which a commit writes.
            yield Verdict(key, what, "60 %", _share(share), share >= 0.6)


def _residency(results: Results) -> Iterator[Verdict]:
    rows = results.of(residency.Residency.key)
    if rows:
        most = max(rows, key=lambda row: row.in_flight)
        yield Verdict(
            "residency",
            f"resident memory for {most.in_flight:,} concurrent pending inserts, beside their callers",
            f"flat: ≤ {_FLAT_MEBIBYTES:.0f} MiB",
            f"{most.median:.0f} MiB",
            most.median <= _FLAT_MEBIBYTES,
        )
    read = list(results.of(iteration.Iteration.key))
    if read:
        few, most = (choose(read, key=lambda row: row.size) for choose in (min, max))
        yield Verdict(
            "iterator",
            f"resident memory of reading {most.size:,} events through an async iterator, and {few.size:,}",
            f"flat: ≤ {_FLAT_MEBIBYTES:.0f} MiB more",
            f"{most.median:.0f} MiB; {few.median:.0f} MiB",
            most.median <= few.median + _FLAT_MEBIBYTES,
        )


def _share(ratio: float) -> str:
    return f"{100 * ratio:.0f} %"


def _times(ratio: float) -> str:
    return f"{ratio:.2g} ×" if ratio < 10 else f"{ratio:.0f} ×"
