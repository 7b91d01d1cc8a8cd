"""A copy holds what its source holds, whatever was stopped on the way."""

import stat
from pathlib import Path

import pytest

from postgres.servers import Server
from swarm_persistence import (
    ConflictError,
    EventModel,
    MemoryStorage,
    OtherError,
    PostgresStorage,
    SerializationError,
    SqliteStorage,
    Storage,
    TaskModel,
)
from swarm_persistence.transfer.copying import copy
from swarm_persistence.transfer.endpoints import BATCH, StorageEndpoint
from swarm_persistence.transfer.json_lines import JsonLinesEndpoint
from swarm_persistence_conformance.records import a_task, an_event, complete_records


async def filled() -> Storage:
    """Return a storage with more than a batch of tasks, some of which wait for others, and of events."""
    storage = MemoryStorage()
    await storage.store_many(complete_records())
    # The dependents arrive first: their dependencies are in another batch.
    dependents = [a_task(f"dependent-{n}", dependencies=[f"count-{n}"]) for n in range(BATCH)]
    await storage.store_many([*dependents, *(a_task(f"count-{n}") for n in range(BATCH + 1))])
    await storage.store_many(an_event(f"log-{n}") for n in range(2 * BATCH + 1))
    done = await storage.claim_next_task("agent", lease=60)
    assert done is not None
    await storage.complete_task(done, {"lines": 3})
    return storage


def file_endpoint(path: Path) -> JsonLinesEndpoint:
    return JsonLinesEndpoint(path, is_new_possible=True)


class StopError(Exception):
    """Ends a copy."""


def stop_after(records: int) -> object:
    def look(done: int) -> None:
        if done >= records:
            raise StopError

    return look


class TestCopies:
    async def test_every_record_comes_out_equal_through_a_file_of_json_lines(self, tmp_path: Path) -> None:
        source = await filled()
        async with (
            await SqliteStorage.open(tmp_path / "swarm.db") as target,
            file_endpoint(tmp_path / "all.jsonl") as file,
        ):
            there = await copy(StorageEndpoint(source), file)
            back = await copy(file, StorageEndpoint(target))

            assert all(outcome.is_equal for outcome in [*there, *back])
            assert await target.repository(TaskModel).find_all() == await source.repository(TaskModel).find_all()
            assert [event.id for event in await target.read_events(0, 5000)] == [
                event.id for event in await source.read_events(0, 5000)
            ]

    async def test_the_copy_goes_on_where_the_source_was(self, tmp_path: Path) -> None:
        source = await filled()
        async with await SqliteStorage.open(tmp_path / "swarm.db") as target:
            await copy(StorageEndpoint(source), StorageEndpoint(target))

            for verb in ("get_ready_tasks", "get_blocked_tasks"):
                found = [task.id for task in await getattr(target, verb)()]
                assert found == [task.id for task in await getattr(source, verb)()]
                assert found

    async def test_a_copy_that_was_stopped_goes_on(self, tmp_path: Path) -> None:
        source = await filled()
        async with await SqliteStorage.open(tmp_path / "swarm.db") as target:
            with pytest.raises(StopError):
                await copy(StorageEndpoint(source), StorageEndpoint(target), stop_after(BATCH))  # type: ignore[arg-type]
            begun = await target.repository(TaskModel).count()
            outcomes = await copy(StorageEndpoint(source), StorageEndpoint(target))

        assert begun > 0
        assert all(outcome.is_equal for outcome in outcomes)
        tasks = next(outcome for outcome in outcomes if outcome.kind == "task")
        assert tasks.copied == tasks.source.count - begun

    async def test_another_record_of_the_same_id_in_the_target_is_left_alone(self) -> None:
        source, target = MemoryStorage(), MemoryStorage()
        await source.store_task(a_task("a", payload=1))
        await target.store_task(a_task("a", payload=2))

        with pytest.raises(ConflictError, match="another task 'a'"):
            await copy(StorageEndpoint(source), StorageEndpoint(target))

        stored = await target.get_task("a")
        assert stored is not None
        assert stored.payload == 2

    async def test_a_record_that_only_the_target_has_shows_in_the_comparison(self) -> None:
        source, target = MemoryStorage(), MemoryStorage()
        await source.store_event(an_event("both"))
        await target.store_event(an_event("more"))

        outcomes = await copy(StorageEndpoint(source), StorageEndpoint(target))

        assert [outcome.kind for outcome in outcomes if not outcome.is_equal] == ["event"]

    async def test_a_change_after_the_copy_shows_in_the_comparison(self) -> None:
        source, target = MemoryStorage(), MemoryStorage()
        await source.store_task(a_task("a"))
        await copy(StorageEndpoint(source), StorageEndpoint(target))
        await target.claim_next_task("agent")

        with pytest.raises(ConflictError):
            await copy(StorageEndpoint(source), StorageEndpoint(target))


