"""The task queues whose workers are measured: ours, and three others, set up as their documentation says.

Each has 16 connections a process at most, as far as it lets one choose, and a handler that does nothing.
"""

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import asyncpg

from benchmarks.postgres.peers import CONNECTIONS, SCHEMA
from swarm_persistence import AgentModel, PostgresStorage, TaskModel, Worker

Handled = Callable[[], None]
"""What a handler calls for each task."""


class Queue(ABC):
    """A task queue in a database of its own."""

    title: str
    count_done: str
    """The statement that counts the tasks that are done."""
    callers = 1
    """How many callers store tasks at a time: more than one where the queue cannot store many tasks at once."""

    def __init__(self, url: str) -> None:
        """Take the URL of a database."""
        self.url = url

    @abstractmethod
    async def open(self) -> None:
        """Make the tables, and be ready to store."""

    @abstractmethod
    async def store(self, count: int) -> None:
        """Store so many tasks, by what the queue offers for many at once."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of the database."""

    @abstractmethod
    async def work(self, concurrency: int, handled: Handled, ready: Callable[[], None]) -> None:
        """Do tasks, so many at once, until the process ends."""


class Swarm(Queue):
    """Ours."""

    title = "swarm-persistence"
    count_done = f"SELECT count(*) FROM {SCHEMA}.tasks WHERE status = 'completed'"

    async def open(self) -> None:
        self._storage = await self._open()

    async def store(self, count: int) -> None:
        await self._storage.store_tasks([TaskModel.new("measured", {}) for _ in range(count)])

    async def close(self) -> None:
        await self._storage.close()

    async def work(self, concurrency: int, handled: Handled, ready: Callable[[], None]) -> None:
        async def handle(task: TaskModel) -> None:
            handled()

        async with await self._open() as storage:
            agent = AgentModel.new(f"worker-{os.getpid()}", "worker", [])
            async with Worker(storage, agent, {"measured": handle}, concurrency=concurrency) as worker:
                ready()
                await worker.run()

    async def _open(self) -> PostgresStorage:
        return await PostgresStorage.builder().schema(SCHEMA).max_connections(CONNECTIONS).build(self.url)


class PgQueuer(Queue):
    """pgqueuer: its own limit of tasks at once has to be twice the size of its batches at least."""

    title = "pgqueuer"
    count_done = "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'"

    async def open(self) -> None:
        from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
        from pgqueuer.queries import Queries

        self._pool = await asyncpg.create_pool(self.url, min_size=1, max_size=CONNECTIONS)
        self._queries = Queries(AsyncpgPoolDriver(self._pool))
        await self._queries.install()

    async def store(self, count: int) -> None:
        await self._queries.enqueue(["measured"] * count, [b"{}"] * count, [0] * count)

    async def close(self) -> None:
        await self._pool.close()

    async def work(self, concurrency: int, handled: Handled, ready: Callable[[], None]) -> None:
        import pgqueuer
        from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver

        async with asyncpg.create_pool(self.url, min_size=2, max_size=CONNECTIONS) as pool:
            worker = pgqueuer.PgQueuer(AsyncpgPoolDriver(pool))

            @worker.entrypoint("measured")
            async def handle(job: Any) -> None:
                handled()

            ready()
            await worker.run(batch_size=concurrency // 2, max_concurrent_tasks=concurrency)


class Procrastinate(Queue):
    """procrastinate."""

    title = "procrastinate"
    count_done = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"

    async def open(self) -> None:
        self._app, self._task = self._new_app(lambda: None)
        await self._app.open_async()
        await self._app.schema_manager.apply_schema_async()

    async def store(self, count: int) -> None:
        await self._task.batch_defer_async(*({} for _ in range(count)))

    async def close(self) -> None:
        await self._app.close_async()

    async def work(self, concurrency: int, handled: Handled, ready: Callable[[], None]) -> None:
        app, _ = self._new_app(handled)
        async with app.open_async():
            ready()
            await app.run_worker_async(concurrency=concurrency)

    def _new_app(self, handled: Handled) -> tuple[Any, Any]:
        from procrastinate import App, PsycopgConnector

        app = App(connector=PsycopgConnector(conninfo=self.url, min_size=1, max_size=CONNECTIONS))

        @app.task(name="measured")
        async def handle() -> None:
            handled()

        return app, handle


class Dbos(Queue):
    """DBOS, which polls: each second unless told otherwise, and here as often as 100 times a second."""

    title = "DBOS"
    count_done = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'"
    callers = 10
    _POLLING_SECONDS = 0.01

    async def open(self) -> None:
        from dbos import DBOSClient

        self._client = await asyncio.to_thread(DBOSClient, system_database_url=self.url)

    async def store(self, count: int) -> None:
        options: Any = {"queue_name": "measured", "workflow_name": "measured"}
        for _ in range(count):
            await self._client.enqueue_async(options)

    async def close(self) -> None:
        await asyncio.to_thread(self._client.destroy)

    async def work(self, concurrency: int, handled: Handled, ready: Callable[[], None]) -> None:
        from dbos import DBOS

        @DBOS.workflow(name="measured")
        async def handle() -> None:
            handled()

        DBOS(
            config={
                "name": "measured",
                "system_database_url": self.url,
                "sys_db_pool_size": CONNECTIONS,
                "executor_id": str(os.getpid()),
                "log_level": "ERROR",
            }
        )
        await asyncio.to_thread(DBOS.launch)
        await DBOS.register_queue_async(
            "measured",
            worker_concurrency=concurrency,
            polling_interval_sec=self._POLLING_SECONDS,
            on_conflict="always_update",
        )
        ready()
        await asyncio.Event().wait()


QUEUES: dict[str, type[Queue]] = {"swarm": Swarm, "pgqueuer": PgQueuer, "procrastinate": Procrastinate, "dbos": Dbos}
