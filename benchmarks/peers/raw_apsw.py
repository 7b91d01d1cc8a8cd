"""The driver under the library, by itself: each operation its own commit, and batches as the limit."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, ClassVar

import apsw

from benchmarks.peers import statements
from benchmarks.peers.peer import Blocking, SwarmFile, Work
from swarm_persistence import EventModel, MetricModel, Model, TaskModel

_BUSY_MILLISECONDS = 60_000
_STATEMENTS_KEPT = 512


class ApswAutocommit(SwarmFile, Blocking):
    """One connection in the loop's own thread."""

    key: ClassVar[str] = "apsw-autocommit"
    title: ClassVar[str] = "apsw, autocommit"
    about: ClassVar[str] = "raw `apsw`, one connection, every statement its own transaction; blocks the loop"
    verbs: ClassVar[frozenset[str]] = frozenset(
        {"insert", "get", "latest", "claim", "claim_next", "pending", "store_many", "write_ten", "aggregate"}
    )

    def __init__(self) -> None:
        self.connection: apsw.Connection

    async def open(self, path: str) -> None:
        """Open the connection with the pragmas of a durable store."""
        self.connection = apsw.Connection(path, statementcachesize=_STATEMENTS_KEPT)
        self.connection.set_busy_timeout(_BUSY_MILLISECONDS)
        self.connection.execute("PRAGMA journal_mode = WAL").fetchall()
        self.connection.execute("PRAGMA synchronous = FULL").fetchall()
        self.cursor = self.connection.cursor()

    async def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def insert(self, event: EventModel) -> None:
        """Store an event."""
        self.cursor.execute(statements.INSERT_EVENT, statements.encode_event(event))

    def get(self, id: str) -> EventModel | None:
        """Read an event."""
        row = self.cursor.execute(statements.GET, (id,)).fetchone()
        return None if row is None else statements.decode_event(row)

    def latest(self, agent_id: str) -> list[EventModel]:
        """List an agent's newest events."""
        rows = self.cursor.execute(statements.LATEST, (agent_id,)).fetchall()
        return [statements.decode_event(row) for row in rows]

    def claim(self, claim: tuple[str, str]) -> bool:
        """Claim a task by its id."""
        self.cursor.execute(statements.CLAIM, statements.claim_values(claim))
        return self.connection.changes() == 1

    def claim_next(self, agent_id: str) -> TaskModel | None:
        """Claim the most urgent task."""
        row = self.cursor.execute(statements.CLAIM_NEXT, statements.claim_next_values(agent_id)).fetchone()
        return None if row is None else statements.decode_task(row)

    def pending(self, _: object) -> list[TaskModel]:
        """List the waiting tasks."""
        return [statements.decode_task(row) for row in self.cursor.execute(statements.PENDING).fetchall()]

    def store_many(self, models: Sequence[Model]) -> int:
        """Store records of one model in one transaction."""
        rows = [statements.encode(model) for model in models]
        with self.connection:
            self.cursor.executemany(statements.INSERT[type(models[0])], rows)
        return len(rows)

    def write_ten(self, events: Sequence[EventModel]) -> None:
        """Store events in one transaction."""
        self.cursor.execute("BEGIN IMMEDIATE")
        for event in events:
            self.insert(event)
        self.cursor.execute("COMMIT")

    def aggregate(self, span: tuple[str, datetime, datetime]) -> list[MetricModel]:
        """Aggregate metrics."""
        rows: list[Any] = self.cursor.execute(statements.AGGREGATE, statements.aggregate_values(span)).fetchall()
        return statements.aggregated(span[0], rows)


class ApswBatches(ApswAutocommit):
    """What waits together goes together: the limit for any driver with this many operations in flight."""

    key: ClassVar[str] = "apsw-batches"
    title: ClassVar[str] = "apsw, batches"
    about: ClassVar[str] = (
        "raw `apsw`, one connection, as many operations in one transaction as are in flight, inserts by "
        "`executemany`: no task, no thread, no isolation of one operation from the next; blocks the loop"
    )
    verbs: ClassVar[frozenset[str]] = frozenset(
        {"insert", "get", "latest", "claim", "claim_next", "pending", "aggregate"}
    )

    def batch(self, works: Sequence[Work]) -> None:
        """Do operations in one transaction, inserts that stand next to each other as one call."""
        is_writing = any(verb in ("insert", "claim", "claim_next") for verb, _ in works)
        self.cursor.execute("BEGIN IMMEDIATE" if is_writing else "BEGIN")
        for verb, group in groupby(works, key=_verb):
            if verb == "insert":
                rows = [statements.encode_event(event) for _, event in group]
                self.cursor.executemany(statements.INSERT_EVENT, rows)
            else:
                call = getattr(self, verb)
                for _, argument in group:
                    call(argument)
        self.cursor.execute("COMMIT")


def _verb(work: Work) -> str:
    return work.verb
