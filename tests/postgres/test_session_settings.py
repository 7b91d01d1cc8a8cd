"""Facts about sessions: what a role or another client has set changes nothing of what a call does and promises."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from postgres.poolers import new_pooler
from postgres.servers import Server, embedded_programs, new_server, system_programs
from swarm_persistence import OtherError, PoolError, PostgresStorage
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, an_agent, complete_records, everything_in, ids

SETTINGS_OF_OURS = (
    "SELECT name, setting FROM pg_settings WHERE name IN ('synchronous_commit', 'search_path', 'TimeZone', "
    "'default_transaction_isolation', 'statement_timeout', 'idle_session_timeout', 'lock_timeout', "
    "'idle_in_transaction_session_timeout', 'transaction_timeout')"
)
WEAK = {
    "synchronous_commit": "off",
    "TimeZone": "Pacific/Auckland",
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "statement_timeout": "1s",
    "lock_timeout": "1s",
    "idle_session_timeout": "1s",
    "idle_in_transaction_session_timeout": "1s",
    "row_security": "off",
    "search_path": "evil, pg_catalog",
}
EVIL = """
CREATE SCHEMA evil;
CREATE DOMAIN evil.text AS pg_catalog.text CHECK (VALUE IS NULL);
CREATE FUNCTION evil.never(pg_catalog.text, pg_catalog.text) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR evil.= (LEFTARG = pg_catalog.text, RIGHTARG = pg_catalog.text, FUNCTION = evil.never);
CREATE FUNCTION evil.statement_timestamp() RETURNS timestamptz LANGUAGE sql AS $$SELECT '2001-01-01'::timestamptz$$;
CREATE FUNCTION evil.set_config(pg_catalog.text, pg_catalog.text, boolean) RETURNS pg_catalog.text
  LANGUAGE sql AS $$SELECT NULL::pg_catalog.text$$;
CREATE FUNCTION evil.pg_backend_pid() RETURNS integer LANGUAGE sql AS 'SELECT 0';
CREATE FUNCTION evil.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE sql AS 'SELECT $1[1] WHERE false';
GRANT USAGE ON SCHEMA evil TO PUBLIC;
"""


async def make_weak_role(url: str) -> str:
    """Make a role that owns nothing yet, and whose sessions begin with the weakest settings; return its name."""
    admin = await asyncpg.connect(url)
    try:
        await admin.execute(EVIL)
        await admin.execute("CREATE ROLE weak LOGIN PASSWORD 'weak'; GRANT CREATE ON DATABASE postgres TO weak")
        for name, value in WEAK.items():
            await admin.execute(f"ALTER ROLE weak SET {name} = {value if name == 'search_path' else repr(value)}")
    finally:
        await admin.close()
    return "weak"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def durable() -> AsyncIterator[Server]:
    """Give a server that keeps what it acknowledges, if it is asked to, and writes nothing else for long."""
    with new_server(embedded_programs(), is_durable=True, wal_writer_delay="10s") as server:
        await make_weak_role(server.url())
        yield server


@pytest_asyncio.fixture
async def weak_storage(durable: Server, schema: str) -> AsyncIterator[PostgresStorage]:
    """Give a storage of the role with the weakest settings."""
    async with await PostgresStorage.open(durable.url(user="weak", password="weak", schema=schema)) as storage:
        yield storage


async def crash(server: Server) -> None:
    """Stop a server as a power cut does, and start it again."""
    await asyncio.to_thread(server.stop, "immediate")
    await asyncio.to_thread(server.start)


class TestDurability:
    async def test_what_was_acknowledged_outlives_a_crash_whatever_the_role_is_set_to(
        self, weak_storage: PostgresStorage, durable: Server
    ) -> None:
        await weak_storage.store_task(a_task("single"))
        async with weak_storage.transaction():
            await weak_storage.store_task(a_task("in a transaction"))
        await weak_storage.claim_task("single", "agent-1")
        await crash(durable)

        assert ids(await weak_storage.get_pending_tasks()) == ["in a transaction"]
        assert ids(await weak_storage.get_tasks_by_agent("agent-1")) == ["single"]

    @pytest.mark.parametrize("prepared", ["off", "auto", "on"])
    async def test_nor_whatever_another_client_of_the_pooler_has_set(
        self, durable: Server, schema: str, prepared: str
    ) -> None:
        async with new_pooler(durable, size=1) as url:
            storage = await PostgresStorage.open(f"{url}?schema={schema}&prepared_statements={prepared}")
            client = await asyncpg.connect(url, statement_cache_size=0)
            for name in ("synchronous_commit", "search_path", "default_transaction_isolation"):
                await client.execute(f"SET {name} = {WEAK[name]}")

            await storage.store_task(a_task("single"))
            async with storage.transaction():
                await storage.store_task(a_task("in a transaction"))
            assert await storage.claim_task("single", "agent-1")
            await client.close()
            await crash(durable)

            assert ids(await storage.get_pending_tasks()) == ["in a transaction"]
            assert ids(await storage.get_tasks_by_agent("agent-1")) == ["single"]
            await storage.close()

    @pytest.mark.parametrize(
        ("durability", "of_role", "expected"),
        [
            ("full", "off", "on"), ("full", "local", "on"), ("full", "remote_write", "on"), ("full", "on", "on"),
            ("full", "remote_apply", "remote_apply"), ("normal", "on", "off"), ("normal", "remote_apply", "off"),
        ],
    )  # fmt: skip
    async def test_synchronous_commit_is_what_durability_says_and_is_never_weakened(
        self, url: str, durability: str, of_role: str, expected: str
    ) -> None:
        options = f"durability={durability}&options=-c%20synchronous_commit%3D{of_role}"
        async with await PostgresStorage.open(f"{url}&{options}") as storage:
            assert (await settings_of(storage))["synchronous_commit"] == expected

    async def test_another_durability_is_refused_by_name(self, url: str) -> None:
        with pytest.raises(OtherError, match="durability is 'some', expected 'full' or 'normal'"):
            await PostgresStorage.open(url, durability="some")  # type: ignore[arg-type]


class TestSettings:
    async def test_a_roles_search_path_and_settings_change_nothing(self, weak_storage: PostgresStorage) -> None:
        await weak_storage.store_many(complete_records())
        assert all((await everything_in(weak_storage)).values())

        await weak_storage.store_task(a_task("1", payload="a\\'b"))
        await weak_storage.store_task(a_task("2", dependencies=["1"]))
        async with weak_storage.transaction():
            await weak_storage.store_agent(an_agent("another"))
        task = await weak_storage.claim_task("1", "another", lease=60)
        assert task
        found = await weak_storage.get_task("1")
        assert found is not None
        assert found.payload == "a\\'b"
        await weak_storage.complete_task(found, "done")
        assert "2" in ids(await weak_storage.get_pending_tasks())
        await weak_storage.vacuum()
        await weak_storage.migrate_to(0)

    async def test_a_session_of_ours_is_set_up_by_the_storage(self, weak_storage: PostgresStorage) -> None:
        assert await settings_of(weak_storage) == {
            "synchronous_commit": "on",
            "search_path": "pg_catalog, pg_temp",
            "TimeZone": "UTC",
            "default_transaction_isolation": "read committed",
            "statement_timeout": "0",
            "idle_session_timeout": "0",
            "lock_timeout": "34000",
            "idle_in_transaction_session_timeout": "32000",
            "transaction_timeout": "0",
        }

    async def test_the_systems_older_server_can_be_set_up_too(self) -> None:
        with new_server(system_programs()) as server:
            async with await PostgresStorage.open(server.url()) as storage:
                await storage.store_task(a_task())
                async with storage.transaction():
                    await storage.store_task(a_task("2"))
                assert (await settings_of(storage))["TimeZone"] == "UTC"


async def settings_of(storage: PostgresStorage) -> dict[str, str]:
    """Return what a session of a storage is set to."""
    pool = storage._engine._loop_engine().pool
    connection = await pool.acquire(float("inf"))
    try:
        return dict(await connection.run(SETTINGS_OF_OURS))
    finally:
        pool.release(connection)


STOPPED = """
import asyncio, sys
from swarm_persistence import PostgresStorage

