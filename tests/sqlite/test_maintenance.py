"""Facts about maintenance: the size with its log, a vacuum that shrinks, a checkpoint that makes no caller wait."""

# ruff: noqa: ASYNC240 - the files are small, and a test may wait for them

import asyncio
import threading
from pathlib import Path

import apsw
import pytest

from sqlite.programs import Program
from swarm_persistence import AgentModel, SqliteStorage
from swarm_persistence.engines.sql.sqlite.writer_connection import WriterConnection
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import an_agent, ids


async def store_much(storage: SqliteStorage) -> None:
    await storage.store_many(an_agent(f"agent-{number}", name="x" * 10_000) for number in range(300))


def log_of(path: Path) -> int:
    return path.with_name(f"{path.name}-wal").stat().st_size


class TestSize:
    async def test_it_counts_the_log(self, storage: SqliteStorage, path: Path) -> None:
        await store_much(storage)

        assert await storage.get_storage_size() == path.stat().st_size + log_of(path)
        assert log_of(path) > 3_000_000

    async def test_it_grows_with_every_kilobyte_that_is_stored(self, storage: SqliteStorage) -> None:
        before = await storage.get_storage_size()

        await storage.store_agent(an_agent(name="x" * 100_000))

        assert await storage.get_storage_size() >= before + 100_000


class TestVacuum:
    async def test_it_gives_the_room_of_what_was_deleted_back(self, storage: SqliteStorage, path: Path) -> None:
        empty = await storage.get_storage_size()
        await store_much(storage)
        for number in range(300):
            await storage.delete_agent(f"agent-{number}")
        before = path.stat().st_size + log_of(path)

        await storage.vacuum()

        assert await storage.get_storage_size() < min(before, empty)
        await storage.store_agent(an_agent())
        assert ids(await storage.list_agents()) == ["agent-1"]

    async def test_reads_and_writes_go_on_around_it(self, storage: SqliteStorage) -> None:
        await store_much(storage)

        outcomes = await asyncio.gather(
            storage.list_agents(),
            storage.vacuum(),
            *(storage.store_agent(an_agent(f"new-{number}")) for number in range(20)),
            *(storage.get_agent("agent-7") for _ in range(20)),
            return_exceptions=True,
        )

        assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
        assert len(await storage.list_agents()) == 320


class TestCheckpoint:
    async def test_it_empties_the_log(self, storage: SqliteStorage, path: Path) -> None:
        await store_much(storage)
        await storage.list_agents()

        await storage.checkpoint()

        assert log_of(path) == 0
        assert len(await storage.list_agents()) == 300

    async def test_an_old_reader_holds_neither_it_nor_the_writers_up(self, storage: SqliteStorage, path: Path) -> None:
        await store_much(storage)
        reader = apsw.Connection(str(path))
        reader.execute("BEGIN; SELECT count(*) FROM agents").fetchall()
        await storage.store_agent(an_agent("newer"))

        async with asyncio.timeout(10):  # a third of connection_timeout
            await asyncio.gather(storage.checkpoint(), elsewhere(storage.store_agent(an_agent("newest"))))

        assert log_of(path) > 0
        reader.close()
        await storage.checkpoint()
        assert log_of(path) == 0

    async def test_another_process_that_writes_holds_it_up_for_a_moment_only(
        self, storage: SqliteStorage, path: Path
    ) -> None:
        await store_much(storage)
        holder = apsw.Connection(str(path))
        holder.execute("BEGIN IMMEDIATE").fetchall()

        async with asyncio.timeout(10):
            await storage.checkpoint()

        holder.close()
        await storage.store_agent(an_agent("after"))

    async def test_patience_is_whole_again_afterwards(self, storage: SqliteStorage, path: Path) -> None:
        # The short timeout of a checkpoint must not stay with the writer.
        reader = apsw.Connection(str(path))
        reader.execute("BEGIN; SELECT count(*) FROM agents").fetchall()
        await storage.store_agent(an_agent("newer"))
        await storage.checkpoint()
        reader.close()

        program = Program(
            """
            import sys, apsw
            holder = apsw.Connection(sys.argv[1])
            holder.execute("BEGIN IMMEDIATE")
            print("holds", flush=True)
            sys.stdin.readline()
            """,
            path,
        )
        assert program.wait_for_line() == "holds"
        write = asyncio.ensure_future(storage.store_agent(an_agent("later")))
        done, _ = await asyncio.wait([write], timeout=0.5)  # twice the checkpoint's timeout
        assert not done

        program.tell("enough")
        program.finish()
        await write

    async def test_a_long_life_does_not_let_the_log_grow_for_ever(self, storage: SqliteStorage, path: Path) -> None:
        for start in range(0, 2000, 100):
            await storage.store_many(an_agent(f"{start}-{number}", name="x" * 2_000) for number in range(100))
            await storage.get_agent("0-0")

        assert log_of(path) < 10_000_000  # 4 KiB times SQLite's 1,000 pages, and a batch
        assert len(await storage.repository(AgentModel).find_all()) == 2000

    async def test_a_single_caller_does_not_let_it_grow_either(self, storage: SqliteStorage, path: Path) -> None:
        for number in range(300):  # 15 pages each, written by the loop's own thread
            await storage.store_agent(an_agent(f"agent-{number}", name="x" * 60_000))

        assert log_of(path) < 10_000_000

    async def test_callers_have_their_answers_before_a_long_log_is_checkpointed(
        self, storage: SqliteStorage, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        may_begin = threading.Event()
        checkpoint = WriterConnection.checkpoint

        def held(connection: WriterConnection) -> None:
            may_begin.wait(10)
            checkpoint(connection)

        monkeypatch.setattr(WriterConnection, "checkpoint", held)
        await storage.store_many(an_agent(f"agent-{number}", name="x" * 10_000) for number in range(500))
        size = path.stat().st_size
        may_begin.set()
        await storage.store_agent(an_agent("later"))

        assert size < 1_000_000
        assert path.stat().st_size > 4_000_000

    async def test_a_log_that_a_reader_needs_is_not_checkpointed_after_each_commit(
        self, storage: SqliteStorage, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attempts = 0
        checkpoint = WriterConnection.checkpoint

        def counted(connection: WriterConnection) -> None:
            nonlocal attempts
            attempts += 1
            checkpoint(connection)

        await storage.store_agent(an_agent("first"))
        reader = apsw.Connection(str(path))
        reader.execute("BEGIN; SELECT count(*) FROM agents").fetchall()
        monkeypatch.setattr(WriterConnection, "checkpoint", counted)
        for start in range(0, 2000, 20):
            await storage.store_many(an_agent(f"{start}-{number}", name="x" * 5_000) for number in range(20))
        reader.close()

        assert 1 <= attempts <= 6  # of 100 commits of 40 pages each