class TestJsonLines:
    async def test_a_line_that_was_cut_off_is_written_again(self, tmp_path: Path) -> None:
        source = await filled()
        path = tmp_path / "all.jsonl"
        async with file_endpoint(path) as file:
            await copy(StorageEndpoint(source), file)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) * 2 // 3])

        async with file_endpoint(path) as file:
            outcomes = await copy(StorageEndpoint(source), file)

        assert all(outcome.is_equal for outcome in outcomes)
        assert path.read_bytes() == whole

    async def test_a_new_file_is_for_its_owner_only_and_an_old_one_keeps_its_mode(self, tmp_path: Path) -> None:
        new, old = tmp_path / "new.jsonl", tmp_path / "old.jsonl"
        old.touch()
        old.chmod(0o640)

        for path in (new, old):
            async with file_endpoint(path) as file:
                await copy(StorageEndpoint(await filled()), file)

        assert [stat.S_IMODE(path.stat().st_mode) for path in (new, old)] == [0o600, 0o640]

    async def test_another_file_is_left_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.jsonl"
        path.write_text("my notes\n")

        with pytest.raises(OtherError, match="left as it is"):
            async with file_endpoint(path):
                pass

        assert path.read_text() == "my notes\n"

    @pytest.mark.parametrize("line", ['{"kind":"mouse","record":{}}', '{"kind":"task","record":{}}', "{", '"x"'])
    async def test_a_line_that_is_no_record_is_named(self, tmp_path: Path, line: str) -> None:
        path = tmp_path / "all.jsonl"
        async with file_endpoint(path) as file:
            await copy(StorageEndpoint(MemoryStorage()), file)
        with path.open("a") as written:
            written.write(line + "\n")

        with pytest.raises(SerializationError, match="line 2"):
            async with JsonLinesEndpoint(path, is_new_possible=False):
                pass

    async def test_a_source_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(OtherError, match="no file"):
            async with JsonLinesEndpoint(tmp_path / "none.jsonl", is_new_possible=False):
                pass

        assert not (tmp_path / "none.jsonl").exists()

    async def test_events_keep_their_order(self, tmp_path: Path) -> None:
        source, target = MemoryStorage(), MemoryStorage()
        await source.append_events([an_event(id) for id in "cab"])
        await source.repository(EventModel).delete("a")

        async with file_endpoint(tmp_path / "all.jsonl") as file:
            await copy(StorageEndpoint(source), file)
            await copy(file, StorageEndpoint(target))

        assert [(event.id, event.sequence) for event in await target.read_events()] == [("c", 1), ("b", 2)]


async def test_a_task_that_still_waits_for_many_waits_for_the_last_of_them_on_postgresql(
    tmp_path: Path, server: Server, schema: str
) -> None:
    names = [f"task-{number}" for number in range(40)]
    async with (
        await SqliteStorage.open(tmp_path / "swarm.db") as source,
        await PostgresStorage.open(server.url(schema=schema)) as target,
    ):
        await source.store_tasks([*map(a_task, names), a_task("last", dependencies=names)])
        for task in await source.claim_next_tasks("agent", limit=20):
            await source.complete_task(task)

        await copy(StorageEndpoint(source), StorageEndpoint(target))
        for task in await target.claim_next_tasks("agent", limit=20):
            assert task.id != "last"
            await target.complete_task(task)

        assert [task.id for task in await target.get_ready_tasks()] == ["last"]
