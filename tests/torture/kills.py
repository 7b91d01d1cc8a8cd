"""SIGKILL under load: three processes work on one file, and one after the other is killed, whatever it is doing."""

import asyncio
import random
import time
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from swarm_persistence import LeaseLostError, SqliteStorage, Storage, TaskModel, TaskStatus
from torture.actor import Actor
from torture.caller import HangError
from torture.history import History, RecordedWrite
from torture.judge import BrokenPromiseError, require_all
from torture.stored import all_in, require_sound

KILLS = 10
"""How many there are in one trial."""

_PROCESSES = 3
_SHARED = "shared"
_SHARED_TASKS = 150
_LEASE_SECONDS = 0.2
_TIMEOUT_SECONDS = 60.0

_context = get_context("forkserver")
_context.set_forkserver_preload(["torture.kills"])


def kill(seed: int, directory: Path) -> None:
    """Kill processes, and judge what they have left by what they had been told, which they tell through a pipe."""
    rng = random.Random(seed)
    path = directory / "swarm.db"
    asyncio.run(_prepare(path))
    fleet = _Fleet(path, rng)
    try:
        for _ in range(KILLS):
            fleet.listen(rng.randint(1, 60))
            fleet.replace_one()
    finally:
        fleet.kill_all()
    asyncio.run(_judge(path, fleet))
    require_sound(path)


class _Worker:
    """What the parent knows of a process: what it has told."""

    def __init__(self, path: Path, name: str, seed: int, *, prunes: bool) -> None:
        self.history = History(name)
        self.completed: list[str] = []
        self.pipe, pipe = _context.Pipe(duplex=False)
        self._process: BaseProcess = _context.Process(target=_live, args=(str(path), name, seed, prunes, pipe))
        self._process.start()
        pipe.close()

    def hear(self) -> None:
        """Take one message; raises `EOFError` or `OSError` after the last one, which may be cut off."""
        message = self.pipe.recv()
        if isinstance(message, str):
            self.completed.append(message)
            return
        number, write = message
        self.history.writes[number:] = [write]

    def kill(self) -> None:
        """Kill it, and take what it had told before."""
        self._process.kill()
        with suppress(EOFError, OSError):
            while True:
                self.hear()
        self.pipe.close()
        self._process.join()
        if self._process.exitcode != -9:
            raise BrokenPromiseError(f"{self.history.name} has ended by itself, with {self._process.exitcode}")


class _Fleet:
    def __init__(self, path: Path, rng: random.Random) -> None:
        self.dead: list[_Worker] = []
        self._path = path
        self._rng = rng
        # What one of them prunes may be what another one has stored: so one of them does, and only in its first life.
        self._alive = [self._start(prunes=number == 0) for number in range(_PROCESSES)]

    def listen(self, messages: int) -> None:
        """Take so many messages, from whichever worker has any."""
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while messages > 0:
            ready = wait([worker.pipe for worker in self._alive], timeout=deadline - time.monotonic())
            if not ready:
                raise HangError("no worker gets on")
            for worker in self._alive:
                if worker.pipe in ready:
                    worker.hear()
                    messages -= 1

    def replace_one(self) -> None:
        """Kill a worker, and start another one."""
        number = self._rng.randrange(_PROCESSES)
        self._alive[number].kill()
        self.dead.append(self._alive[number])
        self._alive[number] = self._start()

    def kill_all(self) -> None:
        """Kill all that are alive."""
        while self._alive:
            worker = self._alive.pop()
            self.dead.append(worker)
            worker.kill()

    def _start(self, *, prunes: bool = False) -> _Worker:
        seed = self._rng.getrandbits(32)
        return _Worker(self._path, f"worker-{seed:x}", seed, prunes=prunes)


async def _prepare(path: Path) -> None:
    async with await SqliteStorage.open(path) as storage:
        await storage.store_tasks([TaskModel.new(_SHARED, None) for _ in range(_SHARED_TASKS)])


async def _judge(path: Path, fleet: _Fleet) -> None:
    async with await SqliteStorage.open(path) as storage:
        everything = await all_in(storage)
        shared = {r.id: r for r in everything.values() if isinstance(r, TaskModel) and r.task_type == _SHARED}
        stored = {key: record for key, record in everything.items() if record.id not in shared}
        require_all([worker.history for worker in fleet.dead], stored, refusals_hold=True)
        done: dict[str, str] = {}
        for worker in fleet.dead:
            for id in worker.completed:
                if id in done:
                    raise BrokenPromiseError(f"{done[id]} and {worker.history.name} have both completed {id}")
                done[id] = worker.history.name
                if (shared[id].status, shared[id].result) != (TaskStatus.COMPLETED, worker.history.name):
                    raise BrokenPromiseError(f"{worker.history.name} has completed {shared[id]}")
        await _require_leases_back(storage)


async def _require_leases_back(storage: Storage) -> None:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    unfinished = (TaskStatus.ASSIGNED, TaskStatus.PENDING)
    while time.monotonic() < deadline:
        await storage.requeue_expired_tasks()
        while (task := await storage.claim_next_task("heir", task_types=[_SHARED])) is not None:
            await storage.complete_task(task)
        tasks = await storage.repository(TaskModel).find_all()
        if not [task for task in tasks if task.task_type == _SHARED and task.status in unfinished]:
            return
        await asyncio.sleep(_LEASE_SECONDS / 4)
    raise BrokenPromiseError("a task of a killed process has not come back")


def _live(path: str, name: str, seed: int, prunes: bool, pipe: Connection) -> None:
    asyncio.run(_work(path, name, random.Random(seed), prunes, pipe))


async def _work(path: str, name: str, rng: random.Random, prunes: bool, pipe: Connection) -> None:
    async with await SqliteStorage.open(path) as storage:

        def tell(number: int, write: RecordedWrite) -> None:
            pipe.send((number, write))

        actor = Actor(name, storage, rng, lambda: False, prunes=prunes, tell=tell)
        while True:
            await actor.run(rng.randint(1, 5))
            await _share(storage, name, pipe)


async def _share(storage: Storage, name: str, pipe: Connection) -> None:
    task = await storage.claim_next_task(name, task_types=[_SHARED], lease=_LEASE_SECONDS)
    if task is None:
        await storage.requeue_expired_tasks()
        return
    try:
        await storage.complete_task(task, name)
    except LeaseLostError:
        return
    pipe.send(task.id)
