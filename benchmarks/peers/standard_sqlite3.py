"""The standard library's driver, each operation its own transaction."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from benchmarks.peers import statements
from benchmarks.peers.peer import Blocking, SwarmFile
from swarm_persistence import EventModel, MetricModel, Model, TaskModel


class StandardSqlite3(SwarmFile, Blocking):
    """One connection in the loop's own thread; `with connection` commits, as the documentation shows."""

    key: ClassVar[str] = "sqlite3"
    title: ClassVar[str] = "sqlite3"
    about: ClassVar[str] = (
        "the standard library, one connection, a transaction (`with connection:`) for each write; blocks the loop"
    )
    verbs: ClassVar[frozenset[str]] = frozenset(
        {"insert", "get", "latest", "claim", "claim_next", "pending", "store_many", "write_ten", "aggregate"}
    )

    def __init__(self) -> None:
        self.connection: sqlite3.Connection

    async def open(self, path: str) -> None:
        """Open the connection with the pragmas of a durable store."""
        self.connection = sqlite3.connect(path, timeout=60)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")

    async def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def insert(self, event: EventModel) -> None:
        """Store an event."""
        with self.connection:
            self.connection.execute(statements.INSERT_EVENT, statements.encode_event(event))

    def get(self, id: str) -> EventModel | None:
        """Read an event."""
        row = self.connection.execute(statements.GET, (id,)).fetchone()
        return None if row is None else statements.decode_event(row)

    def latest(self, agent_id: str) -> list[EventModel]:
        """List an agent's newest events."""
        rows = self.connection.execute(statements.LATEST, (agent_id,)).fetchall()
        return [statements.decode_event(row) for row in rows]

    def claim(self, claim: tuple[str, str]) -> bool:
        """Claim a task by its id."""
        with self.connection:
            return self.connection.execute(statements.CLAIM, statements.claim_values(claim)).rowcount == 1

    def claim_next(self, agent_id: str) -> TaskModel | None:
        """Claim the most urgent task."""
        with self.connection:
            rows = self.connection.execute(statements.CLAIM_NEXT, statements.claim_next_values(agent_id)).fetchall()
        return statements.decode_task(rows[0]) if rows else None

    def pending(self, _: object) -> list[TaskModel]:
        """List the waiting tasks."""
        return [statements.decode_task(row) for row in self.connection.execute(statements.PENDING).fetchall()]

    def store_many(self, models: Sequence[Model]) -> int:
        """Store records of one model in one transaction."""
        rows = [statements.encode(model) for model in models]
        with self.connection:
            self.connection.executemany(statements.INSERT[type(models[0])], rows)
        return len(rows)

    def write_ten(self, events: Sequence[EventModel]) -> None:
        """Store events in one transaction."""
        with self.connection:
            for event in events:
                self.connection.execute(statements.INSERT_EVENT, statements.encode_event(event))

    def aggregate(self, span: tuple[str, datetime, datetime]) -> list[MetricModel]:
        """Aggregate metrics."""
        rows = self.connection.execute(statements.AGGREGATE, statements.aggregate_values(span)).fetchall()
        return statements.aggregated(span[0], rows)
