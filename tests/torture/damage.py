"""Damaged files: whatever stands in them, no call hangs or raises a foreign error, and what is sound is of use."""

import asyncio
import contextlib
import io
import random
import shutil
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import apsw

from swarm_persistence import EventModel, SqliteStorage, Storage, StorageError, TaskModel, TaskStatus
from swarm_persistence.cli.main import main
from swarm_persistence_conformance.records import MODELS
from torture.actor import Actor
from torture.caller import ForeignError, HangError
from torture.judge import BrokenPromiseError
from torture.stored import require_intact

_PAGE_BYTES = 4096
_TIMEOUT_SECONDS = 60.0
_CLAIMS = 20

Image = dict[str, bytes]

T = TypeVar("T")


def damage(seed: int, directory: Path) -> None:
    """Damage a file, or one beside it, and do everything with it that there is."""
    rng = random.Random(seed)
    path = directory / "swarm.db"
    if seed % 5 == 0:
        _with_damaged_texts(rng, path)
        return
    image = dict(rng.choice((at_rest, with_log, with_hot_journal))())
    told = [_damaged(rng, image) for _ in range(rng.choice((1, 1, 1, 2, 5)))]
    write(path, image)
    try:
        _do_everything(path)
    except Exception as error:
        raise AssertionError(f"{told}: {error!r}") from error


def _do_everything(path: Path) -> None:
    before = path.parent / "before"
    _copy(path, before)
    for examination in (["stats"], ["doctor"], ["doctor", "--deep"]):
        run_command([*examination, str(path)])
    asyncio.run(_use(path))
    for number, source in enumerate((before / path.name, path)):
        for command in (["recover"], ["backup", "--verify"], ["copy"]):
            target = path.parent / f"{command[0]}-{number}.db"
            if run_command([*command, str(source), str(target)]) == 0:
                require_intact(target)


