"""Facts about opening: what is wrong is said at once, by the server's name, and without the password."""

import asyncio
import subprocess
import sys

import asyncpg
import pytest

from postgres.old_servers import old_programs
from postgres.servers import PASSWORD, Server, free_port, new_server
from swarm_persistence import DatabaseError, MigrationError, OtherError, PostgresStorage, StorageError, init_storage
from swarm_persistence_conformance.records import a_task


async def refusal(url: str) -> StorageError:
    """Return the error of opening a URL, which must not hold the password in any form."""
    with pytest.raises(StorageError) as caught:
        await PostgresStorage.open(url)
    error: BaseException | None = caught.value
    while error is not None:
        assert PASSWORD not in str(error)
        assert PASSWORD not in repr(error)
        error = error.__cause__
    return caught.value


class TestOpening:
    async def test_a_wrong_password_is_named(self, server: Server) -> None:
        error = await refusal(server.url(password="wrong"))

        assert isinstance(error, DatabaseError)
        assert f"127.0.0.1:{server.port}: the password was refused" in str(error)
        assert "wrong" not in str(error)

    async def test_an_option_that_the_driver_refuses_is_named_at_once(self) -> None:
        async with asyncio.timeout(20):  # less than connection_timeout
            error = await refusal(f"postgresql://me:{PASSWORD}@127.0.0.1/swarm?sslmode=nonsense")

        assert isinstance(error, OtherError)
        assert "`sslmode` parameter must be one of" in str(error)

    async def test_a_failure_of_the_driver_itself_is_told_at_once(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fail(*_: object) -> None:
            raise RecursionError

        monkeypatch.setattr("swarm_persistence.engines.sql.postgres.connector.set_codecs", fail)
        async with asyncio.timeout(20):  # less than connection_timeout
            error = await refusal(url)

        assert "no connection could be opened (RecursionError)" in str(error)
        assert isinstance(error.__cause__, RecursionError)

    async def test_an_unknown_host_is_named(self) -> None:
        assert "nowhere.invalid:5432: the host is unknown" in str(
            await refusal(f"postgresql://me:{PASSWORD}@nowhere.invalid/swarm")
        )

    @pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".invalid"])
    async def test_a_host_whose_name_is_none_is_named(self, host: str) -> None:
        assert f"{host}:5432: the host's name is not a valid one" in str(
            await refusal(f"postgresql://me:{PASSWORD}@{host}/swarm")
        )

    async def test_a_port_without_a_server_is_named(self) -> None:
        port = free_port()

        assert f"127.0.0.1:{port}: nothing listens there" in str(
            await refusal(f"postgresql://me:{PASSWORD}@127.0.0.1:{port}/swarm")
        )

    async def test_a_missing_database_is_named(self, server: Server) -> None:
        error = await refusal(server.url(database="missing"))

        assert "the database does not exist" in str(error)
        assert "/missing" in str(error)

    async def test_a_role_without_rights_is_told_so(self, server: Server, admin: asyncpg.Connection) -> None:
        await admin.execute("CREATE ROLE stranger LOGIN PASSWORD 'x'")

        error = await refusal(server.url(user="stranger", password="x", schema="not_theirs"))

        assert isinstance(error, MigrationError)
        assert f"127.0.0.1:{server.port}: the schema 'not_theirs'" in str(error)
        assert "permission denied" in str(error)

    async def test_a_schema_that_is_newer_than_the_code_is_left_as_it_is(
        self, url: str, schema: str, server: Server, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await storage.store_task(a_task())
        await admin.execute(f"INSERT INTO {schema}.schema_migrations VALUES (999, 'of tomorrow', now())")

        error = await refusal(url)

        assert isinstance(error, MigrationError)
        assert f"127.0.0.1:{server.port}: the schema" in str(error)
        assert "999" in str(error)
        assert "upgrade" in str(error)
        assert await admin.fetchval(f"SELECT count(*) FROM {schema}.tasks") == 1

    async def test_a_schema_with_another_programs_tables_is_left_as_it_is(
        self, url: str, schema: str, admin: asyncpg.Connection
    ) -> None:
        await admin.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.tasks (what text)")

        error = await refusal(url)
        assert isinstance(error, MigrationError)
        assert "127.0.0.1" in str(error)
        assert await admin.fetchval(f"SELECT count(*) FROM pg_class WHERE relnamespace = '{schema}'::regnamespace") == 1

    async def test_a_server_that_is_too_old_is_refused(self) -> None:
        with new_server(old_programs()) as old:
            error = await refusal(old.url())

        assert isinstance(error, DatabaseError)
        assert f"127.0.0.1:{old.port}: the server is PostgreSQL 12.22; 13 is the oldest supported one" in str(error)

    async def test_a_database_of_another_encoding_is_refused(self, server: Server, admin: asyncpg.Connection) -> None:
        await admin.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")

        assert "LATIN1" in str(await refusal(server.url(database="latin")))

    async def test_a_host_that_never_answers_is_given_up_in_time(self) -> None:
        has_left = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            await writer.wait_closed()
            has_left.set()

        async with await asyncio.start_server(silent, "127.0.0.1", 0) as host:
            port = host.sockets[0].getsockname()[1]
            async with asyncio.timeout(20):
                error = await refusal(f"postgresql://me:{PASSWORD}@127.0.0.1:{port}/swarm?connection_timeout=0.5")
                await has_left.wait()

        assert "no answer in time" in str(error)

    async def test_every_host_that_was_tried_is_named(self, server: Server) -> None:
        port = free_port()
        url = server.url(database="missing").replace("@127.0.0.1", f"@127.0.0.1:{port},127.0.0.1")

        error = str(await refusal(url))

        assert f"127.0.0.1:{port}: nothing listens there" in error
        assert f"127.0.0.1:{server.port}: the database does not exist" in error

    async def test_init_storage_opens_it_by_url(self, url: str) -> None:
        async with await init_storage(url) as storage:
            await storage.store_task(a_task())

            assert isinstance(storage, PostgresStorage)

    async def test_nothing_is_written_to_the_public_schema(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await storage.store_task(a_task())

        assert await admin.fetchval("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == 0

    async def test_many_that_open_an_empty_schema_at_once_all_succeed(self, url: str) -> None:
        storages = await asyncio.gather(*(PostgresStorage.open(url) for _ in range(8)))

        versions = [(await storage.migration_status()).version for storage in storages]
        await asyncio.gather(*(storage.close() for storage in storages))
        assert len(set(versions)) == 1


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "named"),
        [
            ("postgresql://h/d?schema=Upper", "schema"),
            ("postgresql://h/d?schema=pg_mine", "schema"),
            ("postgresql://h/d?max_connections=0", "max_connections"),
            ("postgresql://h/d?max_connections=many", "max_connections"),
            ("postgresql://h/d?connection_timeout=-1", "connection_timeout"),
            ("postgresql://h/d?colour=blue", "colour"),
            ("postgresql://h:port/d", "port"),
            ("postgresql://h:99999/d", "port"),
            ("postgresql://h:0/d", "port"),
            ("postgresql://[::1]:-5/d", "port"),
            ("postgresql://h/d?port=99999", "port"),
            ("postgresql://h/d?channel_binding=require", "asyncpg knows no channel binding.*verify-full"),
            ("postgresql://h/d?channel_binding=maybe", "channel_binding is 'maybe', expected disable or prefer"),
            ("postgresql://h1,h2,h3/d?port=1,2", "ports"),
        ],
    )
    async def test_what_makes_no_sense_is_named(self, url: str, named: str) -> None:
        with pytest.raises(OtherError, match=named):
            await PostgresStorage.open(url)

    @pytest.mark.parametrize("mark", "/?#")
    async def test_a_password_that_is_not_escaped_is_refused_and_not_shown(self, mark: str) -> None:
        with pytest.raises(OtherError, match="%2F") as caught:
            await PostgresStorage.open(f"postgresql://me:12{mark}hunter2@127.0.0.1/swarm")
        assert "hunter2" not in repr(caught.value)

    @pytest.mark.parametrize("use", ["disable", "prefer"])
    async def test_a_channel_binding_that_need_not_be_is_accepted(self, url: str, use: str) -> None:
        async with await PostgresStorage.open(f"{url}&channel_binding={use}") as storage:
            await storage.store_task(a_task())

    async def test_its_options_are_the_builders(self, url: str) -> None:
        async with await PostgresStorage.open(f"{url}&max_connections=3&connect_timeout=7") as storage:
            assert storage.pool_status().max == 3

    async def test_the_builder_sets_what_the_url_does_not(self, url: str) -> None:
        builder = PostgresStorage.builder().max_connections(5).min_idle_connections(2).connection_timeout(9)

        async with await builder.idle_timeout(60).build(url) as storage:
            assert storage.pool_status().max == 5

    async def test_the_text_of_a_storage_holds_no_password(self, storage: PostgresStorage) -> None:
        assert PASSWORD not in repr(storage)
        assert "127.0.0.1" in repr(storage)


def test_the_package_itself_loads_no_driver() -> None:
    script = "import sys, swarm_persistence; assert 'asyncpg' not in sys.modules"

    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_the_driver_one_line_says_how_to_get_it() -> None:
    script = "import sys; sys.modules['asyncpg'] = None; import swarm_persistence.backends.postgres"

    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    hint = "ImportError: PostgreSQL needs asyncpg; pip install 'swarm-persistence[postgres]' brings it"
    assert run.stderr.strip().splitlines()[-1] == hint
