"""The PostgreSQL engine: one schema, with a `LoopEngine` for each event loop, over pools that schemas may share."""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from swarm_persistence.clock import is_system_clock, microseconds, now
from swarm_persistence.engines.delivery import OnAbandoned
from swarm_persistence.engines.interface import (
    Engine,
    FeedPage,
    FeedPosition,
    MigrationStatus,
    PoolStatus,
    Session,
    Snapshot,
)
from swarm_persistence.engines.lazy import lazy_engine
from swarm_persistence.engines.lines import LineBackupEngine
from swarm_persistence.engines.reads import Read
from swarm_persistence.engines.runtime import running_loop
from swarm_persistence.engines.sql.postgres import change_numbers, maintenance
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.connector import UnreachableError
from swarm_persistence.engines.sql.postgres.execution import ConnectionStatement
from swarm_persistence.engines.sql.postgres.following import FollowStatement
from swarm_persistence.engines.sql.postgres.loop_engine import LoopEngine, SharedState
from swarm_persistence.engines.sql.postgres.migrating import Move
from swarm_persistence.engines.sql.postgres.migration_lock import MigrationLock
from swarm_persistence.engines.sql.postgres.part_dropping import PartDropping
from swarm_persistence.engines.sql.postgres.partition_layout import PartitionLayout
from swarm_persistence.engines.sql.postgres.periods import PARTITIONABLE, Periods
from swarm_persistence.engines.sql.postgres.pools import ConnectionPools, terminate_soon
from swarm_persistence.engines.sql.postgres.schema_version import SchemaVersion
from swarm_persistence.engines.sql.postgres.settings import Period, PostgresSettings
from swarm_persistence.engines.sql.postgres.statement_compiler import PostgresStatementCompiler
from swarm_persistence.engines.sql.postgres.url import PostgresUrl
from swarm_persistence.engines.sql.postgres.write_lock import WriteLock
from swarm_persistence.engines.steps import Step
from swarm_persistence.engines.watches import TableWatch, Watches
from swarm_persistence.errors import ClosedError, StorageError
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.tables import Table

T = TypeVar("T")

_log = logging.getLogger(__name__)


class _ServerTimeStatement(ConnectionStatement, eq=False, gc=False):
    """Gives the server's time."""

    async def run_on(self, connection: Connection) -> int:
        ((time,),) = await connection.run("SELECT clock_timestamp()")
        return int(time)


