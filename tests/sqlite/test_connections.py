"""Facts about connections: their pragmas, the builder's settings, and the limits of the pool."""

# ruff: noqa: ASYNC240 - the files are small, and a test may wait for them

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import apsw
import msgspec
import pytest

from polling import until
from sqlite.tracing import Watch
from swarm_persistence import (
    OtherError,
    PoolError,
    PoolStatus,
    SqliteStorage,
    SqliteStorageBuilder,
    TransactionError,
    open_storage,
)
from swarm_persistence.engines.sql.sqlite.operations import QueryOperation
from swarm_persistence.engines.sql.sqlite.readers import Readers
from swarm_persistence.engines.sql.sqlite.settings import SqliteSettings
from swarm_persistence.engines.sql.statements import TextStatement
from swarm_persistence.schema.tables import AGENTS, Table
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import an_agent, ids


class Blockade(TextStatement, eq=False):
    """A statement that keeps its connection busy until it is lifted, or its block ends."""

    text: str = "SELECT 1"
    values: Sequence[object] = ()
    table: Table[Any] = AGENTS
    _lifted: threading.Event = msgspec.field(default_factory=threading.Event)

    def result(self, rows: list[Any]) -> None:
        """Wait until it is lifted."""
        assert self._lifted.wait(30)

    def lift(self) -> None:
        """Let the connection go."""
        self._lifted.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.lift()


def occupy_reader(storage: SqliteStorage, blockade: Blockade) -> "asyncio.Future[Any]":
    """Let a reading connection run the blockade."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    _, reading = storage._engine._submitters[asyncio.get_running_loop()]
    reading.send_alone(QueryOperation(future, (blockade,)))
    return future


async def begin_and_roll_back(storage: SqliteStorage) -> None:
    """Begin a transaction in the caller's context."""
    await (await storage.begin_transaction()).rollback()


async def open_readers(storage: SqliteStorage, count: int) -> None:
    """Let the storage open so many reading connections."""
    with Blockade() as blockade:
        reads = [occupy_reader(storage, blockade) for _ in range(count)]
        await until(lambda: storage.pool_status().active == count)
    await asyncio.gather(*reads)


class TestPragmas:
    @pytest.mark.parametrize(
        ("pragma", "value"),
        [("synchronous", 2), ("journal_mode", "wal"), ("journal_size_limit", 64 * 1024 * 1024), ("mmap_size", 0)],
    )
    async def test_every_connection_has_them(
        self, storage: SqliteStorage, watch: Watch, pragma: str, value: object
    ) -> None:
        await open_readers(storage, 4)

        assert len(watch.opened) == 5
        assert [connection.execute(f"PRAGMA {pragma}").get for connection in watch.opened] == [value] * 5

    async def test_readers_cannot_write(self, storage: SqliteStorage, watch: Watch) -> None:
        await open_readers(storage, 2)

        for reader in watch.readers:
            with pytest.raises(apsw.ReadOnlyError):
                reader.execute("DELETE FROM agents")

    async def test_a_weaker_durability_is_there_by_name(self, path: Path, watch: Watch) -> None:
        async with await SqliteStorage.open(path, durability="normal") as storage:
            await storage.list_agents()

            assert [connection.execute("PRAGMA synchronous").get for connection in watch.opened] == [1, 1]


class TestFiles:
    async def test_a_new_file_is_for_its_owner_only(self, storage: SqliteStorage, path: Path) -> None:
        await storage.store_agent(an_agent())

        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        assert modes == dict.fromkeys(["swarm.db", "swarm.db-wal", "swarm.db-shm"], 0o600)

    async def test_the_mode_of_a_known_file_is_left_as_it_is(self, path: Path) -> None:
        await (await SqliteStorage.open(path)).close()
        path.chmod(0o640)

        async with await SqliteStorage.open(path) as storage:
            await storage.store_agent(an_agent())

            assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o640}

    async def test_after_close_there_is_one_file(self, path: Path) -> None:
        storage = await SqliteStorage.open(path)
        await storage.store_agent(an_agent())
        await storage.list_agents()

        await storage.close()

        assert [file.name for file in path.parent.iterdir()] == ["swarm.db"]

    async def test_a_file_in_order_is_opened_while_another_process_writes(self, path: Path) -> None:
        await (await SqliteStorage.open(path)).close()
        holder = apsw.Connection(str(path))
        holder.execute("BEGIN IMMEDIATE").fetchall()

        async with await SqliteStorage.builder().connection_timeout(0.1).build(path) as storage:
            assert await storage.list_agents() == []

        holder.close()


