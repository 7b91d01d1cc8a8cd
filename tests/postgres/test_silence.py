"""Facts about a server that falls silent while its connections stay open: an answer in time, and a true one."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from postgres.proxies import Proxy, new_proxy
from postgres.servers import Server
from swarm_persistence import OutcomeUnknownError, PostgresStorage
from swarm_persistence.testing.records import a_task, an_agent


@pytest_asyncio.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    """Give a proxy before the server."""
    async with new_proxy(server) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def impatient(proxy: Proxy, schema: str) -> AsyncIterator[PostgresStorage]:
    """Give a storage behind the proxy that does not wait for long, with several connections open."""
    url = proxy.url(schema=schema, connection_timeout=2, operation_timeout=0.5, max_connections=8)
    async with await PostgresStorage.open(url) as storage:
        await asyncio.gather(*(storage.claim_task(str(number), "agent-1") for number in range(50)))
        assert storage.pool_status().idle > 5
        yield storage


class TestWrites:
    async def test_a_store_whose_answer_is_lost_says_that_nobody_knows(
        self, impatient: PostgresStorage, proxy: Proxy, admin: asyncpg.Connection, schema: str
    ) -> None:
        proxy.fatal_words = b"task-1"

        with pytest.raises(OutcomeUnknownError, match=f"127.0.0.1:{proxy.port}.*read it back"):
            await impatient.store_task(a_task("task-1"))
        assert await admin.fetchval(f"SELECT count(*) FROM {schema}.tasks") == 1

    async def test_so_does_a_store_of_many(self, impatient: PostgresStorage, proxy: Proxy) -> None:
        proxy.fatal_words = b"COMMIT\0"  # not COMMITTED, as in BEGIN

        with pytest.raises(OutcomeUnknownError, match="read it back"):
            await impatient.store_many([a_task("1"), an_agent("2")])
