"""The ways to keep tasks on PostgreSQL that are measured: ours, by hand, an ORM's core, and two task queues.

All of them use 16 connections, and write and read the same columns: ours are the tables of the storage.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
import sqlalchemy
from procrastinate import App, PsycopgConnector
from procrastinate.jobs import Job
from sqlalchemy.ext.asyncio import create_async_engine

from swarm_persistence import PostgresStorage, TaskModel
from swarm_persistence.models import Model
from swarm_persistence.query.text import listed
from swarm_persistence.schema.tables import JSON_KINDS, TASKS, Kind

CONNECTIONS = 16
SCHEMA = "measured"

Verbs = dict[str, Callable[[Any], Awaitable[object]]]


@asynccontextmanager
async def swarm(url: str) -> AsyncIterator[Verbs]:
    """Give the verbs of the storage."""
    async with await PostgresStorage.builder().schema(SCHEMA).max_connections(CONNECTIONS).build(url) as storage:
        yield {
            "insert": storage.store_task,
            "get": storage.get_task,
            "store_many": storage.store_many,
            "claim_next": lambda number: _require(storage.claim_next_task(f"agent-{number % 8}")),
        }


@asynccontextmanager
async def by_hand(url: str) -> AsyncIterator[Verbs]:
    """Give what one would write with asyncpg, one prepared statement an operation, on the storage's own table."""
    names = TASKS.names
    marks = ", ".join(f"${place}" for place in range(1, len(names) + 1))
    insert_text = f"INSERT INTO {SCHEMA}.tasks ({listed(names)}) VALUES ({marks})"
    claim_text = f"""
        UPDATE {SCHEMA}.tasks SET status = 'assigned', assigned_to = $1, updated_at = now(), version = version + 1
        WHERE sequence = (
          SELECT sequence FROM {SCHEMA}.tasks
          WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = false
          ORDER BY priority DESC NULLS LAST, sequence LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING *
    """
    async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        yield {
            "insert": lambda task: pool.execute(insert_text, *row_of(task)),
            "get": lambda id: pool.fetchrow(f"SELECT * FROM {SCHEMA}.tasks WHERE id = $1", id),
            "store_many": lambda tasks: pool.copy_records_to_table(
                "tasks", schema_name=SCHEMA, records=[row_of(task) for task in tasks], columns=names
            ),
            "claim_next": lambda number: _require(pool.fetchrow(claim_text, f"agent-{number % 8}")),
        }


@asynccontextmanager
async def sqlalchemy_core(url: str) -> AsyncIterator[Verbs]:
    """Give SQLAlchemy 2, its core, on asyncpg and the storage's own table."""
    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://"), pool_size=CONNECTIONS, max_overflow=0
    )
    metadata = sqlalchemy.MetaData(schema=SCHEMA)
    async with engine.connect() as connection:
        table = await connection.run_sync(lambda sync: sqlalchemy.Table("tasks", metadata, autoload_with=sync))

    def values_of(task: Model) -> dict[str, Any]:
        values = dict(zip(TASKS.names, row_of(task), strict=True))
        for column in TASKS.columns:
            if column.kind in JSON_KINDS and values[column.name] is not None:
                values[column.name] = msgspec.json.decode(values[column.name])
        return values

    async def insert(task: TaskModel) -> None:
        async with engine.begin() as connection:
            await connection.execute(table.insert(), values_of(task))

    async def get(id: str) -> object:
        async with engine.connect() as connection:
            return (await connection.execute(table.select().where(table.c.id == id))).first()

    async def store_many(tasks: list[TaskModel]) -> None:
        async with engine.begin() as connection:
            await connection.execute(table.insert(), [values_of(task) for task in tasks])

    try:
        yield {"insert": insert, "get": get, "store_many": store_many}
    finally:
        await engine.dispose()


@asynccontextmanager
async def procrastinate(url: str) -> AsyncIterator[Verbs]:
    """Give what its workers call to get a job."""
    app = App(connector=PsycopgConnector(conninfo=url, min_size=CONNECTIONS, max_size=CONNECTIONS))
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        worker = await app.job_manager.register_worker()

        async def store_many(tasks: list[TaskModel]) -> None:
            jobs = [
                Job(id=None, queue="measured", lock=None, queueing_lock=None, task_name="measured", task_kwargs={})
                for _ in tasks
            ]
            await app.job_manager.batch_defer_jobs_async(jobs)

        yield {
            "prepare_claims": store_many,
            "claim_next": lambda number: _require(app.job_manager.fetch_job(None, worker)),
        }


@asynccontextmanager
async def pgqueuer(url: str) -> AsyncIterator[Verbs]:
    """Give what its workers call to get a job."""
    from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
    from pgqueuer.ports.repository import EntrypointExecutionParameter
    from pgqueuer.queries import Queries

    async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        queries = Queries(AsyncpgPoolDriver(pool))
        await queries.install()
        worker: Any = uuid.uuid4()
        limits: Any = {"measured": EntrypointExecutionParameter(0)}

        async def store_many(tasks: list[TaskModel]) -> None:
            count = len(tasks)
            await queries.enqueue(["measured"] * count, [b"{}"] * count, [0] * count)

        yield {
            "prepare_claims": store_many,
            "claim_next": lambda number: _require(
                queries.dequeue(1, limits, worker, None, heartbeat_timeout=timedelta(seconds=60))
            ),
        }


PEERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "swarm": ("swarm-persistence", swarm),
    "asyncpg": ("asyncpg by hand", by_hand),
    "sqlalchemy": ("SQLAlchemy 2 core, async", sqlalchemy_core),
    "procrastinate": ("procrastinate", procrastinate),
    "pgqueuer": ("pgqueuer", pgqueuer),
}


def row_of(task: Model) -> list[Any]:
    """Return a task's columns as asyncpg takes them."""
    values: list[Any] = []
    for column in TASKS.columns:
        value = getattr(task, column.name)
        if column.kind is Kind.RANK:
            value = value.rank
        elif column.kind is Kind.CHOICE:
            value = value and value.value
        elif column.kind in JSON_KINDS and value is not None:
            value = msgspec.json.encode(value).decode()
        values.append(value)
    return values


async def _require(claim: Awaitable[object]) -> object:
    claimed = await claim
    if not claimed:
        raise RuntimeError("there was nothing left to claim: the measurement means nothing")
    return claimed