class TestSettings:
    def test_the_defaults_are_the_seeds(self) -> None:
        settings = SqliteSettings()

        assert (settings.max_connections, settings.connection_timeout, settings.idle_timeout) == (16, 30, 600)
        assert (settings.transaction_timeout, settings.durability) == (30, "full")

    async def test_the_seeds_example_builds(self, path: Path) -> None:
        builder = SqliteStorage.builder().max_connections(32).min_idle_connections(4)
        async with await builder.connection_timeout(30).idle_timeout(timedelta(minutes=10)).build(path) as storage:
            assert storage.pool_status() == PoolStatus(active=0, idle=5, max=32, waiting=0)

    @pytest.mark.parametrize(
        ("setting", "change"),
        [
            ("max_connections", lambda builder: builder.max_connections(0)),
            ("max_connections", lambda builder: builder.max_connections("4")),
            ("max_connections", lambda builder: builder.max_connections(True)),
            ("min_idle_connections", lambda builder: builder.min_idle_connections(-1)),
            ("min_idle_connections", lambda builder: builder.max_connections(2).min_idle_connections(3)),
            ("connection_timeout", lambda builder: builder.connection_timeout(0)),
            ("connection_timeout", lambda builder: builder.connection_timeout("soon")),
            ("connection_timeout", lambda builder: builder.connection_timeout(float("nan"))),
            ("connection_timeout", lambda builder: builder.connection_timeout(10**400)),
            ("idle_timeout", lambda builder: builder.idle_timeout(timedelta(seconds=-1))),
            ("idle_timeout", lambda builder: builder.idle_timeout(float("inf"))),
            ("idle_timeout", lambda builder: builder.idle_timeout(1e300)),
            ("transaction_timeout", lambda builder: builder.transaction_timeout(None)),
            ("durability", lambda builder: builder.durability("fast")),
        ],
    )
    async def test_a_setting_without_sense_is_refused_and_nothing_is_made(
        self, path: Path, setting: str, change: Callable[[Any], SqliteStorageBuilder]
    ) -> None:
        with pytest.raises(OtherError, match=f"{setting} is .*, expected"):
            await change(SqliteStorage.builder()).build(path)

        assert not path.exists()

    async def test_a_builder_may_build_several(self, tmp_path: Path) -> None:
        builder = SqliteStorage.builder().max_connections(2)

        async with await builder.build(tmp_path / "a.db") as a, await builder.max_connections(3).build("b.db") as b:
            assert (a.pool_status().max, b.pool_status().max) == (2, 3)

    @pytest.fixture(autouse=True)
    def _here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)


