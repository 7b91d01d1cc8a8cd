"""The SQLite engine: compiles in the caller's loop, and runs in the threads of the writer and the readers."""

import asyncio
import os
import time
from asyncio.events import _get_running_loop
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar, cast

import apsw

from swarm_persistence.clock import microseconds, now
from swarm_persistence.engines.calling_thread import CallingThreadLoop
from swarm_persistence.engines.delivery import OnAbandoned, delivered
from swarm_persistence.engines.following import FollowingEngine
from swarm_persistence.engines.interface import (
    Engine,
    MigrationStatus,
    PoolStatus,
    Progress,
    Session,
)
from swarm_persistence.engines.lazy import lazy_engine
from swarm_persistence.engines.reads import Read
from swarm_persistence.engines.runtime import require_real_threads, running_loop
from swarm_persistence.engines.schemas import DEFAULT_SCHEMA
from swarm_persistence.engines.sql.sqlite import checksums, file, schema_version
from swarm_persistence.engines.sql.sqlite.access import Access
from swarm_persistence.engines.sql.sqlite.backup import back_up
from swarm_persistence.engines.sql.sqlite.connection import BusyHandler, LockWait, open_connection, switch_to_wal
from swarm_persistence.engines.sql.sqlite.failures import translate
from swarm_persistence.engines.sql.sqlite.file_identity import FileIdentity
from swarm_persistence.engines.sql.sqlite.group_commit import GroupCommit, Writer
from swarm_persistence.engines.sql.sqlite.log import report_dropped_commits
from swarm_persistence.engines.sql.sqlite.loop_submitters import LoopSubmitters
from swarm_persistence.engines.sql.sqlite.opening import prepare
from swarm_persistence.engines.sql.sqlite.operations import Action, Delivery, Operation, QueryOperation
from swarm_persistence.engines.sql.sqlite.readers import Readers
from swarm_persistence.engines.sql.sqlite.reserved_numbers import NumberReserve, skip_numbers_of_another_boot
from swarm_persistence.engines.sql.sqlite.sessions import SqliteSession, SqliteSnapshot
from swarm_persistence.engines.sql.sqlite.settings import SqliteSettings
from swarm_persistence.engines.sql.sqlite.statement_compiler import SqliteStatementCompiler
from swarm_persistence.engines.stepping import run_in_steps
from swarm_persistence.engines.steps import Step
from swarm_persistence.engines.watches import TableWatch, Watches
from swarm_persistence.errors import ClosedError, DatabaseError
from swarm_persistence.query.query import Condition
from swarm_persistence.schema.tables import Table

T = TypeVar("T")

_CHECKPOINT_TIMEOUT_SECONDS = 0.25


