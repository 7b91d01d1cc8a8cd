"""The PostgreSQL server of the development extra, for benchmarks that bring their own."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

_TESTS = Path(__file__).parents[1] / "tests"


@contextmanager
def own_server(*statements: str) -> Iterator[str]:
    """Give the URL of a new server, after these statements, and stop it afterwards."""
    sys.path.insert(0, str(_TESTS))
    from postgres.servers import embedded_programs, new_server

    async def run(url: str) -> None:
        connection = await asyncpg.connect(url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    with new_server(embedded_programs(), is_durable=True) as server:
        asyncio.run(run(server.url()))
        yield server.url()
