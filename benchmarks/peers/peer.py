"""What the suite asks of a peer: open a file, and run operations with so many in flight."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from typing import Any, ClassVar, NamedTuple, Protocol

from swarm_persistence import Model
from swarm_persistence.backends.sqlite import SqliteStorage


class Work(NamedTuple):
    """One operation: a verb of the peer, and what it is called with."""

    verb: str
    argument: Any


class Outcome(NamedTuple):
    """What a run did."""

    done: int
    seconds: float
    latencies: list[float]
    """Seconds that each operation took; empty unless asked for."""
    in_time: int
    """Operations that were done when the time was up; the others were in flight then."""

    @property
    def rate(self) -> float:
        """Return the operations per second."""
        return self.done / self.seconds


class Peer(Protocol):
    """A way to store a swarm. Each verb of `verbs` is a method of this name with one argument.

    `insert` stores an event, `get` reads one by its id, `latest` lists an agent's newest 50; `claim` takes a pair of
    task and agent, and `claim_next` an agent; `pending` lists the waiting tasks; `store_many` stores records and
    `write_ten` ten events, each as one transaction; `aggregate` computes average, count, minimum, maximum and sum per
    agent between two times.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[str]
    verbs: ClassVar[frozenset[str]]
    blocks: ClassVar[bool]
    """Whether a call blocks the loop, so that more in flight means nothing."""
    family: ClassVar[str]
    """Peers of one family read the same file."""

    async def fill(self, path: str, records: Sequence[Model]) -> None:
        """Make a file with these records. Takes no part in any measurement."""
        ...

    async def open(self, path: str) -> None:
        """Open a file that `fill` made."""
        ...

    async def close(self) -> None:
        """Let go of the file."""
        ...

    async def run(
        self, works: Iterator[Work], in_flight: int, seconds: float, *, is_timed_each: bool = False
    ) -> Outcome:
        """Do operations, at least one a caller, until the time is up or there are no more."""
        ...


class SwarmFile:
    """The part of a peer that works on the library's own table and indexes."""

    family: ClassVar[str] = "swarm"

    async def fill(self, path: str, records: Sequence[Model]) -> None:
        """Make the file with the library, so that every peer of the family has the same schema and rows."""
        async with await SqliteStorage.open(path) as storage:
            for start in range(0, len(records), 10_000):
                await storage.store_many(records[start : start + 10_000])
            await storage.checkpoint()


class Concurrent:
    """The part of a peer whose verbs are awaited: so many tasks, each with one operation at a time."""

    blocks: ClassVar[bool] = False

    async def run(
        self, works: Iterator[Work], in_flight: int, seconds: float, *, is_timed_each: bool = False
    ) -> Outcome:
        """Do operations, at least one a caller, until the time is up or there are no more."""
        verbs: dict[str, Callable[[Any], Awaitable[object]]] = {
            verb: getattr(self, verb)
            for verb in self.verbs  # type: ignore[attr-defined]
        }
        gate = asyncio.Event()
        clock = time.perf_counter
        deadline = 0.0
        counts: list[int] = []
        latencies: list[float] = []
        late = 0

        async def caller() -> None:
            nonlocal late
            done = 0
            await gate.wait()
            for verb, argument in works:
                begun = clock()
                await verbs[verb](argument)
                done += 1
                ended = clock()
                if is_timed_each:
                    latencies.append(ended - begun)
                if ended >= deadline:
                    late += 1
                    break
            counts.append(done)

        callers = [asyncio.ensure_future(caller()) for _ in range(in_flight)]
        await asyncio.sleep(0)
        gc.collect()
        started = clock()
        deadline = started + seconds
        gate.set()
        await asyncio.gather(*callers)
        return Outcome(sum(counts), clock() - started, latencies, sum(counts) - late)


class Blocking:
    """The part of a peer whose verbs block: one operation after the other, or batches of as many as are in flight."""

    blocks: ClassVar[bool] = True

    def batch(self, works: Sequence[Work]) -> None:
        """Do as many operations as are in flight."""
        for verb, argument in works:
            getattr(self, verb)(argument)

    async def run(
        self, works: Iterator[Work], in_flight: int, seconds: float, *, is_timed_each: bool = False
    ) -> Outcome:
        """Do operations, at least one a caller, until the time is up or there are no more."""
        gc.collect()
        clock = time.perf_counter
        latencies: list[float] = []
        done = 0
        started = clock()
        deadline = started + seconds
        while chunk := list(islice(works, in_flight)):
            begun = clock()
            self.batch(chunk)
            done += len(chunk)
            ended = clock()
            if is_timed_each:
                latencies += [ended - begun] * len(chunk)
            if ended >= deadline:
                break
        return Outcome(done, clock() - started, latencies, done)
