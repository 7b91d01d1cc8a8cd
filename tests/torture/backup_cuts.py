"""Power cuts while a database is backed up, and while a backup is brought back."""

import asyncio
import random
from contextlib import suppress
from pathlib import Path

from swarm_persistence import EventModel, SqliteStorage, StorageError
from swarm_persistence.transfer.restoring import restore
from torture.actor import Actor
from torture.disk import Disk
from torture.history import Stored
from torture.images import plain_file
from torture.judge import BrokenPromiseError, require_all, require_prefix, require_same
from torture.mounting import left_by, mounted, new_directory
from torture.stored import all_in, require_new_numbers, require_sound

_CALLS_OF_BACKUP = 260
_CALLS_OF_RESTORE = 340
_ACTS = 6

File = tuple[dict[str, bytes], Stored]


def in_backup(seed: int, directory: Path) -> None:
    """Cut it while a database is backed up beside a writer: the backup is whole or missing; there, if told."""
    asyncio.run(_in_backup(random.Random(seed), directory, plain_file(1)))


def in_restore(seed: int, directory: Path) -> None:
    """Cut it while a backup is brought back: the target holds that or what it held before."""
    asyncio.run(_in_restore(random.Random(seed), directory, plain_file(1), plain_file(2)))


async def _in_backup(rng: random.Random, directory: Path, file: File) -> None:
    image, earlier = file
    live = new_directory(directory, image)
    disk = Disk(live, rng, cut_at=rng.randint(1, _CALLS_OF_BACKUP))
    actor = None
    is_told = False
    with mounted(disk, rng), suppress(StorageError):
        async with await SqliteStorage.open(live / "swarm.db") as storage:
            actor = Actor("writer", storage, random.Random(rng.random()), lambda: disk.is_off)
            writing = asyncio.create_task(actor.run(_ACTS))
            try:
                await storage.backup(live / "backup.db", verify=rng.random() < 0.5)
                is_told = not disk.is_off
            finally:
                await writing
        disk.cut()
    left = left_by(disk, directory / "after")
    histories = [] if actor is None else [actor.history]
    stored = await _all_in(left)
    require_all(histories, _without(earlier, stored), refusals_hold=False)
    require_same(earlier, {key: record for key, record in stored.items() if key in earlier})
    backup = left.with_name("backup.db")
    if backup.exists():
        require_sound(backup)
        found = await _all_in(backup)
        require_same(earlier, {key: record for key, record in found.items() if key in earlier})
        require_prefix(histories, _without(earlier, found))
    elif is_told:
        raise BrokenPromiseError("the backup was told to be there, and is not")


async def _in_restore(rng: random.Random, directory: Path, backup: File, overwritten: File) -> None:
    image, wanted = backup
    other, before = overwritten
    target = rng.choice(({}, other, other))
    live = new_directory(directory, {"backup.db": image["swarm.db"], **target})
    disk = Disk(live, rng, cut_at=rng.randint(1, _CALLS_OF_RESTORE))
    is_told = False
    with mounted(disk, rng), suppress(StorageError):
        await restore(live / "backup.db", live / "swarm.db", overwrite=bool(target))
        is_told = not disk.is_off
        disk.cut()
    left = left_by(disk, directory / "after")
    if not left.exists() and not target and not is_told:
        return
    stored = await _all_in(left)
    if is_told or stored == wanted:
        require_same(wanted, stored)
    else:
        require_same(before if target else wanted, stored)
    if target and stored == wanted:
        events = [record for found in (before, wanted) for record in found.values() if isinstance(record, EventModel)]
        seen = {event.sequence or 0: event.id for event in events}
        async with await SqliteStorage.open(left) as storage:
            await require_new_numbers(storage, seen)
    require_sound(left)


async def _all_in(path: Path) -> Stored:
    async with await SqliteStorage.open(path) as storage:
        return await all_in(storage)


def _without(earlier: Stored, stored: Stored) -> Stored:
    return {key: record for key, record in stored.items() if key not in earlier}