class TestPool:
    async def test_connections_are_opened_when_needed_up_to_the_limit(self, path: Path, watch: Watch) -> None:
        async with await SqliteStorage.builder().max_connections(4).build(path) as storage:
            with Blockade() as blockade:
                reads = [occupy_reader(storage, blockade) for _ in range(5)]
                await until(lambda: storage.pool_status().active == 3)

                assert storage.pool_status() == PoolStatus(active=3, idle=1, max=4, waiting=2)
                await until(lambda: len(watch.opened) == 4)
            await asyncio.gather(*reads)
            assert storage.pool_status() == PoolStatus(active=0, idle=4, max=4, waiting=0)

    async def test_a_read_never_waits_while_a_connection_is_to_be_had(self, path: Path) -> None:
        async with await SqliteStorage.builder().max_connections(3).build(path) as storage:
            for _ in range(200):
                with Blockade() as blockade:
                    occupied = occupy_reader(storage, blockade)
                    assert await asyncio.wait_for(storage.list_agents(), 10) == []
                await occupied

    async def test_an_idle_connection_is_closed_down_to_the_least(self, path: Path, watch: Watch) -> None:
        builder = SqliteStorage.builder().idle_timeout(0.05).min_idle_connections(2)
        async with await builder.build(path) as storage:
            await open_readers(storage, 6)

            await until(lambda: storage.pool_status().idle == 3)

            await until(lambda: len(watch.opened) == 3)
            assert await storage.list_agents() == []

    async def test_all_readers_may_be_closed_and_opened_again(self, path: Path, watch: Watch) -> None:
        async with await SqliteStorage.builder().idle_timeout(0.02).min_idle_connections(0).build(path) as storage:
            for _ in range(3):
                assert await storage.list_agents() == []
                await until(lambda: storage.pool_status().idle == 1)

            assert len(watch.connections) >= 4

    async def test_reads_go_on_beside_a_transaction(self, storage: SqliteStorage) -> None:
        async with storage.transaction():
            await storage.store_agent(an_agent())

            assert await elsewhere(storage.list_agents()) == []

    async def test_the_status_counts_a_transaction_and_those_who_wait_for_it(self, storage: SqliteStorage) -> None:
        transaction = await storage.begin_transaction()
        writes = [elsewhere(storage.store_agent(an_agent(f"agent-{number}"))) for number in range(5)]
        begun = elsewhere(begin_and_roll_back(storage))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        assert storage.pool_status() == PoolStatus(active=1, idle=1, max=16, waiting=6)
        await transaction.commit()
        await asyncio.gather(*writes, begun)
        assert storage.pool_status() == PoolStatus(active=0, idle=2, max=16, waiting=0)

    def test_the_status_counts_a_write_that_its_caller_runs(self, path: Path, watch: Watch) -> None:
        is_committing, may_commit = threading.Event(), threading.Event()

        def commit_later() -> bool:
            is_committing.set()
            return not may_commit.wait(30)

        with open_storage(path) as storage:
            watch.writer.set_commit_hook(commit_later)
            with ThreadPoolExecutor(1) as thread:
                stored = thread.submit(storage.store_agent, an_agent())
                try:
                    assert is_committing.wait(30)
                    assert storage.pool_status() == PoolStatus(active=1, idle=1, max=16, waiting=0)
                finally:
                    may_commit.set()
                stored.result()
            assert storage.pool_status() == PoolStatus(active=0, idle=2, max=16, waiting=0)

    async def test_the_status_counts_no_write_that_was_answered(self, storage: SqliteStorage) -> None:
        commits = storage._engine._writer.commits
        is_checkpointing, may_end = threading.Event(), threading.Event()

        def checkpoint_later() -> None:
            commits.is_checkpoint_due = False
            is_checkpointing.set()
            may_end.wait(30)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(commits, "checkpoint", checkpoint_later)
            commits._due_at = 0
            try:
                await asyncio.gather(*(storage.store_agent(an_agent(f"agent-{number}")) for number in range(5)))
                await until(is_checkpointing.is_set)
                assert storage.pool_status() == PoolStatus(active=0, idle=2, max=16, waiting=0)
            finally:
                may_end.set()

    async def test_the_status_adds_up_while_another_thread_closes_connections(self, storage: SqliteStorage) -> None:
        """The thread that collects the metrics asks for it beside those that read."""
        numbers = iter([1, 0])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(storage._engine._readers, "lent", 1)
            patch.setattr(Readers, "open", property(lambda _: next(numbers)))
            assert storage.pool_status() == PoolStatus(active=1, idle=1, max=16, waiting=0)


