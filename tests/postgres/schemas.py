"""The fixture that the conformance suite asks for: fresh storages, each in an empty schema."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import asyncpg
import pytest

from postgres.servers import Server
from swarm_persistence.backends.postgres import PostgresStorage
from swarm_persistence.schema.tables import TABLES
from swarm_persistence.storage import Storage
from swarm_persistence_conformance.fixtures import OpenStorage


class Schemas:
    """Schemas to use again, as an empty one takes far longer to make than to empty."""

    def __init__(self) -> None:
        self.free: list[str] = []
        self._numbers = count()

    async def take(self, url: str) -> str:
        """Return a schema that holds nothing."""
        if not self.free:
            return f"fresh_{next(self._numbers)}"
        schema = self.free.pop()
        connection = await asyncpg.connect(url)
        try:
            for table in TABLES:
                name = f"{schema}.{table.name}"
                # That of a partitioned table goes on in the present period.
                await connection.execute(f"""
                  DELETE FROM {name};
                  SELECT setval(pg_get_serial_sequence('{name}', 'sequence'), greatest(max(lower), 1), false)
                  FROM {schema}.partitions
                  WHERE parent = '{table.name}' AND begun_at IS NOT NULL
                """)
            await connection.execute(f"UPDATE {schema}.event_floor SET number = 0")
        finally:
            await connection.close()
        return schema


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    """Give the schemas that were used before."""
    return Schemas()


@pytest.fixture
def open_storage(server: Server, schemas: Schemas) -> OpenStorage:
    """Give the way to a fresh storage: a schema of its own."""

    @asynccontextmanager
    async def open_storage() -> AsyncIterator[Storage]:
        schema = await schemas.take(server.local_url())
        async with await PostgresStorage.open(server.local_url(schema=schema)) as storage:
            yield storage
        schemas.free.append(schema)

    return open_storage
