"""The shape of a workload, and the closed loop that most of them are: so many callers, one operation each at a time."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

import msgspec

from benchmarks.bench import Bench, Case
from benchmarks.peers import PEERS
from benchmarks.peers.peer import Outcome, Peer, Work
from benchmarks.requirements import require
from benchmarks.results import RATE, Row
from benchmarks.scale import Scale
from swarm_persistence import Model


class Workload(Protocol):
    """A row, or a few that belong together."""

    key: str
    title: str
    about: str

    async def run(self, bench: Bench) -> list[Row]:
        """Measure it."""
        ...


class Rows(msgspec.Struct):
    """The records that a workload finds in its table, and the operations that it does on them."""

    stored: Sequence[Model]
    works: Callable[[], Iterator[Work]]


class ClosedLoop(msgspec.Struct):
    """The rate of operations with so many callers, each of which waits for one operation before the next."""

    key: str
    title: str
    about: str
    prepare: Callable[[Scale], Rows]
    """Makes the records, once a run."""
    verify: Callable[[Bench, Path, int], None]
    """Looks at the file after a measurement of so many operations, and raises if it isn't as it should be."""
    verbs: frozenset[str]
    most_in_flight: int = 1000
    unit: str = RATE
    operations_per_call: int = 1

    def cases(self, scale: Scale) -> list[Case]:
        """Return the peers that can do it, each with the numbers in flight that make sense for it."""
        numbers = [number for number in scale.in_flights if number <= self.most_in_flight]
        cases = [(peer.key, number) for peer in PEERS.values() if self.verbs <= peer.verbs for number in numbers]
        return [case for case in cases if _makes_sense(*case) and case not in scale.left_out]

    async def run(self, bench: Bench) -> list[Row]:
        """Measure it."""
        return await self.measure(bench, self.key, self.cases(bench.scale), self.unit)

    async def measure(self, bench: Bench, workload: str, cases: Sequence[Case], unit: str) -> list[Row]:
        """Measure these cases, as rows of a workload."""
        rows = self.prepare(bench.scale)

        async def measure_once(case: Case) -> float:
            key, in_flight = case
            peer = PEERS[key]()
            path = await bench.site.copy(self.key, peer, lambda: rows.stored)
            await peer.open(str(path))
            works = rows.works()
            try:
                warm_up = await peer.run(_few(works, bench.scale), min(in_flight, 10), bench.scale.seconds / 10)
                outcome = await peer.run(works, in_flight, bench.scale.seconds)
            finally:
                await peer.close()
            require(outcome.done > 0, f"{peer.title} did nothing in {self.title}")
            if peer.family == "swarm":
                self.verify(bench, path, warm_up.done + outcome.done)
            bench.site.remove(path)
            return outcome.rate * self.operations_per_call

        return await bench.measure(workload, cases, measure_once, unit)


def _makes_sense(key: str, in_flight: int) -> bool:
    if key == "apsw-batches":
        return in_flight > 1  # a batch of one is the autocommit
    if key == "swarm-blocking":
        return in_flight <= 100  # a thread each
    return in_flight == 1 or not PEERS[key].blocks


def _few(works: Iterator[Work], scale: Scale) -> Iterator[Work]:
    """Return so many operations that a peer that is fast at them leaves enough for the measurement."""
    return islice(works, max(scale.operations // 20, 1))


async def run_once(peer: Peer, path: Path, works: Iterator[Work], in_flight: int, seconds: float) -> Outcome:
    """Open, run and close."""
    await peer.open(str(path))
    try:
        return await peer.run(works, in_flight, seconds)
    finally:
        await peer.close()