class TestExhaustion:
    async def test_reads_that_find_no_connection_raise_and_name_the_cause(self, path: Path) -> None:
        async with await SqliteStorage.builder().max_connections(3).connection_timeout(0.05).build(path) as storage:
            with Blockade() as blockade:
                reads = [occupy_reader(storage, blockade) for _ in range(2)]

                with pytest.raises(PoolError, match=r"all 2 reading connections .* connection_timeout \(0.05 s\)"):
                    await storage.list_agents()

            await asyncio.gather(*reads)
            assert await storage.list_agents() == []

    async def test_writes_that_wait_for_a_transaction_raise_and_name_the_cause(self, path: Path) -> None:
        async with await SqliteStorage.builder().connection_timeout(0.05).build(path) as storage:
            async with storage.transaction():
                await storage.store_agent(an_agent("inside"))
                with pytest.raises(PoolError, match="another transaction of this storage was open"):
                    await elsewhere(storage.store_agent(an_agent("outside")))
                with pytest.raises(PoolError, match="another transaction of this storage was open"):
                    await elsewhere(begin_and_roll_back(storage))

            await storage.store_agent(an_agent("after"))
            assert set(ids(await storage.list_agents())) == {"inside", "after"}

    async def test_with_one_connection_a_transaction_keeps_reads_waiting_too(self, path: Path) -> None:
        builder = SqliteStorage.builder().max_connections(1).min_idle_connections(0).connection_timeout(0.05)
        async with await builder.build(path) as storage:
            async with storage.transaction():
                await storage.store_agent(an_agent())
                assert storage.pool_status() == PoolStatus(active=1, idle=0, max=1, waiting=0)
                with pytest.raises(PoolError, match="another transaction of this storage was open"):
                    await elsewhere(storage.list_agents())

            assert ids(await storage.list_agents()) == ["agent-1"]

    async def test_one_connection_is_enough_for_everything(self, path: Path, watch: Watch) -> None:
        async with await SqliteStorage.builder().max_connections(1).build(path) as storage:
            writes = (storage.store_agent(an_agent(f"agent-{number}")) for number in range(50))
            await asyncio.gather(*writes, *(storage.list_agents() for _ in range(50)))

            assert (len(await storage.list_agents()), len(watch.connections)) == (50, 1)

    async def test_no_thread_to_be_had_is_an_error_and_no_hang(self, path: Path) -> None:
        async with await SqliteStorage.builder().min_idle_connections(0).build(path) as storage:
            size = threading.stack_size(2**46)
            try:
                with pytest.raises(PoolError, match="no thread could be started"):
                    await storage.list_agents()
            finally:
                threading.stack_size(size)

            assert await storage.list_agents() == []


class TestTransactionTimeout:
    async def test_one_open_for_too_long_is_rolled_back_and_the_others_go_on(self, path: Path) -> None:
        async with await SqliteStorage.builder().transaction_timeout(0.05).build(path) as storage:
            transaction = await storage.begin_transaction()
            await storage.store_agent(an_agent("late"))

            await elsewhere(storage.store_agent(an_agent("other")))

            with pytest.raises(TransactionError, match=r"transaction_timeout \(0.05 s\)"):
                await storage.store_agent(an_agent("later"))
            with pytest.raises(TransactionError, match=r"transaction_timeout \(0.05 s\)"):
                await transaction.commit()
            assert ids(await storage.list_agents()) == ["other"]

    async def test_one_open_for_too_long_can_be_rolled_back(self, path: Path) -> None:
        async with await SqliteStorage.builder().transaction_timeout(0.05).build(path) as storage:
            transaction = await storage.begin_transaction()
            await elsewhere(storage.store_agent(an_agent("other")))

            await transaction.rollback()

            await storage.store_agent(an_agent("after"))
            assert set(ids(await storage.list_agents())) == {"other", "after"}

    async def test_an_error_in_a_block_that_was_open_for_too_long_stays_itself(self, path: Path) -> None:
        async with await SqliteStorage.builder().transaction_timeout(0.05).build(path) as storage:

            async def fail() -> None:
                async with storage.transaction():
                    await elsewhere(storage.store_agent(an_agent("other")))
                    raise ValueError("its own")

            with pytest.raises(ValueError, match="its own"):
                await fail()
