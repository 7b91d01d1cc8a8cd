"""Power cuts: a simulated disk loses its power while the storage is at work; what it has left is opened and judged."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from swarm_persistence import SqliteStorage, Storage, StorageError, TaskModel
from swarm_persistence.engines.pools import Durability
from torture.actor import Actor
from torture.backup_cuts import in_backup, in_restore
from torture.disk import Disk
from torture.history import Stored
from torture.images import file_with_holes, older_file
from torture.judge import require_all, require_prefix, require_same
from torture.mounting import left_by, mounted, new_directory
from torture.stored import all_in, require_new_numbers, require_sound

_ACTORS = 4
_ACTS = 40
_CALLS_OF_OPENING = 150
_CALLS_OF_LIFE = 2_500
_CALLS_OF_RECOVERY = 12


def cut(seed: int, directory: Path) -> None:
    """Cut the power in one of the situations that a file meets; most often under load."""
    trials = (
        under_load,
        under_load,
        under_load,
        under_load_at_normal,
        in_first_opening,
        in_upgrade,
        in_upkeep,
        in_backup,
        in_restore,
    )
    trials[seed % len(trials)](seed, directory)


def under_load(seed: int, directory: Path, *, dropped: float = 0.0) -> None:
    """Cut it while actors write, and perhaps again while the next opening recovers the file."""
    asyncio.run(_under_load(random.Random(seed), directory, "full", judged_as="full", dropped=dropped))


def under_load_at_normal(seed: int, directory: Path, *, judged_as: Durability = "normal") -> None:
    """Cut it while actors write with `durability="normal"`."""
    asyncio.run(_under_load(random.Random(seed), directory, "normal", judged_as=judged_as))


def in_first_opening(seed: int, directory: Path) -> None:
    """Cut it while a new file is set up: it can be opened later, and used."""
    rng = random.Random(seed)
    asyncio.run(_opening(rng, new_directory(directory, {}), directory, {}, cut_at=rng.randint(1, _CALLS_OF_OPENING)))


def in_upgrade(seed: int, directory: Path) -> None:
    """Cut it while an older file is brought up to date: it can be opened later, and nothing is missing."""
    rng = random.Random(seed)
    image, stored = older_file(rng.choice((1, 2)))
    asyncio.run(_opening(rng, new_directory(directory, image), directory, stored, cut_at=rng.randint(1, 250)))


def in_upkeep(seed: int, directory: Path) -> None:
    """Cut it while the file is vacuumed and its log is checkpointed."""
    rng = random.Random(seed)
    image, stored = file_with_holes()
    asyncio.run(
        _opening(rng, new_directory(directory, image), directory, stored, cut_at=rng.randint(1, 120), has_upkeep=True)
    )


async def _under_load(
    rng: random.Random, directory: Path, durability: Durability, *, judged_as: Durability, dropped: float = 0.0
) -> None:
    live = new_directory(directory, {})
    disk = Disk(live, rng, cut_at=rng.randint(1, rng.choice((_CALLS_OF_OPENING, _CALLS_OF_LIFE))), dropped=dropped)
    actors: list[Actor] = []
    seen: dict[int, str] = {}
    with mounted(disk, rng), suppress(StorageError):
        async with await SqliteStorage.open(live / "swarm.db", durability=durability) as storage:
            actors = [
                Actor(f"actor-{number}", storage, random.Random(rng.random()), lambda: disk.is_off, prunes=number == 0)
                for number in range(_ACTORS)
            ]
            await _work(storage, disk, actors, random.Random(rng.random()), seen)
            disk.cut()
    left = left_by(disk, directory / "after")
    if judged_as == "full" and rng.random() < 0.3:
        left = await _recovered_in_vain(rng, left, directory / "after again")
    async with await SqliteStorage.open(left) as storage:
        stored = await all_in(storage)
        if judged_as == "full":
            require_all([actor.history for actor in actors], stored, refusals_hold=False)
        else:
            require_prefix([actor.history for actor in actors], stored)
        await require_new_numbers(storage, seen)
    require_sound(left)


async def _opening(
    rng: random.Random, live: Path, directory: Path, expected: Stored, *, cut_at: int, has_upkeep: bool = False
) -> None:
    disk = Disk(live, rng, cut_at=cut_at)
    with mounted(disk, rng), suppress(StorageError):
        async with await SqliteStorage.open(live / "swarm.db") as storage:
            if has_upkeep:
                await storage.vacuum()
                await storage.checkpoint()
        disk.cut()
    left = left_by(disk, directory / "after")
    async with await SqliteStorage.open(left) as storage:
        require_same(expected, await all_in(storage))
        await storage.store_task(TaskModel.new("after the cut", None))
        assert await storage.claim_next_task("worker", task_types=["after the cut"]) is not None
    require_sound(left)


async def _work(
    storage: Storage, disk: Disk, actors: Sequence[Actor], rng: random.Random, seen: dict[int, str]
) -> None:
    beside = [asyncio.create_task(_look_after(storage, disk, rng)), asyncio.create_task(_watch(storage, disk, seen))]
    try:
        async with asyncio.TaskGroup() as group:
            for actor in actors:
                group.create_task(actor.run(_ACTS))
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


async def _look_after(storage: Storage, disk: Disk, rng: random.Random) -> None:
    while True:
        start = disk.calls
        while disk.calls < start + 100:  # noqa: ASYNC110 - the disk's calls come from threads
            await asyncio.sleep(0.001)
        await rng.choice((storage.vacuum, storage.checkpoint))()


async def _watch(storage: Storage, disk: Disk, seen: dict[int, str]) -> None:
    async for event in storage.watch_events():
        if disk.is_off:
            return  # the caller has gone
        assert event.sequence is not None
        seen[event.sequence] = event.id


async def _recovered_in_vain(rng: random.Random, left: Path, directory: Path) -> Path:
    disk = Disk(left.parent, rng, cut_at=rng.randint(1, _CALLS_OF_RECOVERY))
    with mounted(disk, rng):
        await (await SqliteStorage.open(left)).close()
        disk.cut()
    return left_by(disk, directory)
