"""A worker that may be killed at any moment: claims, works, fails, hangs, gives up; the log holds what it has done.

It ends when the other end of its pipe is closed, so that it never outlives its parent process. What it says of a claim
is written together with a verb that is refused once the claim is over: the log tells the truth.
"""

import asyncio
import gc
import os
import random
import threading
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from swarm_persistence import EventModel, LeaseLostError, Storage, TaskModel, init_storage

_LANES = 4
_WAIT_SECONDS = 1.0


class Worker:
    """One life of an agent."""

    def __init__(self, storage: Storage, name: str, incarnation: str, seed: str, lease: float) -> None:
        self._storage = storage
        self._name = name
        self._incarnation = incarnation
        self._random = random.Random(seed)
        self._lease = lease

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as lanes:
            for _ in range(_LANES):
                lanes.create_task(self._claim_and_work())
            lanes.create_task(self._release_what_others_left())

    async def _claim_and_work(self) -> None:
        while True:
            for task in await self._claim():
                try:
                    await self._work(task)
                except LeaseLostError:
                    await self._tell("lost", task)

    async def _claim(self) -> list[TaskModel]:
        if self._random.random() < 0.3:
            task = await self._storage.claim_next_task(self._name, lease=self._lease, wait=_WAIT_SECONDS)
            return [] if task is None else [task]
        limit = self._random.randint(2, 4)
        return await self._storage.claim_next_tasks(self._name, limit=limit, lease=self._lease, wait=_WAIT_SECONDS)

    async def _work(self, task: TaskModel) -> None:
        storage, chance = self._storage, self._random.random()
        await self._do_and_tell(lambda: storage.extend_lease(task, lease=self._lease), "started", task)
        if chance < 0.01:
            await asyncio.sleep(1.5 * self._lease)  # hangs, and believes all the same that the task is its own
        elif chance < 0.03:
            await asyncio.sleep(0.4 * self._lease)
            await storage.extend_lease(task, lease=self._lease)
            await asyncio.sleep(0.4 * self._lease)
        if 0.03 <= chance < 0.07:
            pause = self._random.choice([0.0, 0.05, 0.2])
            await self._do_and_tell(lambda: storage.fail_task(task, "bad luck", retry_in=pause), "failed", task)
        elif 0.07 <= chance < 0.1:
            await self._do_and_tell(lambda: storage.release_task(task), "released", task)
        else:
            result = {"claim": task.claim_count, "incarnation": self._incarnation}
            await self._do_and_tell(lambda: storage.complete_task(task, result), "completed", task)

    async def _do_and_tell(self, do: Callable[[], Awaitable[None]], word: str, task: TaskModel) -> None:
        """Do something and store an event that tells of it: both, or neither."""

        async def work() -> None:
            await do()
            await self._tell(word, task)

        # On a server, two transactions may wait for each other's rows: one of them is done again.
        await self._storage.run_transaction(work)

    async def _release_what_others_left(self) -> None:
        async def release() -> None:
            recovery = await self._storage.requeue_expired_tasks(heartbeat_timeout=None)
            for id in recovery.requeued:
                await self._storage.store_event(self._event("requeued", {"task": id}))

        while True:
            await self._storage.run_transaction(release)
            await asyncio.sleep(self._lease / 4)

    async def _tell(self, event_type: str, task: TaskModel) -> None:
        await self._storage.store_event(self._event(event_type, {"task": task.id, "claim": task.claim_count}))

    def _event(self, event_type: str, data: dict[str, object]) -> EventModel:
        return EventModel(event_type=event_type, agent_id=self._name, data={**data, "incarnation": self._incarnation})


class Birth(NamedTuple):
    """What a worker is given: its database, its names, and its chances."""

    url: str
    name: str
    incarnation: str
    seed: str
    lease_seconds: float


def live(birth: Birth, pipe: "Connection[Any, Any]", complaints: Path) -> None:
    """Work until the pipe ends. Warnings are errors, and what goes to the standard error is added to a file."""
    warnings.simplefilter("error")
    with complaints.open("ab") as file:
        os.dup2(file.fileno(), 2)
    asyncio.run(_live(birth, pipe))
    gc.collect()  # tells of what was left open, as the end of an interpreter would, which a forked process lacks


async def _live(birth: Birth, pipe: "Connection[Any, Any]") -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    def wait_for_the_end_of_the_pipe() -> None:
        with suppress(EOFError):
            pipe.recv()
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=wait_for_the_end_of_the_pipe, daemon=True).start()
    async with await init_storage(birth.url) as storage:
        working = asyncio.create_task(Worker(storage, *birth[1:]).run())
        ending = asyncio.create_task(over.wait())
        await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working  # raises what has ended it
        working.cancel()
        ending.cancel()
        await asyncio.gather(working, ending, return_exceptions=True)
