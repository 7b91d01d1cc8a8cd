"""Tampering with an open file: no write that was begun afterwards is acknowledged and lost, and no call hangs."""

import asyncio
import os
import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from swarm_persistence import SqliteStorage, Storage, StorageError
from torture.actor import Actor
from torture.caller import HangError
from torture.history import Answer, History, Key, Stored, moments
from torture.judge import BrokenPromiseError
from torture.stored import all_in

_ACTORS = 3
_ACTS = 10
_ACTS_AFTERWARDS = 5
_CONNECTION_TIMEOUT_SECONDS = 2.0
_TIMEOUT_SECONDS = 30.0

Way = Callable[[Path, random.Random], None]


def tamper(seed: int, directory: Path) -> None:
    """Do one thing to the files of an open storage, or two, while it is at work."""
    rng = random.Random(seed)
    ways = [WAYS[seed % len(WAYS)]]
    if rng.random() < 0.2:
        ways.append(rng.choice(WAYS))
    path = directory / "in here" / "swarm.db"
    path.parent.mkdir()
    try:
        asyncio.run(_tamper(path, ways, rng))
    except Exception as error:
        raise AssertionError(f"{[way.__name__ for way in ways]}: {error!r}") from error


async def _tamper(path: Path, ways: Sequence[Way], rng: random.Random) -> None:
    storage = await _opened(path)
    beside = await _opened(path) if rng.random() < 0.3 else storage
    actors = [
        Actor(f"actor-{number}", rng.choice((storage, beside)), random.Random(rng.random()), lambda: False)
        for number in range(_ACTORS)
    ]
    working = asyncio.gather(*(actor.run(rng.randint(1, _ACTS)) for actor in actors))
    if _QUIET & set(ways):
        await working
    for _ in range(rng.randint(0, 200)):
        await asyncio.sleep(0)
    for way in ways:
        with suppress(FileNotFoundError):  # what the first one has taken away
            way(path, rng)
    moment = next(moments)
    await working
    await asyncio.gather(*(actor.run(_ACTS_AFTERWARDS) for actor in actors))
    for each in {storage, beside}:
        await _read(each)
        try:
            await asyncio.wait_for(each.close(), _TIMEOUT_SECONDS)
        except TimeoutError:
            raise HangError("close has not come back") from None
    _require_kept([actor.history for actor in actors], moment, await _found(path))


async def _opened(path: Path) -> SqliteStorage:
    return await SqliteStorage.builder().connection_timeout(_CONNECTION_TIMEOUT_SECONDS).build(path)


async def _read(storage: Storage) -> None:
    for read in (storage.list_agents, storage.get_pending_tasks, storage.get_storage_size):
        try:
            await asyncio.wait_for(read(), _TIMEOUT_SECONDS)
        except StorageError:
            continue
        except TimeoutError:
            raise HangError("a read has not come back") from None


async def _found(path: Path) -> Stored:
    """Return what a program finds that opens the path; nothing, if it cannot be opened."""
    if not path.is_file():  # noqa: ASYNC240 - nothing else runs here any more
        return {}
    try:
        async with await SqliteStorage.open(path) as storage:
            return await all_in(storage)
    except StorageError:
        return {}


def _require_kept(histories: Sequence[History], moment: int, stored: Stored) -> None:
    for history in histories:
        seen: set[Key] = set()
        for write in reversed(history.writes):
            if write.submitted_at > moment and write.answer is Answer.STORED:
                for key, expected in write.outcomes[-1].items():
                    if key not in seen and not expected.fits(stored.get(key)):
                        raise BrokenPromiseError(f"{write} was begun after the tampering, and is not there")
            seen |= write.keys


def _deleted(path: Path, _rng: random.Random) -> None:
    path.unlink()


def _moved_away(path: Path, _rng: random.Random) -> None:
    path.rename(path.with_name("elsewhere.db"))


def _replaced_by_its_copy(path: Path, _rng: random.Random) -> None:
    shutil.copy(path, path.with_name("copy.db"))
    path.with_name("copy.db").replace(path)


def _replaced_by_garbage(path: Path, rng: random.Random) -> None:
    path.with_name("garbage").write_bytes(rng.randbytes(8192))
    path.with_name("garbage").replace(path)


def _log_deleted(path: Path, _rng: random.Random) -> None:
    _log(path).unlink()


def _log_replaced(path: Path, rng: random.Random) -> None:
    shutil.copy(_log(path), path.with_name("log"))
    if rng.random() < 0.5:
        path.with_name("log").write_bytes(rng.randbytes(5000))
    path.with_name("log").replace(_log(path))


def _truncated(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size + 1))


def _emptied(path: Path, _rng: random.Random) -> None:
    os.truncate(path, 0)


def _log_truncated(path: Path, rng: random.Random) -> None:
    os.truncate(_log(path), rng.randrange(_log(path).stat().st_size + 1))


def _log_emptied(path: Path, _rng: random.Random) -> None:
    os.truncate(_log(path), 0)


def _index_deleted(path: Path, _rng: random.Random) -> None:
    path.with_name("swarm.db-shm").unlink()


def _directory_renamed(path: Path, _rng: random.Random) -> None:
    path.parent.rename(path.parent.with_name("renamed"))


def _directory_deleted(path: Path, _rng: random.Random) -> None:
    shutil.rmtree(path.parent)


def _all_files_deleted(path: Path, _rng: random.Random) -> None:
    for file in path.parent.iterdir():
        file.unlink()


def _log(path: Path) -> Path:
    return path.with_name("swarm.db-wal")


WAYS: tuple[Way, ...] = (
    _deleted,
    _moved_away,
    _replaced_by_its_copy,
    _replaced_by_garbage,
    _log_deleted,
    _log_replaced,
    _truncated,
    _emptied,
    _log_truncated,
    _log_emptied,
    _index_deleted,
    _directory_renamed,
    _directory_deleted,
    _all_files_deleted,
)

_QUIET: frozenset[Way] = frozenset({_log_truncated})
"""What is done between commits only. A log that is cut while a commit is being written keeps that commit's last frame.

The frames that are lost in the middle of that commit are not noticed, and with them what is committed afterwards.
"""
