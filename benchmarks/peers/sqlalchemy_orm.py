"""SQLAlchemy's async ORM over aiosqlite: a session for each operation, from its default pool of connections."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import event, func, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from benchmarks.peers.peer import Concurrent, SwarmFile
from benchmarks.peers.sqlalchemy_rows import EventRow, MetricRow, TaskRow, json_text, row_of
from benchmarks.peers.statements import LISTED
from swarm_persistence import EventModel, Model
from swarm_persistence.clock import now
from swarm_persistence.schema.values import decode_json


class SqlalchemyOrm(SwarmFile, Concurrent):
    """`async_sessionmaker(expire_on_commit=False)`, as its asyncio documentation shows."""

    key: ClassVar[str] = "sqlalchemy"
    title: ClassVar[str] = "SQLAlchemy 2, async ORM"
    about: ClassVar[str] = (
        "`create_async_engine` with its default pool, an `AsyncSession` for each operation, `expire_on_commit=False`, "
        "typed columns over the same tables, msgspec for its JSON"
    )
    verbs: ClassVar[frozenset[str]] = frozenset(
        {"insert", "get", "latest", "claim", "claim_next", "pending", "store_many", "write_ten", "aggregate"}
    )

    def __init__(self) -> None:
        self.engine: AsyncEngine
        self.session: async_sessionmaker[AsyncSession]

    async def open(self, path: str) -> None:
        """Make the engine; the pragmas are set on each connection, as its SQLite documentation shows."""
        self.engine = create_async_engine(
            f"sqlite+aiosqlite:///{path}",
            connect_args={"timeout": 60},
            pool_timeout=120,
            json_serializer=json_text,
            json_deserializer=decode_json,
        )
        event.listen(self.engine.sync_engine, "connect", _set_pragmas)
        self.session = async_sessionmaker(self.engine, expire_on_commit=False)

    async def close(self) -> None:
        """Close the connections."""
        await self.engine.dispose()

    async def insert(self, event: EventModel) -> None:
        """Store an event."""
        async with self.session() as session, session.begin():
            session.add(row_of(event))

    async def get(self, id: str) -> EventRow | None:
        """Read an event."""
        async with self.session() as session:
            return await session.scalar(select(EventRow).where(EventRow.id == id))

    async def latest(self, agent_id: str) -> Sequence[EventRow]:
        """List an agent's newest events."""
        newest = select(EventRow).where(EventRow.agent_id == agent_id)
        newest = newest.order_by(EventRow.timestamp.desc(), EventRow.sequence.desc()).limit(LISTED)
        async with self.session() as session:
            return (await session.scalars(newest)).all()

    async def claim(self, claim: tuple[str, str]) -> bool:
        """Claim a task by its id."""
        task_id, agent_id = claim
        claiming = update(TaskRow).where(TaskRow.id == task_id, TaskRow.status == "pending")
        async with self.session() as session, session.begin():
            result: Any = await session.execute(claiming.values(_claimed_by(agent_id)))
        return _is_one(result)

    async def claim_next(self, agent_id: str) -> TaskRow | None:
        """Claim the most urgent task."""
        first = select(TaskRow.sequence).where(TaskRow.status == "pending")
        first = first.order_by(TaskRow.priority.desc(), TaskRow.sequence).limit(1)
        claiming = update(TaskRow).where(TaskRow.sequence.in_(first)).values(_claimed_by(agent_id)).returning(TaskRow)
        async with self.session() as session, session.begin():
            return (await session.scalars(claiming, execution_options={"synchronize_session": False})).one_or_none()

    async def pending(self, _: object) -> Sequence[TaskRow]:
        """List the waiting tasks."""
        waiting = select(TaskRow).where(TaskRow.status == "pending")
        waiting = waiting.order_by(TaskRow.priority.desc(), TaskRow.sequence)
        async with self.session() as session:
            return (await session.scalars(waiting)).all()

    async def store_many(self, models: Sequence[Model]) -> int:
        """Store records in one transaction."""
        async with self.session() as session, session.begin():
            session.add_all([row_of(model) for model in models])
        return len(models)

    async def write_ten(self, events: Sequence[EventModel]) -> None:
        """Store events in one transaction."""
        async with self.session() as session, session.begin():
            for event in events:
                session.add(row_of(event))
                await session.flush()

    async def aggregate(self, span: tuple[str, datetime, datetime]) -> Sequence[Any]:
        """Aggregate metrics."""
        metric_type, start, end = span
        value = MetricRow.value
        groups = (MetricRow.agent_id, MetricRow.unit)
        numbers = (func.avg(value), func.count(), func.min(value), func.max(value), func.sum(value))
        chosen = select(*groups, *numbers, func.max(MetricRow.timestamp)).where(
            MetricRow.metric_type == metric_type, MetricRow.timestamp >= start, MetricRow.timestamp <= end
        )
        async with self.session() as session:
            return (await session.execute(chosen.group_by(*groups).order_by(*groups))).all()


def _set_pragmas(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _claimed_by(agent_id: str) -> dict[str, Any]:
    return {
        "status": "assigned",
        "assigned_to": agent_id,
        "updated_at": now(),
        "lease_expires_at": None,
        "claim_count": TaskRow.claim_count + 1,
        "version": TaskRow.version + 1,
    }


def _is_one(result: CursorResult[Any]) -> bool:
    return result.rowcount == 1
