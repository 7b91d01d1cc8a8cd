"""Facts about rights and secrets: the role with the fewest rights works, TLS is honoured, no password is shown."""

import asyncio
import logging
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from postgres.servers import PASSWORD, USER, Server, new_server, system_programs
from swarm_persistence import (
    DatabaseError,
    MigrationError,
    PostgresStorage,
    StorageError,
    TaskModel,
    TaskStatus,
)
from swarm_persistence.engines.sql.postgres.settings import PostgresSettings
from swarm_persistence.engines.sql.postgres.url import PostgresUrl
from swarm_persistence_conformance.records import a_task, complete_records, everything_in

PAGE = (Path(__file__).parents[2] / "docs" / "postgres.md").read_text()
(GRANTS,) = re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest_asyncio.fixture
async def restricted(server: Server, storage: PostgresStorage, schema: str) -> AsyncIterator[PostgresStorage]:
    """Give a storage of a role that has the rights of the documentation, and no others."""
    admin = await asyncpg.connect(server.url())
    role = f"role_of_{schema}"
    grants = re.sub(r"\bswarm\b", schema, GRANTS.replace("swarm_worker", role)).replace("'…'", "'x'")
    try:
        await admin.execute(grants)
    finally:
        await admin.close()
    async with await PostgresStorage.open(server.url(user=role, password="x", schema=schema)) as restricted:
        yield restricted


class TestLeastPrivilege:
    async def test_it_stores_reads_changes_and_deletes(self, restricted: PostgresStorage) -> None:
        await restricted.store_many(complete_records())
        assert all((await everything_in(restricted)).values())

        await restricted.store_task(a_task("next", dependencies=["missing"]))
        await restricted.store_task(a_task("missing"))
        task = await restricted.claim_next_task("agent-9")
        assert task is not None
        await restricted.complete_task(task, "done")
        await restricted.requeue_expired_tasks()
        await restricted.delete_agent("agent-1")
        async with restricted.transaction():
            await restricted.repository(TaskModel).delete("next")

    async def test_it_keeps_the_house(self, restricted: PostgresStorage) -> None:
        await restricted.vacuum()
        await restricted.checkpoint()
        await restricted.get_storage_size()

        assert (await restricted.migration_status()).version >= 1

    async def test_it_is_woken_by_others(self, restricted: PostgresStorage, storage: PostgresStorage) -> None:
        waiting = asyncio.create_task(restricted.claim_next_task("agent-1", wait=20))
        await asyncio.sleep(0)
        await storage.store_task(a_task())

        task = await waiting
        assert task is not None
        assert task.status is TaskStatus.ASSIGNED

    async def test_it_may_not_change_the_schema(self, restricted: PostgresStorage) -> None:
        with pytest.raises(MigrationError, match="may not change it"):
            await restricted.migrate_to(0)

    async def test_without_the_right_to_vacuum_it_is_told_which_one_is_missing(
        self, restricted: PostgresStorage, schema: str, admin: asyncpg.Connection
    ) -> None:
        await admin.execute(f"REVOKE MAINTAIN ON ALL TABLES IN SCHEMA {schema} FROM role_of_{schema}")

        with pytest.raises(DatabaseError, match="GRANT MAINTAIN"):
            await restricted.vacuum()


class TestSecrets:
    async def test_no_log_and_no_text_holds_the_password(
        self, url: str, server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)

        async with await PostgresStorage.open(url) as storage:
            texts = [repr(storage), repr(vars(storage._engine)), repr(PostgresUrl(url)), str(PostgresUrl(url))]
            with pytest.raises(StorageError) as caught:
                await PostgresStorage.open(server.url(database="missing"))
            texts += [str(caught.value), repr(caught.value), caplog.text]

        assert not [text for text in texts if PASSWORD in text]


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """Give a server that takes TLS connections only, and the certificate that it shows."""
    folder = tmp_path_factory.mktemp("certificates")
    key, certificate = folder / "server.key", folder / "server.crt"
    subprocess.run(
        ["openssl", "req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-out", certificate, "-keyout", key],
        check=True, capture_output=True,
    )  # fmt: skip
    with new_server(system_programs()) as server:
        for path in (key, certificate):
            (server.data / path.name).write_bytes(path.read_bytes())
            (server.data / path.name).chmod(0o600)
        server.give_away_data()
        server.configure({"ssl": "on"})
        server.require_tls()
        server.stop()
        server.start()
        yield server, certificate


class TestTls:
    def url(self, server: Server, host: str, **options: str) -> str:
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://{USER}:{PASSWORD}@{host}:{server.port}/postgres?{query}"

    async def test_the_full_check_of_the_certificate_passes(self, certified: tuple[Server, Path]) -> None:
        server, certificate = certified
        url = self.url(server, "localhost", sslmode="verify-full", sslrootcert=str(certificate))

        async with await PostgresStorage.open(url) as storage:
            await storage.store_task(a_task())
            connection = await storage._engine._loop_engine().pool.acquire(float("inf"))
            assert connection.driver._transport.get_extra_info("ssl_object") is not None  # type: ignore[attr-defined]
            storage._engine._loop_engine().pool.release(connection)

    async def test_a_certificate_of_another_host_is_refused(self, certified: tuple[Server, Path]) -> None:
        server, certificate = certified
        url = self.url(server, "127.0.0.1", sslmode="verify-full", sslrootcert=str(certificate))

        with pytest.raises(StorageError, match=r"(?i)certificate") as caught:
            await PostgresStorage.open(url)
        assert isinstance(caught.value.__cause__, ssl.SSLError)

    async def test_an_unknown_certificate_is_refused(self, certified: tuple[Server, Path]) -> None:
        server, _ = certified
        other = Path(ssl.get_default_verify_paths().openssl_cafile)
        url = self.url(server, "localhost", sslmode="verify-ca", sslrootcert=str(other))

        with pytest.raises(StorageError, match=r"(?i)certificate"):
            await PostgresStorage.open(url)

    async def test_without_tls_it_is_refused_by_the_server(self, certified: tuple[Server, Path]) -> None:
        server, _ = certified

        with pytest.raises(StorageError, match="no encryption"):
            await PostgresStorage.open(self.url(server, "localhost", sslmode="disable"))


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("postgresql://me:secret@h/d", "postgresql://h:5432/d"),
        ("postgresql:///d?host=/var/run/pg&port=5433", "postgresql://%2Fvar%2Frun%2Fpg:5433/d"),
        ("postgresql://[::1]:5433/a%20b", "postgresql://[::1]:5433/a%20b"),
        ("postgresql:///d", "postgresql:///d"),
        ("postgresql://a:1,b/d", "postgresql://a:1,b:5432/d"),
    ],
)
def test_the_command_that_an_error_names_leads_to_the_same_database(url: str, command: str) -> None:
    target = PostgresUrl(url)
    assert target.command("migrate", "s") == f"swarm-persistence migrate '{command}?schema=s'"
    again = PostgresUrl(command)
    assert again.database == target.database
    assert [(host, port or 5432) for host, port in again.hosts] == [(host, port or 5432) for host, port in target.hosts]


def test_a_setting_of_the_url_is_not_taken_for_a_secret() -> None:
    assert PostgresUrl("postgresql://h/d?schema=mine").settings(PostgresSettings()).schema == "mine"