class PostgresEngine(LineBackupEngine):
    """One schema of one database. All methods but `abandon` are called in an event loop."""

    is_ephemeral = False
    is_local = False

    def __init__(self, pools: ConnectionPools, settings: PostgresSettings, *, owns_pools: bool) -> None:
        """Take the pools; an engine that owns them closes them with itself."""
        self.pools = pools
        self.settings = settings
        self.schema_name = settings.schema
        self._must_exist = False
        self._owns_pools = owns_pools
        self.compiler = PostgresStatementCompiler(settings.schema)
        self.watches = Watches()
        self.periods = Periods(settings.schema)
        self._shared = SharedState(
            settings,
            pools,
            self.compiler,
            WriteLock(settings.connection_timeout, are_shared=settings.parallel_transactions),
            self.watches,
            self.periods,
        )
        self._version = SchemaVersion(self.settings.schema, pools.target, self._open_aside)
        self._layout = PartitionLayout(
            self.settings.schema, pools.target, MigrationLock(self.settings.schema, self._open_aside)
        )
        self._loop_engines: dict[asyncio.AbstractEventLoop, LoopEngine] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    @classmethod
    def of(cls, url: str, settings: PostgresSettings) -> "PostgresEngine":
        """Return an engine with pools of its own."""
        target = PostgresUrl(url)
        settings = target.settings(settings)
        return cls(ConnectionPools(target, settings), settings, owns_pools=True)

    def for_schema(self, schema: str) -> Engine:
        settings = msgspec.structs.replace(self.settings, schema=schema)
        return lazy_engine(
            lambda: PostgresEngine(self.pools, settings, owns_pools=False),
            lambda engine: engine.open(must_exist=self._must_exist),
        )

    async def open(self, *, must_exist: bool = False) -> None:
        """Connect, migrate and mend the schema; after a failure, nothing is left open."""
        try:
            await self.start(must_exist=must_exist)
            await self.repair_change_numbers()
        except BaseException:
            await self.close()
            raise

    async def opened(self) -> "PostgresEngine":
        """Return itself: it is open already."""
        return self

    async def start(self, *, must_exist: bool = False) -> None:
        """Connect, and migrate the schema if the settings say so; one that must exist is not created."""
        self._must_exist = must_exist
        # An idle connection may be dead; then retry on another one.
        await self.on_a_connection(lambda connection: self._bring_up_to_date(connection, must_exist=must_exist))

    async def _bring_up_to_date(self, connection: Connection, *, must_exist: bool) -> None:
        if must_exist:
            await self._version.require(connection)
        await self._version.open(
            connection, is_migrating=self.settings.migrate, retry_seconds=self.settings.connection_timeout
        )
        if self.settings.partition_by is not None:
            await self._layout.require(connection, self.settings.partition_by, self.settings.connection_timeout)
        await self.periods.check(connection)

    async def require(self) -> None:
        """Connect; raise `DatabaseError` unless the schema holds a swarm, of any version."""
        await self.on_a_connection(self._version.require)

    async def repair_change_numbers(self) -> None:
        """Replace change numbers of another server, restored from a dump; if that is not possible, log a warning."""
        try:
            if not await self.on_a_connection(
                lambda connection: change_numbers.are_foreign(connection, self.settings.schema)
            ):
                return
            replaced = await self.replace_foreign_changes()
        except StorageError as error:
            if not isinstance(error.__cause__, change_numbers.REFUSALS):
                raise
            _log.warning(
                "%s: records have change numbers of another server, as after a restore of a dump, and watchers do not "
                "see them; run `%s` as a role that may write (%s)",
                self.pools.target,
                self.command("doctor --repair"),
                error,
            )
            return
        if replaced:  # otherwise another process has replaced it
            _log.warning(
                "%s: renumbered the changes of %s that came from another server",
                self.pools.target,
                change_numbers.counted(replaced),
            )

    async def count_foreign_changes(self) -> Mapping[str, int]:
        """Return how many rows have a change number of another server, by table."""
        return await self.on_a_connection(
            lambda connection: change_numbers.count_foreign(connection, self.settings.schema)
        )

    async def replace_foreign_changes(self) -> Mapping[str, int]:
        """Give these rows change numbers of this server, as if they were written now; return how many there were."""
        replaced: Counter[str] = Counter()

        async def replace(connection: Connection) -> None:
            async for table, rows in change_numbers.replace_foreign(connection, self.settings.schema):
                replaced[table] += rows  # include the rows that a failed attempt has replaced

        await self.on_a_connection(replace)
        self._loop_engine().committed({*replaced})
        return replaced

    def write(self, steps: Sequence[Step]) -> Awaitable[list[Any]]:
        return self._loop_engine().write(steps)

    def deliver(self, steps: Sequence[Step], on_abandoned: OnAbandoned) -> Awaitable[list[Any]]:
        return self._loop_engine().deliver(steps, on_abandoned)

    def read(self, read: Read[T]) -> Awaitable[T]:
        return self._loop_engine().read(read)

    def begin(self) -> Awaitable[Session]:
        return self._loop_engine().begin()

    def follow(
        self, query: Query[Any], after: FeedPosition, limit: int, upto: FeedPosition | None = None
    ) -> Awaitable[FeedPage]:
        return self._loop_engine().do_read(FollowStatement(self.compiler, query, after, limit, upto))

    def snapshot(self) -> Awaitable[Snapshot]:
        return self._loop_engine().snapshot()

    async def time(self) -> int:
        if not is_system_clock():
            return microseconds(now())
        time: int = await self._loop_engine().share_read(_ServerTimeStatement, _ServerTimeStatement)
        return time

    async def drop_parts(self, table: Table[Any], stale: Sequence[tuple[Condition, ...]]) -> int:
        if table.name not in PARTITIONABLE:
            return 0

        dropped = 0

        async def drop(connection: Connection) -> None:
            nonlocal dropped  # include what a failed attempt has dropped
            await self.periods.check(connection)
            async for rows in PartDropping(connection, self.compiler.sql, table, stale).run():
                dropped += rows

        await self.on_a_connection(drop)
        return dropped

    async def partition(self, period: Period | None, report: Callable[[str], object]) -> None:
        """Partition events, messages and metrics by a period, or make the tables plain again."""
        retry_seconds = self.settings.connection_timeout
        await self.on_a_connection(lambda connection: self._layout.change(connection, period, retry_seconds, report))

    async def partitions(self) -> dict[str, str]:
        """Return the periods of the partitioned tables."""
        return await self.on_a_connection(self._layout.periods)

    def watch(self, tables: tuple[Table[Any], ...]) -> TableWatch:
        watch = self.watches.add(tables)
        self._loop_engine().listen()
        return watch

    async def vacuum(self) -> None:
        await self.on_a_connection(lambda connection: maintenance.vacuum(connection, self.settings.schema))

    async def checkpoint(self) -> None:
        await self.on_a_connection(maintenance.checkpoint)

    async def migrate_to(self, version: int) -> None:
        await self.migrate_with_retries(version, self.settings.connection_timeout, _log.info)

    async def migrate_with_retries(self, version: int, retry_seconds: float, report: Callable[[str], None]) -> None:
        """Migrate the schema to a version; wait for locks for up to `retry_seconds`, and report each step."""
        await self.on_a_connection(
            lambda connection: self._version.migrate(connection, version, retry_seconds=retry_seconds, report=report)
        )

    async def migration_plan(self, version: int) -> tuple[int, list[Move]]:
        """Return the version of the schema, and the steps that lead to another one."""
        return await self.on_a_connection(lambda connection: self._version.plan(connection, version))

    def command(self, verb: str) -> str:
        """Return a shell command of ours for this schema, without user and password."""
        return self.pools.target.command(verb, self.settings.schema)

    async def migration_status(self) -> MigrationStatus:
        return await self.on_a_connection(self._version.status)

    async def size(self) -> int:
        return await self.on_a_connection(lambda connection: maintenance.size(connection, self.settings.schema))

    def pool_status(self) -> PoolStatus:
        opened = self.pools.open_connections()
        # Other threads may have opened more since.
        active = min(self.pools.active_connections(), opened)
        return PoolStatus(
            active=active,
            idle=opened - active,
            max=self.settings.max_connections,
            waiting=sum(loop_engine.waiting for loop_engine in self._all_loop_engines()),
        )

    async def close(self) -> None:
        self._is_closed = True
        self.watches.close()
        own = self._loop_engines.get(asyncio.get_running_loop())
        for loop_engine in self._all_loop_engines():
            if loop_engine is not own:
                terminate_soon(loop_engine)
        try:
            if own is not None:
                await own.close()
        except BaseException:
            self.abandon()
            raise
        if self._owns_pools:
            await self.pools.close()

    def abandon(self) -> None:
        self._is_closed = True
        self.watches.close()
        for loop_engine in self._all_loop_engines():
            terminate_soon(loop_engine)
        if self._owns_pools:
            self.pools.abandon()

    def _forget(self, loop_engine: LoopEngine) -> None:
        with self._lock:
            if self._loop_engines.get(loop_engine.loop) is loop_engine:
                del self._loop_engines[loop_engine.loop]

    async def _open_aside(self) -> Connection:
        """Return a connection outside of the pool, which the caller closes."""
        try:
            return await self.pools.connector.open(time.monotonic() + self.settings.connection_timeout)
        except UnreachableError as error:
            raise error.failure from error

    def on_a_connection(self, work: Callable[[Connection], Coroutine[Any, Any, T]]) -> Awaitable[T]:
        """Run some work on a connection; retry it after a lost connection or a deadlock if that is safe."""
        return self._loop_engine().order(work)

    def _loop_engine(self) -> LoopEngine:
        loop = running_loop()
        if self._is_closed:  # otherwise, watchers would keep reading while `close` waits for the operations in flight
            raise ClosedError("the storage is closed")
        loop_engine = self._loop_engines.get(loop)
        if loop_engine is None:
            loop_engine = LoopEngine(self._shared, self._forget)
            with self._lock:
                self._loop_engines[loop] = loop_engine
        return loop_engine

    def _all_loop_engines(self) -> list[LoopEngine]:
        with self._lock:
            return [*self._loop_engines.values()]