def run_command(arguments: list[str]) -> int:
    """Run a command as the shell does, and return its exit code."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(arguments)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except Exception as error:
        raise ForeignError(f"{arguments[0]} raised {error!r}") from error
    if "Traceback" in said.getvalue():
        raise ForeignError(f"{arguments[0]} said {said.getvalue()}")
    return code


async def _use(path: Path) -> None:
    try:
        storage = await _in_time("open", lambda: SqliteStorage.open(path))
    except StorageError:
        return
    try:
        for name, call in _calls(storage):
            with contextlib.suppress(StorageError):
                await _in_time(name, call)
    finally:
        await _in_time("close", storage.close)


def _calls(storage: Storage) -> list[tuple[str, Callable[[], Awaitable[object]]]]:
    async def claim_all() -> None:
        for _ in range(_CLAIMS):
            task = await storage.claim_next_task("worker")
            if task is None:
                return
            await storage.complete_task(task)

    async def watch() -> None:
        async with contextlib.aclosing(storage.watch_tasks()) as tasks:
            await asyncio.wait_for(anext(tasks), 0.05)

    async def watch_a_moment() -> None:
        with contextlib.suppress(TimeoutError, StopAsyncIteration):
            await watch()

    async def transact() -> None:
        async with storage.transaction():
            await storage.store_event(EventModel(event_type="in a transaction"))
            await storage.get_pending_tasks()

    reads: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        (f"find_all of {model.__name__}", storage.repository(model).find_all) for model in MODELS
    ]
    return [
        *reads,
        ("claims", claim_all),
        ("watch_tasks", watch_a_moment),
        ("a transaction", transact),
        ("store_task", lambda: storage.store_task(TaskModel.new("new", None))),
        ("store_event", lambda: storage.store_event(EventModel(event_type="new"))),
        ("get_ready_tasks", storage.get_ready_tasks),
        ("get_blocked_tasks", storage.get_blocked_tasks),
        ("get_unread_messages", lambda: storage.get_unread_messages("earlier")),
        ("requeue_expired_tasks", storage.requeue_expired_tasks),
        ("prune", lambda: storage.prune(timedelta(0))),
        ("checkpoint", storage.checkpoint),
        ("vacuum", storage.vacuum),
        ("get_storage_size", storage.get_storage_size),
        ("migration_status", storage.migration_status),
    ]


async def _in_time(name: str, call: Callable[[], Awaitable[T]]) -> T:
    try:
        return await asyncio.wait_for(call(), _TIMEOUT_SECONDS)
    except StorageError:
        raise
    except TimeoutError:
        raise HangError(f"{name} has not come back") from None
    except Exception as error:
        raise ForeignError(f"{name} raised {error!r}") from error


def _with_damaged_texts(rng: random.Random, path: Path) -> None:
    """Put bytes into texts that are not UTF-8: all other tasks are done."""
    write(path, at_rest())
    asyncio.run(_store_sound_tasks(path))
    connection = apsw.Connection(str(path))
    ids = [str(id) for (id,) in connection.execute("SELECT id FROM tasks WHERE task_type = 'sound'").fetchall()]
    damaged = set(rng.sample(ids, k=rng.randint(1, 5)))
    column = rng.choice(("payload", "task_type", "dependencies", "error", "status", "assigned_to"))
    for id in damaged:
        connection.execute(f"UPDATE tasks SET {column} = CAST(x'61ff62' AS TEXT) WHERE id = ?", (id,)).fetchall()
    connection.close()
    asyncio.run(_require_done(path, set(ids) - damaged))
    _do_everything(path)


async def _store_sound_tasks(path: Path) -> None:
    async with await SqliteStorage.open(path) as storage:
        await storage.store_tasks([TaskModel.new("sound", number) for number in range(15)])


async def _require_done(path: Path, ids: set[str]) -> None:
    """Require that workers get all of these tasks."""
    async with await SqliteStorage.open(path) as storage:
        done = set()
        with contextlib.suppress(StorageError):  # at last, only what cannot be read is left
            while (task := await _in_time("claim_next_task", lambda: storage.claim_next_task("worker"))) is not None:
                await storage.complete_task(task)
                done.add(task.id)
        if not ids <= done:
            raise BrokenPromiseError(f"{len(ids - done)} of {len(ids)} sound tasks were not done")
        for id in ids:
            task = await storage.get_task(id)
            assert task is not None
            assert task.status is TaskStatus.COMPLETED


def _damaged(rng: random.Random, image: Image) -> str:
    """Damage one of the files, and tell how."""
    if not image:
        return "nothing is left"
    name = rng.choice(sorted(image))
    kind = rng.choice((_random_bytes, _zeroed_page, _truncated, _swapped_pages, _flipped_bits, _lengthened, _emptied))
    if rng.random() < 0.03 or not image[name]:
        del image[name]
        return f"{name}: deleted"
    image[name] = kind(rng, image[name])
    return f"{name}: {kind.__name__}"


def _random_bytes(rng: random.Random, content: bytes) -> bytes:
    place = rng.randrange(rng.choice((100, len(content))))
    return _replaced(content, place, rng.randbytes(rng.choice((1, 8, 100, _PAGE_BYTES))))


def _zeroed_page(rng: random.Random, content: bytes) -> bytes:
    return _replaced(content, _page(rng, content), bytes(_PAGE_BYTES))


def _truncated(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.choice((rng.randrange(len(content)), _page(rng, content)))]


def _swapped_pages(rng: random.Random, content: bytes) -> bytes:
    first, second = _page(rng, content), _page(rng, content)
    swapped = _replaced(content, first, content[second : second + _PAGE_BYTES])
    return _replaced(swapped, second, content[first : first + _PAGE_BYTES])


def _flipped_bits(rng: random.Random, content: bytes) -> bytes:
    flipped = bytearray(content)
    for _ in range(rng.choice((1, 3, 30))):
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def _lengthened(rng: random.Random, content: bytes) -> bytes:
    return content + rng.randbytes(rng.choice((1, 512, _PAGE_BYTES, 5 * _PAGE_BYTES)))


def _emptied(_rng: random.Random, _content: bytes) -> bytes:
    return b""


def _page(rng: random.Random, content: bytes) -> int:
    return _PAGE_BYTES * rng.randrange(max(1, len(content) // _PAGE_BYTES))


def _replaced(content: bytes, place: int, part: bytes) -> bytes:
    return (content[:place] + part + content[place + len(part) :])[: max(len(content), place)]


@cache
def at_rest() -> Image:
    """Return a closed file."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "swarm.db"
        asyncio.run(_fill(path, None))
        return _read(path)


@cache
def with_log() -> Image:
    """Return a file whose log holds most of it, as a killed process leaves it."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "swarm.db"
        copy = Path(directory) / "copy"
        asyncio.run(_fill(path, copy))
        return _read(copy / path.name)


@cache
def with_hot_journal() -> Image:
    """Return a file that a killed process has left in the midst of a write, in rollback mode."""
    with TemporaryDirectory() as directory:
        path, copy = Path(directory) / "swarm.db", Path(directory) / "copy"
        write(path, at_rest())
        connection = apsw.Connection(str(path))
        for statement in (
            "PRAGMA journal_mode = DELETE",
            "PRAGMA cache_size = 2",  # so that it spills pages into the file before the end
            "BEGIN",
            "UPDATE tasks SET payload = '\"half\"', updated_at = updated_at + 1",
            "UPDATE events SET data = '\"half\"'",
        ):
            connection.execute(statement).fetchall()
        _copy(path, copy)
        connection.close()
        image = _read(copy / path.name)
        assert image.get("swarm.db-journal")
        return image


async def _fill(path: Path, copy: Path | None) -> None:
    async with await SqliteStorage.open(path) as storage:
        await Actor("earlier", storage, random.Random(1), lambda: False).run(150)
        if copy is not None:
            _copy(path, copy)


def _copy(path: Path, directory: Path) -> None:
    directory.mkdir()
    for file in path.parent.glob(f"{path.name}*"):
        if file.is_file() and not file.name.endswith("-shm"):
            shutil.copy(file, directory)


def _read(path: Path) -> Image:
    return {file.name: file.read_bytes() for file in path.parent.glob("swarm.db*") if not file.name.endswith("-shm")}


def write(path: Path, image: Image) -> None:
    for name, content in image.items():
        (path.parent / name).write_bytes(content)
