"""aiosqlite on one connection: with a lock, which isolates, and without one, where commits take others' work along."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar

import aiosqlite

from benchmarks.peers import statements
from benchmarks.peers.peer import Concurrent, SwarmFile
from swarm_persistence import EventModel, MetricModel, Model, TaskModel


class AiosqliteShared(SwarmFile, Concurrent):
    """Tasks share the connection and its transaction. Fast, and wrong as soon as one of them must roll back."""

    key: ClassVar[str] = "aiosqlite-shared"
    title: ClassVar[str] = "aiosqlite, shared transaction"
    about: ClassVar[str] = (
        "`aiosqlite`, one connection without a lock: a commit takes along what other tasks have begun, "
        "and a rollback would take it away"
    )
    verbs: ClassVar[frozenset[str]] = frozenset({"insert", "get", "latest", "claim", "pending", "aggregate"})

    def __init__(self) -> None:
        self.connection: aiosqlite.Connection

    async def open(self, path: str) -> None:
        """Open the connection with the pragmas of a durable store."""
        self.connection = await aiosqlite.connect(path, timeout=60)
        await self.connection.execute("PRAGMA journal_mode = WAL")
        await self.connection.execute("PRAGMA synchronous = FULL")

    async def close(self) -> None:
        """Close the connection."""
        await self.connection.close()

    async def insert(self, event: EventModel) -> None:
        """Store an event."""
        await self.connection.execute(statements.INSERT_EVENT, statements.encode_event(event))
        await self.connection.commit()

    async def get(self, id: str) -> EventModel | None:
        """Read an event."""
        async with self.connection.execute(statements.GET, (id,)) as cursor:
            row: Any = await cursor.fetchone()
        return None if row is None else statements.decode_event(row)

    async def latest(self, agent_id: str) -> list[EventModel]:
        """List an agent's newest events."""
        return [statements.decode_event(row) for row in await self._rows(statements.LATEST, (agent_id,))]

    async def claim(self, claim: tuple[str, str]) -> bool:
        """Claim a task by its id."""
        cursor = await self.connection.execute(statements.CLAIM, statements.claim_values(claim))
        await self.connection.commit()
        return cursor.rowcount == 1

    async def pending(self, _: object) -> list[TaskModel]:
        """List the waiting tasks."""
        return [statements.decode_task(row) for row in await self._rows(statements.PENDING, ())]

    async def aggregate(self, span: tuple[str, datetime, datetime]) -> list[MetricModel]:
        """Aggregate metrics."""
        rows = await self._rows(statements.AGGREGATE, statements.aggregate_values(span))
        return statements.aggregated(span[0], rows)

    async def _rows(self, text: str, values: Iterable[Any]) -> list[Any]:
        async with self.connection.execute(text, values) as cursor:
            return list(await cursor.fetchall())


class AiosqliteIsolated(AiosqliteShared):
    """A lock gives the connection to one operation at a time."""

    key: ClassVar[str] = "aiosqlite-isolated"
    title: ClassVar[str] = "aiosqlite, isolated"
    about: ClassVar[str] = (
        "`aiosqlite`, one connection, an `asyncio.Lock` around each operation and its commit: correct isolation"
    )
    verbs: ClassVar[frozenset[str]] = frozenset(
        {"insert", "get", "latest", "claim", "claim_next", "pending", "store_many", "write_ten", "aggregate"}
    )

    async def open(self, path: str) -> None:
        """Open the connection with the pragmas of a durable store."""
        await super().open(path)
        self.lock = asyncio.Lock()

    async def insert(self, event: EventModel) -> None:
        """Store an event."""
        async with self.lock:
            await super().insert(event)

    async def get(self, id: str) -> EventModel | None:
        """Read an event."""
        async with self.lock:
            return await super().get(id)

    async def claim(self, claim: tuple[str, str]) -> bool:
        """Claim a task by its id."""
        async with self.lock:
            return await super().claim(claim)

    async def claim_next(self, agent_id: str) -> TaskModel | None:
        """Claim the most urgent task."""
        async with self.lock:
            async with self.connection.execute(statements.CLAIM_NEXT, statements.claim_next_values(agent_id)) as cursor:
                rows: Any = await cursor.fetchall()
            await self.connection.commit()
        return statements.decode_task(rows[0]) if rows else None

    async def store_many(self, models: Sequence[Model]) -> int:
        """Store records of one model in one transaction."""
        rows = [statements.encode(model) for model in models]
        async with self.lock:
            await self.connection.executemany(statements.INSERT[type(models[0])], rows)
            await self.connection.commit()
        return len(rows)

    async def write_ten(self, events: Sequence[EventModel]) -> None:
        """Store events in one transaction."""
        async with self.lock:
            for event in events:
                await self.connection.execute(statements.INSERT_EVENT, statements.encode_event(event))
            await self.connection.commit()

    async def _rows(self, text: str, values: Iterable[Any]) -> list[Any]:
        async with self.lock:
            return await super()._rows(text, values)


class AiosqliteHelper(AiosqliteIsolated):
    """The same, reading by the driver's one-trip helper, which its documentation names beside the usual way."""

    key: ClassVar[str] = "aiosqlite-helper"
    title: ClassVar[str] = "aiosqlite, isolated, one-trip reads"
    about: ClassVar[str] = (
        "the same, reading by `execute_fetchall`: one trip to the driver's thread in place of the three of "
        "`async with connection.execute(…) as cursor`"
    )
    verbs: ClassVar[frozenset[str]] = frozenset({"get", "latest"})

    async def get(self, id: str) -> EventModel | None:
        """Read an event."""
        rows = await self._rows(statements.GET, (id,))
        return statements.decode_event(rows[0]) if rows else None

    async def _rows(self, text: str, values: Iterable[Any]) -> list[Any]:
        async with self.lock:
            return list(await self.connection.execute_fetchall(text, values))
