"""Inserts beside a loop that is busy with Python: what is left of the idle rate, and how long a call takes then."""

import asyncio
import time

from benchmarks.bench import Bench, Case
from benchmarks.peers import PEERS
from benchmarks.peers.peer import Outcome, Work
from benchmarks.records import make_events
from benchmarks.requirements import require
from benchmarks.results import RATE, Quantity, Row
from swarm_persistence import EventModel

IN_FLIGHT = 100
OF_IDLE = "of the idle rate, percent"
P99 = "99th percentile, milliseconds"
_KEYS = ("swarm", "aiosqlite-isolated", "aiosqlite-shared")
_BURST_SECONDS = 0.001


class BusyLoop:
    """Another task of the same loop computes for a millisecond, yields, and computes again."""

    key = "busy-loop"
    title = "Busy loop"
    about = (
        f"{IN_FLIGHT} callers store events while another task of their loop runs bursts of Python of 1 ms, yielding "
        "to the loop between them. What is done when the time is up is counted; what is in flight then is finished "
        "beside an idle loop, and counts in the percentile."
    )

    async def run(self, bench: Bench) -> list[Row]:
        """Measure it."""
        cases: list[Case] = [(key, IN_FLIGHT) for key in _KEYS]
        events = make_events(3 * bench.scale.operations)

        async def measure_once(case: Case) -> dict[Quantity, float]:
            idle = await self._measure(bench, case[0], events, is_busy=False)
            busy = await self._measure(bench, case[0], events, is_busy=True)
            latencies = sorted(busy.latencies)
            return {
                Quantity(RATE): busy.in_time / bench.scale.busy_seconds,
                Quantity(OF_IDLE): 100 * busy.in_time / idle.in_time,
                Quantity(P99): latencies[int(len(latencies) * 0.99)] * 1000,
            }

        return await bench.measure_several(self.key, cases, measure_once)

    async def _measure(self, bench: Bench, key: str, events: list[EventModel], *, is_busy: bool) -> Outcome:
        peer = PEERS[key]()
        path = await bench.site.copy(self.key, peer, list)
        works = (Work("insert", event) for event in events)
        await peer.open(str(path))
        # Some peers would take minutes for what is in flight when the time is up: from then on, the loop is idle.
        burning = asyncio.ensure_future(_burn(bench.scale.busy_seconds)) if is_busy else None
        try:
            outcome = await peer.run(works, IN_FLIGHT, bench.scale.busy_seconds, is_timed_each=True)
        finally:
            if burning is not None:
                burning.cancel()
            await peer.close()
        require(bench.site.count(path, "events") == outcome.done, f"{peer.title} has lost writes")
        bench.site.remove(path)
        return outcome


async def _burn(seconds: float) -> None:
    started = time.perf_counter()
    while time.perf_counter() < started + seconds:
        end = time.perf_counter() + _BURST_SECONDS
        while time.perf_counter() < end:
            pass
        await asyncio.sleep(0)
