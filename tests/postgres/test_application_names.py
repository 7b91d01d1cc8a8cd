"""Facts about the name under which connections show on the server."""

import asyncio
import contextvars

import asyncpg
import pytest

from polling import until
from postgres.poolers import new_pooler
from postgres.servers import Server
from swarm_persistence import DatabaseError, PostgresStorage, Worker, __version__
from swarm_persistence.engines.sql.postgres.connector import ApplicationName
from swarm_persistence_conformance.records import a_task, an_agent

OWN = f"swarm-persistence/{__version__}"
OF_DATABASE = (
    "SELECT application_name FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


async def names(admin: asyncpg.Connection) -> set[str]:
    """Return the names of all other connections to the server."""
    return {row[0] for row in await admin.fetch(OF_DATABASE)}


async def until_named(admin: asyncpg.Connection, *expected: str) -> None:
    """Wait until these are the names of all connections."""

    async def are_named_so() -> bool:
        return await names(admin) == {*expected}

    await until(are_named_so)


class TestApplicationNames:
    async def test_connections_show_the_package_and_its_version(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await asyncio.gather(*(storage.store_task(a_task(str(number))) for number in range(5)))

        await until_named(admin, OWN)

    async def test_all_connections_show_the_agent_while_its_worker_is_at_work(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        busy = await storage.begin_transaction()
        await asyncio.gather(*(storage.list_agents() for _ in range(4)))
        await busy.rollback()
        async with Worker(storage, an_agent(name="reader"), {"work": print}, heeds_signals=False):
            await until_named(admin, f"{OWN} reader")  # the connection to listen on, too
            other = Worker(storage.schema("a_tenant"), an_agent(name="writer"), {"work": print}, heeds_signals=False)
            async with other:
                await until_named(admin, f"{OWN} reader,writer")
            await until_named(admin, f"{OWN} reader")
        await storage.list_agents()

        await until_named(admin, OWN)

    async def test_connections_do_not_show_an_agent_that_could_not_be_registered(
        self, storage: PostgresStorage, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def refuse(*_: object) -> None:
            raise DatabaseError("refused")

        monkeypatch.setattr(PostgresStorage, "heartbeat", refuse)
        with pytest.raises(DatabaseError, match="refused"):
            async with Worker(storage, an_agent(name="reader"), {"work": print}, heeds_signals=False):
                pass
        await storage.list_agents()

        await until_named(admin, OWN)

    async def test_a_connection_that_was_lent_is_renamed_when_it_comes_back(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        async with storage.transaction():
            await storage.store_task(a_task())
            contextvars.Context().run(storage.begin_service, an_agent(name="o'neill"))
            assert OWN in await names(admin)

        await until_named(admin, f"{OWN} o'neill")

    async def test_the_urls_own_name_stays(self, url: str, admin: asyncpg.Connection) -> None:
        async with (
            await PostgresStorage.open(f"{url}&application_name=mine") as storage,
            Worker(storage, an_agent(), {"work": print}, heeds_signals=False),
        ):
            await storage.store_task(a_task())
            await until_named(admin, "mine")

    async def test_the_environments_name_stays(
        self, url: str, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PGAPPNAME", "theirs")
        async with await PostgresStorage.open(url) as storage:
            await storage.store_task(a_task())
            await until_named(admin, "theirs")

    async def test_a_pooler_passes_it_on(self, server: Server, schema: str, admin: asyncpg.Connection) -> None:
        async with (
            new_pooler(server) as url,
            await PostgresStorage.open(f"{url}?schema={schema}") as storage,
            storage.transaction(),
        ):
            await storage.store_task(a_task())
            assert OWN in await names(admin)


def test_a_name_is_cut_to_what_a_server_shows() -> None:
    name = ApplicationName(None)
    name.add("ä\n" + "x" * 100)

    assert name.text == f"{OWN} ??{'x' * 100}"[:63]
    assert len(name.text.encode()) == 63


def test_an_agent_of_two_workers_is_named_until_both_have_ended() -> None:
    name = ApplicationName(None)
    for _ in range(2):
        name.add("one")
    name.discard("one")
    assert name.text == f"{OWN} one"
    name.discard("one")

    assert name.text == OWN
