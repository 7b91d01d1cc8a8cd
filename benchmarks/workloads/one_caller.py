"""One caller's inserts beside a ticker: how fast they are, and how late they make the event loop's other tasks."""

import asyncio
import time
from collections.abc import Callable

from benchmarks.bench import Bench, Case
from benchmarks.peers.peer import Work
from benchmarks.peers.swarm import ConfiguredSwarm
from benchmarks.records import make_events
from benchmarks.requirements import require
from benchmarks.results import RATE, Quantity, Row
from swarm_persistence import SqliteStorage, SqliteStorageBuilder

LATE = "99.9th percentile of a 1 ms ticker's delay, milliseconds"
_TICK_SECONDS = 0.001

_VARIANTS: dict[str, Callable[[SqliteStorageBuilder], SqliteStorageBuilder]] = {
    "": lambda builder: builder,
    ", longest_stay 0": lambda builder: builder.longest_stay(0),
    ", normal": lambda builder: builder.durability("normal"),
    ", normal, longest_stay 0": lambda builder: builder.durability("normal").longest_stay(0),
}
"""The settings that are compared: in the loop's thread, or in the writer's."""


class OneCaller:
    """One insert after the other, while another task of the loop sleeps a millisecond at a time."""

    key = "one-caller"
    title = "One caller beside a ticker"
    about = (
        "One caller stores events, each after the one before; beside it, a task of the same loop sleeps for 1 ms again "
        "and again, and notes how late it wakes. With the default `longest_stay`, the loop's own thread commits as "
        "long as commits are short; with 0, the writer's thread does."
    )

    async def run(self, bench: Bench) -> list[Row]:
        """Measure it."""
        events = make_events(bench.scale.operations)
        seconds = bench.scale.seconds

        async def measure_once(_: Case) -> dict[Quantity, float]:
            quantities: dict[Quantity, float] = {}
            for name, configure in bench.shuffled(list(_VARIANTS.items())):
                peer = ConfiguredSwarm(configure(SqliteStorage.builder()))
                path = await bench.site.copy(self.key, peer, list)
                await peer.open(str(path))
                delays: list[float] = []
                ticker = asyncio.ensure_future(_tick(delays))
                try:
                    outcome = await peer.run((Work("insert", event) for event in events), 1, seconds)
                finally:
                    ticker.cancel()
                    await peer.close()
                require(bench.site.count(path, "events") == outcome.done, f"{peer.title} has lost writes")
                bench.site.remove(path)
                quantities[Quantity(f"{RATE}{name}")] = outcome.rate
                late = sorted(delays)[int(len(delays) * 0.999)] if delays else 0.0
                quantities[Quantity(f"{LATE}{name}")] = 1000 * late
            return quantities

        return await bench.measure_several(self.key, [("swarm", 1)], measure_once)


async def _tick(delays: list[float]) -> None:
    while True:
        due = time.perf_counter() + _TICK_SECONDS
        await asyncio.sleep(_TICK_SECONDS)
        delays.append(max(time.perf_counter() - due, 0.0))
