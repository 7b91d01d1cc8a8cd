"""Inserts into small tables and into a large one: what is left of the rate."""

from functools import partial
from pathlib import Path

from benchmarks.bench import Bench, Case
from benchmarks.peers import PEERS
from benchmarks.peers.peer import Work
from benchmarks.records import make_events
from benchmarks.requirements import require
from benchmarks.results import RATE, Quantity, Row
from swarm_persistence import EventModel

SMALL = (1_000, 10_000)
IN_FLIGHT = 100
_KEYS = ("swarm", "apsw-batches")


class Growth:
    """The same closed loop as for single inserts, on several sizes of table."""

    key = "growth"
    title = "Insert rate as the table grows"
    about = f"{IN_FLIGHT} callers store events into tables of {SMALL[0]:,}, {SMALL[1]:,} and {{grown:,}} events."

    async def run(self, bench: Bench) -> list[Row]:
        """Measure it. Every round gets new copies of the small tables, and goes on in the same large one."""
        scale = bench.scale
        small = sorted({min(size, scale.grown // 2) for size in SMALL})
        large: dict[str, Path] = {}
        for key in _KEYS:
            bench.say(f"{self.key}: {scale.grown:,} rows for {key}")
            large[key] = await bench.site.copy(f"{self.key}-large", PEERS[key](), lambda: make_events(scale.grown))
        # Made after the stored ones, so that their ids come after them, as they would.
        events = make_events(scale.operations * scale.rounds)
        stored = dict.fromkeys(_KEYS, 0)

        async def measure_once(case: Case) -> dict[Quantity, float]:
            key = case[0]
            rates: dict[Quantity, float] = {}
            for size in small:
                path = await bench.site.copy(f"{self.key}-{size}", PEERS[key](), partial(make_events, size))
                rates[Quantity(RATE, size)] = await _rate(bench, key, path, events[: scale.operations])
                bench.site.remove(path)
            start = stored[key]
            at_large = await _rate(bench, key, large[key], events[start : start + scale.operations])
            stored[key] += scale.operations
            return {**rates, Quantity(RATE, scale.grown): at_large}

        rows = await bench.measure_several(self.key, [(key, IN_FLIGHT) for key in _KEYS], measure_once)
        for path in large.values():
            bench.site.remove(path)
        return rows


async def _rate(bench: Bench, key: str, path: Path, events: list[EventModel]) -> float:
    peer = PEERS[key]()
    before = bench.site.count(path, "events")
    works = (Work("insert", event) for event in events)
    await peer.open(str(path))
    try:
        warm_up = await peer.run(works, 10, bench.scale.seconds / 10)
        outcome = await peer.run(works, IN_FLIGHT, bench.scale.seconds)
    finally:
        await peer.close()
    require(bench.site.count(path, "events") - before == warm_up.done + outcome.done, f"{peer.title} has lost writes")
    return outcome.rate
