"""The servers and storages that the facts about PostgreSQL run on."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from polling import until
from postgres.ground import Ground
from postgres.proxies import Proxy, new_proxy
from postgres.servers import Server, embedded_programs, new_server
from swarm_persistence import PostgresStorage
from swarm_persistence.engines.sql.postgres.connection import Connection

_numbers = count()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Give one server for the whole run, which is fast because it need not be durable."""
    with new_server(embedded_programs()) as server:
        yield server


@pytest.fixture
def schema() -> str:
    """Give the name of an unused schema."""
    return f"schema_{next(_numbers)}"


@pytest.fixture
def url(server: Server, schema: str) -> str:
    """Give the URL of an unused schema."""
    return server.url(schema=schema)


@pytest_asyncio.fixture
async def storage(url: str) -> AsyncIterator[PostgresStorage]:
    """Give a fresh storage."""
    async with await PostgresStorage.open(url) as storage:
        yield storage


@pytest_asyncio.fixture
async def other(url: str, storage: PostgresStorage) -> AsyncIterator[PostgresStorage]:
    """Give another storage on the same schema, as another process would open it."""
    async with await PostgresStorage.open(url) as other:
        yield other


@pytest_asyncio.fixture
async def admin(server: Server) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection beside the storage's own."""
    connection = await asyncpg.connect(server.url())
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def rival(server: Server, schema: str) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection that holds locks in the schema which the storage waits for."""
    connection = await asyncpg.connect(server.url(), server_settings={"search_path": schema})
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    """Give a proxy before the server."""
    async with new_proxy(server) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def impatient(proxy: Proxy, schema: str) -> AsyncIterator[PostgresStorage]:
    """Give a storage behind the proxy that does not wait for long."""
    url = proxy.url(schema=schema, connection_timeout=5, operation_timeout=0.5)
    async with await PostgresStorage.open(url) as storage:
        yield storage


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Record the statements that connections run, with their values."""
    run: list[tuple[str, Any]] = []
    call = Connection._call

    async def record(self: Connection, method: Any, text: str, values: Any) -> Any:
        run.append((text, values))
        return await call(self, method, text, values)

    monkeypatch.setattr(Connection, "_call", record)
    return run


@pytest_asyncio.fixture
async def ground(url: str, storage: PostgresStorage, admin: asyncpg.Connection) -> AsyncIterator[Ground]:
    """Give a fresh schema, to migrate by steps."""
    ground = Ground(url, storage, admin)
    yield ground
    for connection in ground.connections:
        await connection.close()


async def a_lock_is_waited_for(connection: asyncpg.Connection) -> None:
    """Return once any statement on the server waits for another one's lock."""
    await until(lambda: connection.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))


async def blocked_by(admin: asyncpg.Connection, call: "asyncio.Task[Any]") -> None:
    """Return once a call that was started waits for another one's lock; let the error through if it is over."""

    async def waits_or_is_over() -> bool:
        return call.done() or bool(await admin.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))

    await until(waits_or_is_over)
    if call.done():
        raise AssertionError(f"it waits for no lock, and gave {await call!r}")


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch, schema: str) -> list[str]:
    """Record the statements about the schema's tables, and those of transactions."""
    texts: list[str] = []
    call, order = Connection._call, Connection.execute

    async def record_call(self: Connection, method: Any, text: str, *values: Any) -> Any:
        if f'"{schema}".' in text:
            texts.append(text)
        return await call(self, method, text, *values)

    async def record_order(self: Connection, text: str) -> None:
        texts.append(text)
        await order(self, text)

    monkeypatch.setattr(Connection, "_call", record_call)
    monkeypatch.setattr(Connection, "execute", record_order)
    return texts
