"""The library's blocking form: so many threads, each with one operation at a time."""

import asyncio
import gc
import time
from collections.abc import Iterator
from threading import Event, Lock, Thread
from typing import ClassVar

from benchmarks.peers.peer import Outcome, SwarmFile, Work
from swarm_persistence import BlockingStorage, EventModel, TaskModel, open_storage


class SwarmBlocking(SwarmFile):
    """`open_storage`, called from as many threads as are in flight."""

    key: ClassVar[str] = "swarm-blocking"
    title: ClassVar[str] = "blocking form"
    about: ClassVar[str] = "`open_storage`, without an event loop: as many threads as operations in flight, up to 100"
    verbs: ClassVar[frozenset[str]] = frozenset({"insert", "get", "claim", "claim_next", "pending"})
    blocks: ClassVar[bool] = False

    def __init__(self) -> None:
        self.storage: BlockingStorage

    async def open(self, path: str) -> None:
        """Open the file."""
        self.storage = await asyncio.to_thread(open_storage, path)

    async def close(self) -> None:
        """Close the storage."""
        await asyncio.to_thread(self.storage.close)

    def insert(self, event: EventModel) -> None:
        """Store an event."""
        self.storage.store_event(event)

    def get(self, id: str) -> EventModel | None:
        """Read an event."""
        return self.storage.repository(EventModel).find_by_id(id)

    def claim(self, claim: tuple[str, str]) -> bool:
        """Claim a task by its id."""
        return self.storage.claim_task(*claim)

    def claim_next(self, agent_id: str) -> TaskModel | None:
        """Claim the most urgent task."""
        return self.storage.claim_next_task(agent_id)

    def pending(self, _: object) -> list[TaskModel]:
        """List the waiting tasks."""
        return self.storage.get_pending_tasks()

    async def run(
        self, works: Iterator[Work], in_flight: int, seconds: float, *, is_timed_each: bool = False
    ) -> Outcome:
        """Do operations, at least one a thread, until the time is up or there are no more."""
        return await asyncio.to_thread(self._run, works, in_flight, seconds)

    def _run(self, works: Iterator[Work], in_flight: int, seconds: float) -> Outcome:
        verbs = {verb: getattr(self, verb) for verb in self.verbs}
        gate = Lock()  # of the works, which one thread at a time takes
        counts: list[int] = []
        errors: list[BaseException] = []
        clock = time.perf_counter

        def call() -> None:
            done = 0
            start.wait()
            try:
                while True:
                    with gate:
                        work = next(works, None)
                    if work is None:
                        break
                    verbs[work.verb](work.argument)
                    done += 1
                    if clock() >= deadline:
                        break
            except BaseException as error:
                errors.append(error)
            counts.append(done)

        start = Event()
        threads = [Thread(target=call) for _ in range(in_flight)]
        for thread in threads:
            thread.start()
        gc.collect()
        started = clock()
        deadline = started + seconds
        start.set()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return Outcome(sum(counts), clock() - started, [], sum(counts))