async def main(url):
    async with await PostgresStorage.open(url) as storage, storage.transaction():
        await storage.claim_task("task-1", "stopped")
        print("holds it", flush=True)
        await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


class TestStoppedClients:
    async def test_the_server_ends_the_transaction_of_a_stopped_process_before_others_give_up(
        self, url: str, storage: PostgresStorage
    ) -> None:
        await storage.store_task(a_task())
        limits = f"{url}&connection_timeout=1&transaction_timeout=1"
        stopped = await asyncio.create_subprocess_exec(
            sys.executable, "-c", STOPPED, limits, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert stopped.stdout is not None
            assert await stopped.stdout.readline() == b"holds it\n"
            os.kill(stopped.pid, signal.SIGSTOP)

            async with await PostgresStorage.open(limits) as other:
                assert await other.claim_task("task-1", "other")
        finally:
            stopped.kill()
            await stopped.wait()

    async def test_a_transaction_that_is_never_idle_is_ended_by_the_server_too(self, url: str) -> None:
        async with await PostgresStorage.open(f"{url}&transaction_timeout=0.2") as storage:
            pool = storage._engine._loop_engine().pool
            connection = await pool.acquire(float("inf"))
            await connection.begin_for_caller()
            with pytest.raises(asyncpg.PostgresError):
                await connection.run("SELECT pg_catalog.pg_sleep(300)")
            pool.release(connection)

        assert connection.is_closed
        assert not connection.has_expired  # by this end

    async def test_who_does_not_want_to_wait_for_a_whole_transaction_need_not(
        self, url: str, storage: PostgresStorage
    ) -> None:
        await storage.store_task(a_task())
        limits = f"{url}&connection_timeout=0.2&transaction_timeout=30"
        async with await PostgresStorage.open(limits) as impatient, storage.transaction():
            await storage.claim_task("task-1", "first")
            with pytest.raises(PoolError, match=r"longer than 0\.2 s"):
                await elsewhere(impatient.claim_task("task-1", "second"))
