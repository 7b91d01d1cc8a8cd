"""The fixture that the conformance suite asks for: fresh storages, each in an empty schema."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from itertools import count

import psycopg
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
        self._connection: psycopg.Connection | None = None

    def take(self, url: str) -> str:
        """Return a schema that holds nothing."""
        if not self.free:
            return f"fresh_{next(self._numbers)}"
        schema = self.free.pop()
        # On one connection for all: the first use of each table in a new one takes longer than all else.
        if self._connection is None:
            self._connection = psycopg.connect(url, autocommit=True, prepare_threshold=None)
        self._connection.execute(_emptying(schema))
        return schema

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()


def _emptying(schema: str) -> bytes:
    # The numbers of a partitioned table go on in the present period.
    statements = [
        f"""
          DELETE FROM {schema}.{table.name};
          SELECT setval(pg_get_serial_sequence('{schema}.{table.name}', 'sequence'), greatest(max(lower), 1), false)
          FROM {schema}.partitions
          WHERE parent = '{table.name}' AND begun_at IS NOT NULL;
        """
        for table in TABLES
    ]
    return "".join([*statements, f"UPDATE {schema}.event_floor SET number = 0"]).encode()


@pytest.fixture(scope="module")
def schemas() -> Iterator[Schemas]:
    """Give the schemas that were used before."""
    with closing(Schemas()) as schemas:
        yield schemas


@pytest.fixture
def open_storage(server: Server, schemas: Schemas) -> OpenStorage:
    """Give the way to a fresh storage: a schema of its own."""

    @asynccontextmanager
    async def open_storage() -> AsyncIterator[Storage]:
        schema = schemas.take(server.local_url())
        async with await PostgresStorage.open(server.local_url(schema=schema)) as storage:
            yield storage
        schemas.free.append(schema)

    return open_storage
