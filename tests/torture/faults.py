"""Faults of the disk under load: callers are told the truth, and the storage works again once they are over."""

import asyncio
import errno
import random
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from swarm_persistence import EventModel, SqliteStorage, StorageError, TaskModel
from swarm_persistence.models.identifiers import new_id
from torture.actor import Actor
from torture.caller import HangError
from torture.checkpoints import checkpoints_every
from torture.faulty_disk import FAULTS, FaultyDisk
from torture.history import History, Stored
from torture.judge import BrokenPromiseError, require_all
from torture.stored import all_in, require_sound

T = TypeVar("T")

_ACTORS = 3
_ACTS = 12
_ACTS_AFTERWARDS = 3
_ATTEMPTS = 3
_AFTERWARDS = "afterwards"
# SQLite goes on after a part and after EINTR, and would do so forever; and takes what never comes whole for the end
# of the file. It asks long for a lock that every other process gives back.
_TIMES: dict[int | None, tuple[float, ...]] = {None: (1, 1, 3), errno.EINTR: (1, 1, 3), errno.EAGAIN: (1, 3, 30)}
_TIMEOUT_SECONDS = 30.0
_CONNECTION_TIMEOUT_SECONDS = 2.0


def fault(seed: int, directory: Path) -> None:
    """Let the disk fail in one way, at one call, once or more often, or until it is mended."""
    rng = random.Random(seed)
    directory /= "disk"
    directory.mkdir()
    what = FAULTS[seed % len(FAULTS)]
    first = rng.randint(1, rng.choice((3, 30, 200)))
    times = rng.choice(_TIMES.get(what.error, (1, 1, 3, 30, float("inf"))))
    while not _has_failed(FaultyDisk(directory, what, first=first, times=times), rng):
        if first == 1:
            raise AssertionError(f"nothing has called {what}")
        first = (first + 1) // 3
        directory = directory.with_name(f"{directory.name} again")
        directory.mkdir()


def _has_failed(disk: FaultyDisk, rng: random.Random) -> bool:
    try:
        # An error of a VFS in Python reaches the caller even where SQLite goes on, as it does with its own checkpoints.
        pages = 0 if disk.fails_in_python else rng.choice((3, 20))
        with disk.mounted(), checkpoints_every(pages):
            asyncio.run(_work_on(disk, disk.directory / "swarm.db", rng))
    except Exception as error:
        raise AssertionError(f"{disk}: {error!r}") from error
    return disk.has_failed


async def _work_on(disk: FaultyDisk, path: Path, rng: random.Random) -> None:
    if not disk.fails_at_close:
        # Opened twice, so that what happens at the end, and to a file that is there already, fails as well.
        await _in_time("close", (await _opened(disk, path)).close())
    storage = await _opened(disk, path)
    try:
        histories = await _trouble(storage, disk, rng)
    finally:
        await _in_time("close", storage.close())
        disk.mend()
    await _judge(path, histories)


async def _trouble(storage: SqliteStorage, disk: FaultyDisk, rng: random.Random) -> list[History]:
    actors = [
        Actor(f"actor-{number}", storage, random.Random(rng.random()), lambda: False, prunes=number == 0)
        for number in range(_ACTORS)
    ]
    histories = [actor.history for actor in actors]
    await _run(storage, actors, _ACTS)
    await _judge(_as_after_a_kill(disk.directory), histories)
    disk.mend()
    await _require_working(storage)
    writes = [len(history.writes) for history in histories]
    await _run(storage, actors, _ACTS_AFTERWARDS)
    for history, count in zip(histories, writes, strict=True):
        for write in history.writes[count:]:
            if write.error is not None:
                raise BrokenPromiseError(f"the disk is in order again, and yet: {write}")
    require_all(histories, await _all_of_actors(storage), refusals_hold=True)
    return histories


async def _judge(path: Path, histories: list[History]) -> None:
    async with await SqliteStorage.open(path) as storage:
        require_all(histories, await _all_of_actors(storage), refusals_hold=True)
    require_sound(path)


def _as_after_a_kill(directory: Path) -> Path:
    """Return a copy of what the next process would find if this one were killed now."""
    copy = directory.with_name(f"{directory.name} after a kill")
    shutil.copytree(directory, copy, ignore=shutil.ignore_patterns("*-shm"))
    return copy / "swarm.db"


async def _opened(disk: FaultyDisk, path: Path) -> SqliteStorage:
    builder = SqliteStorage.builder().connection_timeout(_CONNECTION_TIMEOUT_SECONDS).max_connections(3)
    with suppress(StorageError):
        return await _in_time("open", builder.build(path))
    disk.mend()
    return await _in_time("open", builder.build(path))


async def _run(storage: SqliteStorage, actors: list[Actor], writes: int) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_look_after(storage))
        for actor in actors:
            group.create_task(actor.run(writes))


async def _look_after(storage: SqliteStorage) -> None:
    for upkeep in (storage.checkpoint, storage.vacuum, storage.checkpoint):
        await asyncio.sleep(0.005)
        with suppress(StorageError):
            await _in_time("upkeep", upkeep())


async def _require_working(storage: SqliteStorage) -> None:
    """Require every way of working with the storage to work; each may fail once on a connection that has failed."""

    async def transact() -> None:
        async with storage.transaction():
            await storage.store_task(TaskModel(id=new_id() + _AFTERWARDS, task_type=_AFTERWARDS))

    async def claim() -> None:
        if await storage.claim_next_task("worker", task_types=[_AFTERWARDS]) is None:
            raise BrokenPromiseError("a task that was stored is not found")

    await _at_last(
        "store_event", lambda: storage.store_event(EventModel(id=new_id() + _AFTERWARDS, event_type=_AFTERWARDS))
    )
    await _at_last("a transaction", transact)
    await _at_last("claim_next_task", claim)
    await _at_last("list_agents", storage.list_agents)


async def _all_of_actors(storage: SqliteStorage) -> Stored:
    return {key: record for key, record in (await all_in(storage)).items() if not key[1].endswith(_AFTERWARDS)}


async def _at_last(name: str, call: Callable[[], Awaitable[object]]) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            await _in_time(name, call())
        except StorageError as error:
            if attempt == _ATTEMPTS - 1:
                raise BrokenPromiseError(f"the disk is in order again, and yet {name} raises {error!r}") from error
        else:
            return


async def _in_time(name: str, call: Awaitable[T]) -> T:
    try:
        return await asyncio.wait_for(call, _TIMEOUT_SECONDS)
    except TimeoutError:
        raise HangError(f"{name} has not come back") from None
