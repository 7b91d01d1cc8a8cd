"""The servers and storages of partitioned history: on the newest server, and on the system's older one."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from postgres.servers import Server, embedded_programs, new_server, system_programs
from swarm_persistence import PostgresStorage


@pytest.fixture(scope="module", params=[embedded_programs, system_programs], ids=["newest", "system's"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Give each of the servers."""
    with new_server(request.param()) as server:
        yield server


@pytest_asyncio.fixture
async def storage(url: str) -> AsyncIterator[PostgresStorage]:
    """Give a fresh storage whose history is partitioned by month."""
    async with await PostgresStorage.builder().partition_by("month").build(url) as storage:
        yield storage
