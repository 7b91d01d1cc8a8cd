"""A backup comes back as it was: records, numbers, and what waits for what."""

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from postgres.servers import Server
from swarm_persistence import (
    DatabaseError,
    EventModel,
    MemoryStorage,
    MessageModel,
    OtherError,
    PostgresStorage,
    SerializationError,
    SqliteStorage,
    Storage,
    TaskModel,
)
from swarm_persistence.transfer.restoring import restore
from swarm_persistence_conformance.records import a_message, a_task, an_event, complete_records, everything_in, ids

Open = Callable[[], AbstractAsyncContextManager[Storage]]


@asynccontextmanager
async def memory() -> AsyncIterator[Storage]:
    async with MemoryStorage() as storage:
        yield storage


@asynccontextmanager
async def sqlite(directory: Path) -> AsyncIterator[Storage]:
    async with await SqliteStorage.open(directory / "swarm.db") as storage:
        yield storage


_numbers = count()
KINDS = ["memory", "postgres"]


@pytest.fixture
def opens(server: Server) -> Mapping[str, Open]:
    """Give the ways to fresh storages whose backups are lines."""

    @asynccontextmanager
    async def postgres() -> AsyncIterator[Storage]:
        async with await PostgresStorage.open(server.url(schema=f"restored_{next(_numbers)}")) as storage:
            yield storage

    return {"memory": memory, "postgres": postgres}


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


async def fill(storage: Storage) -> None:
    """Store what a plain copy of the records would not bring back."""
    await storage.store_many(complete_records())
    await storage.store_tasks([a_task("done"), a_task("after", dependencies=["done"]), a_task("first")])
    await storage.store_task(a_task("waits", dependencies=["first"]))
    done = await storage.get_task("done")
    assert done is not None
    assert await storage.claim_task("done", "agent")
    held = await storage.get_task("done")
    assert held is not None
    await storage.complete_task(held)
    await storage.repository(TaskModel).delete("done")
    await storage.append_events([an_event(id) for id in "abc"])
    await storage.repository(EventModel).delete("a")
    await storage.repository(EventModel).delete("c")
    for id in "xyz":
        await storage.store_message(a_message(id))
    await storage.repository(MessageModel).delete("z")


async def next_places(storage: Storage) -> tuple[int | None, int | None]:
    """Return the places that the next event and the next message get."""
    event, message = an_event("next"), a_message("next")
    await storage.store_event(event)
    await storage.store_message(message)
    return event.sequence, message.sequence


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
async def test_everything_comes_back_into_an_open_storage(
    opens: Mapping[str, Open], source: str, target: str, tmp_path: Path
) -> None:
    path = tmp_path / "backup.jsonl"
    async with opens[source]() as original, opens[target]() as restored:
        await fill(original)
        await original.backup(path, verify=True)

        await restore(path, restored)

        assert await everything_in(restored) == await everything_in(original)
        for verb in ("get_ready_tasks", "get_blocked_tasks"):
            assert ids(await getattr(restored, verb)()) == ids(await getattr(original, verb)())
        assert "after" in ids(await restored.get_ready_tasks())
        assert await next_places(restored) == await next_places(original)


async def test_everything_comes_back_into_a_file(tmp_path: Path) -> None:
    path, file = tmp_path / "backup.jsonl", tmp_path / "restored.db"
    async with memory() as original:
        await fill(original)
        await original.backup(path)

        await restore(path, file)

        async with await SqliteStorage.open(file) as restored:
            assert await everything_in(restored) == await everything_in(original)
            assert "after" in ids(await restored.get_ready_tasks())
            assert ids(await restored.get_blocked_tasks()) == ids(await original.get_blocked_tasks())
            assert await next_places(restored) == await next_places(original)
    assert sorted(os.listdir(tmp_path)) == ["backup.jsonl", "restored.db"]


@pytest.mark.parametrize("target", KINDS)
async def test_records_are_replaced_only_on_demand_and_no_place_is_given_out_again(
    opens: Mapping[str, Open], target: str, tmp_path: Path
) -> None:
    path = tmp_path / "backup.jsonl"
    async with opens[target]() as storage:
        await storage.append_events([an_event(id) for id in "ab"])
        await storage.backup(path)
        last = await storage.append_events([an_event(id) for id in "cd"])

        with pytest.raises(OtherError, match="overwrite"):
            await restore(path, storage)
        assert ids(await storage.read_events()) == ["a", "b", "c", "d"]

        await restore(path, storage, overwrite=True)
        assert ids(await storage.read_events()) == ["a", "b"]
        assert await storage.append_events([an_event("e")]) == last + 1


async def test_a_file_is_overwritten_only_on_demand_and_no_place_is_given_out_again(tmp_path: Path) -> None:
    path, file = tmp_path / "backup.jsonl", tmp_path / "swarm.db"
    async with sqlite(tmp_path) as storage, memory() as original:
        await original.append_events([an_event(id) for id in "ab"])
        await original.backup(path)
        last = await storage.append_events([an_event(id) for id in "cdefg"])
        with pytest.raises(DatabaseError, match="is open"):
            await restore(path, file, overwrite=True)

    with pytest.raises(OtherError, match="exists already"):
        await restore(path, file)
    await restore(path, file, overwrite=True)

    async with sqlite(tmp_path) as storage:
        assert ids(await storage.read_events()) == ["a", "b"]
        assert await storage.append_events([an_event("h")]) == last + 1