class SqliteEngine(FollowingEngine):
    """The engine of one file. `start` blocks; call every other method in an event loop."""

    is_ephemeral = False
    is_local = True
    measures_rows = True

    def __init__(
        self, path: str | os.PathLike[str], settings: SqliteSettings, schema_name: str = DEFAULT_SCHEMA
    ) -> None:
        self.schema_name = schema_name
        self.path = file.resolve(path)
        self.settings = settings.checked()
        self._compiler = SqliteStatementCompiler()
        self._busy_handler = BusyHandler(settings.connection_timeout)
        self._watches = Watches()
        self._identity = FileIdentity(self.path, is_virtual=settings.vfs is not None)
        self._readers = Readers(self._open_reader, self._identity, self._translate, settings)
        self._writer = Writer(
            partial(
                GroupCommit,
                self._open_writer,
                self._identity,
                self._busy_handler,
                self._translate,
                self._watches,
                reserve=NumberReserve() if settings.durability == "normal" else None,
            ),
            self._translate,
            self._watches,
            log=f"{self.path}-wal",
            wait_for_readers=self._readers.join,
        )
        self._submitters = LoopSubmitters(
            self._writer, self._readers, self.settings, self._why_writes_wait, self._are_writes_stuck
        )
        self._sessions: set[SqliteSession] = set()
        self._snapshots: set[SqliteSnapshot] = set()
        self._must_exist = False
        self._is_open = False
        self._is_closing = False
        self._access = Access.WRITE
        # Bound once: otherwise each deferred operation would hold a bound method of its own.
        self._compile_write = self._compiler.write
        self._compile_read = lambda read: (self._compiler.read(read),)

    async def open(self, *, must_exist: bool = False) -> None:
        """Run `start` in a thread; if cancelled, close what it has opened."""
        if not isinstance(running_loop(), CallingThreadLoop):
            require_real_threads()
        try:
            await asyncio.to_thread(self.start, must_exist=must_exist)
        except asyncio.CancelledError:
            self.abandon()  # the thread continues, and must not leave the file open
            raise

    def for_schema(self, schema: str) -> Engine:
        root, ending = os.path.splitext(self.path)
        return lazy_engine(
            lambda: SqliteEngine(f"{root}.{schema}{ending}", self.settings, schema),
            lambda engine: engine.open(must_exist=self._must_exist),
        )

    def start(self, *, must_exist: bool = False) -> None:
        """Open the file, and migrate its schema if the settings say so. Blocks: call it from a thread.

        A file that must exist is not created, and is opened for reading if it cannot be written.
        """
        self._must_exist = must_exist
        try:
            self._access = prepare(
                self.path,
                self.settings.connection_timeout,
                self.settings.vfs,
                must_exist=must_exist,
                is_migrating=self.settings.migrate,
            )
        except apsw.Error as error:
            raise self._translate(error) from error
        self._writer.start()
        self._readers.start()
        self._is_open = True

    def write(self, steps: Sequence[Step]) -> Awaitable[list[Any]]:
        return self._submitters[_get_running_loop()][0].submit(Operation, self._compile_write, steps)

    def deliver(self, steps: Sequence[Step], on_abandoned: OnAbandoned) -> Awaitable[list[Any]]:
        writing, kind = self._submitters[_get_running_loop()][0], partial(Delivery, on_abandoned=on_abandoned)
        submitted = writing.submit(kind, self._compile_write, steps)
        # An operation that may run in this loop's thread delivers its outcome by itself.
        return delivered(submitted, on_abandoned) if asyncio.isfuture(submitted) else submitted

    def read(self, read: Read[T]) -> Awaitable[T]:
        return self._submitters[_get_running_loop()][1].submit(QueryOperation, self._compile_read, read)

    async def begin(self) -> Session:
        writing = self._submitters[_get_running_loop()][0]
        session = SqliteSession(
            self._writer,
            self._compiler,
            lambda: self._submitters[_get_running_loop()][0],
            self.settings.transaction_timeout,
            self.settings.longest_stay,
        )

        def open_transaction() -> SqliteSession:
            self._sessions.add(session)
            try:
                if self._is_closing:
                    raise ClosedError("the storage was closed before the transaction could begin")
                self._writer.commits.begin()
            except BaseException:
                self._sessions.discard(session)
                raise
            session.opened()
            # Poll for what was committed during the wait: a session may keep the writer from polling.
            self._writer.poll()
            return session

        def serve() -> None:
            try:
                session.serve()
            finally:
                self._sessions.discard(session)

        def roll_back(opened: SqliteSession | None) -> None:
            if opened is not None:
                opened.abandon()

        future: asyncio.Future[SqliteSession] = writing.loop.create_future()
        operation = Action(
            future,
            action=open_transaction,
            deadline=time.monotonic() + self.settings.connection_timeout,
            following=serve,
            on_abandoned=roll_back,
        )
        is_stuck = self._are_writes_stuck()
        batch = writing.send_alone(operation)
        (writing.leave if is_stuck else writing.block_on)(batch)
        try:
            opened = await future
        except asyncio.CancelledError:
            # The transaction may be open, or about to be, without another owner; the loop may be closed by then.
            session.abandon()
            raise
        return opened

    async def snapshot(self) -> SqliteSnapshot:
        self._snapshots.difference_update([other for other in list(self._snapshots) if other.is_closed])
        snapshot = SqliteSnapshot(
            self._compiler, self._opened_reader, self._identity.verify_now_and_then, self._translate
        )
        self._snapshots.add(snapshot)
        # Checked only then: another thread that closes the storage later finds it.
        if self._is_closing:
            snapshot.abandon()
            raise ClosedError("the storage is closed")
        await snapshot.open()
        return snapshot

    async def time(self) -> int:
        return microseconds(now())

    def watch(self, tables: tuple[Table[Any], ...]) -> TableWatch:
        watch = self._watches.add(tables)
        self._writer.watch()
        return watch

    async def drop_parts(self, table: Table[Any], stale: Sequence[tuple[Condition, ...]]) -> int:
        return 0

    async def vacuum(self) -> None:
        def vacuum() -> None:
            self._writer.commits.cursor.execute("VACUUM")
            self._writer.commits.confirm()
            self._checkpoint()  # until then, the smaller file stands in the log

        await self._exclusively(vacuum)

    async def checkpoint(self) -> None:
        await self._exclusively(self._checkpoint)

    async def back_up(self, target: str, *, is_verified: bool, is_overwriting: bool, progress: Progress | None) -> None:
        await run_in_steps(
            lambda stop: back_up(
                self._opened_reader,
                self.path,
                self.settings,
                target,
                stop,
                is_verified=is_verified,
                is_overwriting=is_overwriting,
            ),
            progress,
        )

    async def migrate_to(self, version: int) -> None:
        """Migrate the schema to this version, forwards or back."""
        await self._exclusively(lambda: schema_version.migrate(self._writer.commits.connection, version))

    async def migration_status(self) -> MigrationStatus:
        """Return the status of the schema's migrations."""
        return cast(
            MigrationStatus, await self._exclusively(lambda: schema_version.status(self._writer.commits.connection))
        )

    async def size(self) -> int:
        return await asyncio.to_thread(self._size)

    def pool_status(self) -> PoolStatus:
        writing, reading = self._submitters.all()
        is_writing = self._is_held() or self._writer.is_lent or any(submitter.running for submitter in writing)
        read = sum(submitter.running for submitter in reading) + self._readers.lent
        readers = self._readers.open  # once, as other threads open, return and close connections meanwhile
        active = is_writing + min(read, readers)
        return PoolStatus(
            active=active,
            idle=self._is_open + readers - active,
            max=self.settings.max_connections,
            waiting=sum(submitter.waiting for submitter in (*writing, *reading)),
        )

    async def close(self) -> None:
        for submitter in self._submitters.get(running_loop(), ()):
            submitter.flush()
        self.abandon()
        try:
            await asyncio.to_thread(self._join)
        except RuntimeError:  # at interpreter exit, no thread can start
            self._join()

    def abandon(self) -> None:
        self._is_closing = True
        self._watches.close()
        for session in list(self._sessions):
            session.abandon("the storage was closed")
        for snapshot in list(self._snapshots):
            snapshot.abandon()
        self._writer.stop()
        self._readers.stop()

    def _join(self) -> None:
        self._readers.join()
        self._writer.join()

    def _checkpoint(self) -> None:
        """Checkpoint and truncate the log, as far as other processes' reads allow within a short time.

        Waiting for a reader as long as for a lock would stall every writer; the next checkpoint does the rest.
        """
        wait = self._busy_handler.wait
        self._busy_handler.wait = LockWait(time.monotonic() + _CHECKPOINT_TIMEOUT_SECONDS)
        try:
            self._writer.commits.cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            self._busy_handler.wait = wait

    async def _exclusively(self, action: Callable[[], Any]) -> Any:
        def confirmed() -> Any:
            result = action()
            self._writer.commits.confirm()
            return result

        writing = self._submitters[_get_running_loop()][0]
        future: asyncio.Future[Any] = writing.loop.create_future()
        writing.leave(writing.send_alone(Action(future, action=confirmed)))
        return await future

    def _size(self) -> int:
        total = 0
        for suffix in ("", "-wal"):
            try:
                total += os.stat(f"{self.path}{suffix}").st_size
            except FileNotFoundError as error:
                if not suffix:
                    raise DatabaseError(f"{self.path!r} is gone") from error
        return total

    def _open_writer(self, is_first: bool) -> apsw.Connection:
        if not is_first:
            self._identity.verify_paths()
        is_read_only = self._access is not Access.WRITE
        connection = open_connection(
            self.path, self.settings, self._busy_handler, is_reader=is_read_only, access=self._access
        )
        if is_read_only:
            return connection
        try:
            if connection.readonly("main"):
                raise DatabaseError(f"{self.path!r} cannot be written; check its permissions")
            if is_first:
                self._prepare(connection)
            else:
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # opens the log
        except BaseException:
            self._identity.close(connection)
            raise
        return connection

    def _prepare(self, connection: apsw.Connection) -> None:
        """Prepare a file that was just opened for all other connections."""
        is_refused = self.settings.durability == "full" and checksums.are_kept(connection)
        report_dropped_commits(connection, self.path, is_refused=is_refused)
        switch_to_wal(connection, self.settings.connection_timeout)
        schema_version.open_schema(connection, is_migrating=self.settings.migrate)
        skip_numbers_of_another_boot(connection)
        if self.settings.checksums:
            # Another process may have created the file at the same time, without checksums.
            open_connection(self.path, self.settings, self._busy_handler, is_reader=True).close()

    def _open_reader(self, busy_handler: BusyHandler) -> apsw.Connection:
        self._identity.verify_paths()
        connection = open_connection(self.path, self.settings, busy_handler, is_reader=True, access=self._access)
        try:
            self._identity.verify_paths()
        except BaseException:
            self._identity.close(connection)
            raise
        return connection

    @contextmanager
    def _opened_reader(self) -> Iterator[apsw.Connection]:
        """Open a connection for one long read, within the block."""
        connection = self._open_reader(BusyHandler(self.settings.connection_timeout))
        try:
            yield connection
            self._identity.verify_paths()
        finally:
            self._identity.close(connection)

    def _translate(self, error: BaseException) -> BaseException:
        return translate(error, self.path, self.settings.connection_timeout)

    def _is_held(self) -> bool:
        return any(not session.has_ended for session in list(self._sessions))

    def _are_writes_stuck(self) -> bool:
        return self._busy_handler.wait.is_waiting or self._is_held()

    def _why_writes_wait(self) -> str:
        if self._busy_handler.wait.is_waiting:
            return f"another process was writing to {self.path!r}"
        if self._is_held():
            return "another transaction of this storage was open"
        return f"the writes to {self.path!r} were waiting for earlier ones"
