"""Power cuts: a simulated disk loses its power while the storage is at work; what it has left is opened and judged."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from swarm_persistence import SqliteStorage, Storage, StorageError, TaskModel
from swarm_persistence.engines.pools import Durability
from torture.actor import Actor
from torture.acts import Stored
from torture.checkpoints import checkpoints_every
from torture.disk import Disk
from torture.judge import require_all, require_prefix, require_same
from torture.stored import all_in, require_new_numbers, require_sound

_ACTORS = 4
_ACTS = 40
_CALLS_OF_OPENING = 150
_CALLS_OF_LIFE = 2_500
_CALLS_OF_RECOVERY = 12
_PAGES_BETWEEN_CHECKPOINTS = (4, 20, 1000)


def cut(seed: int, directory: Path) -> None:
    """Cut the power in one of the situations that a file meets; most often under load."""
    trials = (under_load, under_load, under_load, under_load_at_normal, in_first_opening, in_upgrade, in_upkeep)
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
    asyncio.run(_opening(rng, _live(directory, {}), directory, {}, cut_at=rng.randint(1, _CALLS_OF_OPENING)))


def in_upgrade(seed: int, directory: Path) -> None:
    """Cut it while an older file is brought up to date: it can be opened later, and nothing is missing."""
    rng = random.Random(seed)
    image, stored = _older_file(rng.choice((1, 2)))
    asyncio.run(_opening(rng, _live(directory, image), directory, stored, cut_at=rng.randint(1, 250)))


def in_upkeep(seed: int, directory: Path) -> None:
    """Cut it while the file is vacuumed and its log is checkpointed."""
    rng = random.Random(seed)
    image, stored = _file_with_holes()
    asyncio.run(_opening(rng, _live(directory, image), directory, stored, cut_at=rng.randint(1, 120), has_upkeep=True))


async def _under_load(
    rng: random.Random, directory: Path, durability: Durability, *, judged_as: Durability, dropped: float = 0.0
) -> None:
    live = _live(directory, {})
    disk = Disk(live, rng, cut_at=rng.randint(1, rng.choice((_CALLS_OF_OPENING, _CALLS_OF_LIFE))), dropped=dropped)
    actors: list[Actor] = []
    seen: dict[int, str] = {}
    with _mounted(disk, rng), suppress(StorageError):
        async with await SqliteStorage.open(live / "swarm.db", durability=durability) as storage:
            actors = [
                Actor(f"actor-{number}", storage, random.Random(rng.random()), lambda: disk.is_off, prunes=number == 0)
                for number in range(_ACTORS)
            ]
            await _work(storage, disk, actors, random.Random(rng.random()), seen)
            disk.cut()
    left = _left_by(disk, directory / "after")
    if judged_as == "full" and rng.random() < 0.3:
        left = await _recovered_in_vain(rng, left, directory / "after again")
    async with await SqliteStorage.open(left) as storage:
        stored = await all_in(storage)
        if judged_as == "full":
            require_all([actor.history for actor in actors], stored, refusals_hold=False)
            await require_new_numbers(storage, seen)
        else:
            require_prefix([actor.history for actor in actors], stored)
    require_sound(left)


async def _opening(
    rng: random.Random, live: Path, directory: Path, expected: Stored, *, cut_at: int, has_upkeep: bool = False
) -> None:
    disk = Disk(live, rng, cut_at=cut_at)
    with _mounted(disk, rng), suppress(StorageError):
        async with await SqliteStorage.open(live / "swarm.db") as storage:
            if has_upkeep:
                await storage.vacuum()
                await storage.checkpoint()
        disk.cut()
    left = _left_by(disk, directory / "after")
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
            return  # nobody is there any more to see it
        assert event.sequence is not None
        seen[event.sequence] = event.id


async def _recovered_in_vain(rng: random.Random, left: Path, directory: Path) -> Path:
    disk = Disk(left.parent, rng, cut_at=rng.randint(1, _CALLS_OF_RECOVERY))
    with _mounted(disk, rng):
        await (await SqliteStorage.open(left)).close()
        disk.cut()
    return _left_by(disk, directory)


def _live(directory: Path, image: dict[str, bytes]) -> Path:
    live = directory / "live"
    live.mkdir()
    for name, content in image.items():
        (live / name).write_bytes(content)
    return live


def _left_by(disk: Disk, directory: Path) -> Path:
    disk.cut()
    disk.restore_into(directory)
    return directory / "swarm.db"


@contextmanager
def _mounted(disk: Disk, rng: random.Random) -> Iterator[None]:
    with checkpoints_every(rng.choice(_PAGES_BETWEEN_CHECKPOINTS)), disk.mounted():
        yield


@cache
def _older_file(version: int) -> tuple[dict[str, bytes], Stored]:
    """Return a file of an older schema, and what is in it once it is brought up to date."""
    return asyncio.run(_made(version, deletes=False))


@cache
def _file_with_holes() -> tuple[dict[str, bytes], Stored]:
    """Return a file from which much was deleted, and what is left in it."""
    return asyncio.run(_made(None, deletes=True))


async def _made(version: int | None, *, deletes: bool) -> tuple[dict[str, bytes], Stored]:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "swarm.db"
        async with await SqliteStorage.open(path) as storage:
            actor = Actor("earlier", storage, random.Random(1), lambda: False)
            await actor.run(60)
            if deletes:
                tasks = storage.repository(TaskModel)
                for task in await tasks.find_all():
                    await tasks.delete(task.id)
            if version is not None:
                await storage.migrate_to(version)
        image = {"swarm.db": path.read_bytes()}
        async with await SqliteStorage.open(path) as storage:
            return image, await all_in(storage)