async def test_a_url_is_filled(url: str, tmp_path: Path) -> None:
    path = tmp_path / "backup.jsonl"
    async with memory() as original:
        await fill(original)
        await original.backup(path)
        await restore(path, url)

        async with await PostgresStorage.open(url) as restored:
            assert await everything_in(restored) == await everything_in(original)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_backup_beside_writers_holds_one_moment(opens: Mapping[str, Open], kind: str, tmp_path: Path) -> None:
    path = tmp_path / "backup.jsonl"
    async with opens[kind]() as storage, MemoryStorage() as restored:
        await storage.store_many(an_event(f"filler-{number}") for number in range(1200))

        begun = asyncio.Event()

        async def write(name: str) -> None:
            for number in range(10**6):
                event, message = an_event(f"{name}-{number}"), a_message(f"{name}-{number}")
                await storage.store_many([event, message])
                if number == 10:
                    begun.set()
                await asyncio.sleep(0)

        writers = [asyncio.create_task(write(name)) for name in "ab"]
        await begun.wait()
        await storage.backup(path)
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        written = await storage.repository(MessageModel).count()

        await restore(path, restored)
        messages = ids(await restored.repository(MessageModel).find_all())
        events = [id for id in ids(await restored.repository(EventModel).find_all()) if not id.startswith("filler")]
        assert 10 <= len(messages) < written
        assert sorted(events) == sorted(messages)


async def test_an_existing_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    put(path, b"my notes")
    async with MemoryStorage() as storage:
        with pytest.raises(OtherError, match="exists already"):
            await storage.backup(path)
        assert content_of(path) == b"my notes"

        await storage.backup(path, overwrite=True)
        await restore(path, MemoryStorage())


async def test_a_file_system_without_links_keeps_an_existing_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: str, target: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    path = tmp_path / "backup.jsonl"
    async with MemoryStorage() as storage:
        await storage.store_task(a_task())
        await storage.backup(path)
        with pytest.raises(OtherError, match="exists already"):
            await storage.backup(path)

    assert os.listdir(tmp_path) == ["backup.jsonl"]
    async with MemoryStorage() as storage:
        await restore(path, storage)
        assert ids(await storage.get_pending_tasks()) == ["task-1"]


async def test_a_cancelled_backup_leaves_nothing(tmp_path: Path) -> None:
    async with MemoryStorage() as storage:
        await storage.store_many(complete_records())
        backup: asyncio.Task[None]

        def progress(done: int, total: int) -> None:
            backup.cancel()

        backup = asyncio.create_task(storage.backup(tmp_path / "backup.jsonl", progress=progress))
        with pytest.raises(asyncio.CancelledError):
            await backup
    assert os.listdir(tmp_path) == []


class TestFiles:
    @pytest.fixture
    async def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "backup.jsonl"
        async with MemoryStorage() as storage:
            await fill(storage)
            await storage.backup(path)
        return path

    async def test_a_backup_that_lacks_a_line_is_refused(self, path: Path) -> None:
        lines = content_of(path).splitlines(keepends=True)
        put(path, b"".join(lines[:-3] + lines[-2:]))
        with pytest.raises(DatabaseError, match="is incomplete"):
            await restore(path, MemoryStorage())

    async def test_a_backup_that_is_cut_off_is_refused(self, path: Path) -> None:
        content = content_of(path)
        put(path, content[:-5])
        with pytest.raises(DatabaseError, match="is incomplete"):
            await restore(path, MemoryStorage())

    async def test_a_line_that_is_no_record_is_named(self, path: Path) -> None:
        put(path, content_of(path) + b"{}\n")
        with pytest.raises(SerializationError, match="line"):
            await restore(path, MemoryStorage())

    async def test_a_file_of_an_earlier_form_is_read(self, path: Path) -> None:
        lines = [json.loads(line) for line in content_of(path).splitlines()]
        earlier = [{"format": "swarm-persistence", "version": 1}] + [
            {"kind": line["kind"], "record": line["record"]} for line in lines[1:] if line["kind"] != "task link"
        ]
        put(path, b"".join(json.dumps(line).encode() + b"\n" for line in earlier))

        async with MemoryStorage() as storage:
            await restore(path, storage)

            assert [event.id for event in await storage.read_events() if event.id in "abc"] == ["b"]
            # No form but the later one tells that what it depends on was completed.
            assert "waits" in ids(await storage.get_blocked_tasks())

    async def test_a_file_of_a_later_form_is_refused(self, path: Path) -> None:
        put(path, b'{"format":"swarm-persistence","version":3}\n')
        with pytest.raises(OtherError, match="version 3"):
            await restore(path, MemoryStorage())

    async def test_a_backup_of_sqlite_goes_to_a_path_only(self, tmp_path: Path) -> None:
        async with sqlite(tmp_path) as storage:
            await storage.backup(tmp_path / "backup.db")
        with pytest.raises(OtherError, match="goes to the path of a file"):
            await restore(tmp_path / "backup.db", MemoryStorage())


@pytest.mark.parametrize("target", [None, 7, b"swarm.db", ["swarm.db"], Path], ids=repr)
async def test_what_is_no_target_is_refused(tmp_path: Path, target: Any) -> None:
    async with memory() as storage:
        await storage.backup(tmp_path / "backup.jsonl")

    with pytest.raises(OtherError, match="target is"):
        await restore(tmp_path / "backup.jsonl", target)


async def test_lines_never_replace_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(os.listdir(tmp_path))

    async with memory() as storage:
        for name, reason in (("pipe", "a pipe"), ("loop", "symbolic links"), ("swarm.db-wal", "ends in -wal")):
            with pytest.raises(DatabaseError, match=reason):
                await storage.backup(tmp_path / name, overwrite=True)

    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "pipe").is_fifo()
