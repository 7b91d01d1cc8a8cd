"""The SQLite engine: compiles in the caller's loop, runs in the writer's and the readers' threads."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import apsw

from swarm_persistence.engines.interface import Aggregate, AggregateRow, PoolStatus, Session, Step
from swarm_persistence.engines.sql.sqlite import file, schema_version
from swarm_persistence.engines.sql.sqlite.connection import Patience, open_connection, switch_to_wal
from swarm_persistence.engines.sql.sqlite.failures import translate
from swarm_persistence.engines.sql.sqlite.mailboxes import Batch, Mailbox
from swarm_persistence.engines.sql.sqlite.operations import Operation, Part
from swarm_persistence.engines.sql.sqlite.parts import Parts
from swarm_persistence.engines.sql.sqlite.readers import Readers
from swarm_persistence.engines.sql.sqlite.schema_version import MigrationStatus
from swarm_persistence.engines.sql.sqlite.sessions import SqliteSession
from swarm_persistence.engines.sql.sqlite.settings import Settings
from swarm_persistence.engines.sql.sqlite.writer import Writer
from swarm_persistence.errors import DatabaseError
from swarm_persistence.query.query import Query
from swarm_persistence.schema.tables import M


class SqliteEngine:
    """One file. `start` opens it; every other method belongs to an event loop."""

    is_ephemeral = False

    def __init__(self, path: str, settings: Settings) -> None:
        self.path = os.path.abspath(path)
        self.settings = settings.checked()
        self._parts = Parts()
        self._patience = Patience(settings.connection_timeout)
        self._writer = Writer(self._open_writer, self._translate)
        self._readers = Readers(self._open_reader, self._translate, settings)
        self._reads_on_writer = settings.max_connections == 1
        self._ports: dict[asyncio.AbstractEventLoop, tuple[Mailbox, Mailbox]] = {}
        self._port_gate = threading.Lock()
        self._sessions: set[SqliteSession] = set()

    def start(self) -> None:
        """Open the file, and bring its schema up to date. Blocks: call it from a thread."""
        file.prepare(self.path)
        self._writer.start()
        self._readers.start()

    def write(self, steps: Sequence[Step]) -> Awaitable[list[Any]]:
        of_step = self._parts.of_step
        operation = Operation(asyncio.get_running_loop().create_future(), [of_step(step) for step in steps])
        self._writing().collect(operation)
        return operation.future

    def select(self, query: Query[M]) -> Awaitable[list[M]]:
        return self._read(self._parts.of_select(query))

    def count(self, query: Query[Any]) -> Awaitable[int]:
        return self._read(self._parts.of_count(query))

    def aggregate(self, aggregate: Aggregate) -> Awaitable[list[AggregateRow]]:
        return self._read(self._parts.of_aggregate(aggregate))

    async def _read(self, part: Part) -> Any:
        operation = Operation(asyncio.get_running_loop().create_future(), (part,))
        self._reading().collect(operation)
        return (await operation.future)[0]

    async def begin(self) -> Session:
        session = SqliteSession(self._writer, self._parts, self._mailbox, self.settings.transaction_timeout)

        def open_transaction() -> SqliteSession:
            self._writer.cursor.execute("BEGIN IMMEDIATE")
            session.opened()
            self._sessions.add(session)
            return session

        def serve() -> None:
            try:
                session.serve()
            finally:
                self._sessions.discard(session)

        operation = Operation(
            asyncio.get_running_loop().create_future(),
            action=open_transaction,
            following=serve,
            unclaimed=SqliteSession.abandon,
        )
        self._writing().send_alone(operation)
        opened: SqliteSession = await operation.future
        return opened

    async def vacuum(self) -> None:
        await self._exclusively(lambda: self._writer.cursor.execute("VACUUM").fetchall())

    async def checkpoint(self) -> None:
        await self._exclusively(lambda: self._writer.cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())

    async def migrate_to(self, version: int) -> None:
        """Bring the schema to this version, forwards or back."""
        await self._exclusively(lambda: schema_version.migrate(self._writer.connection, version))

    async def migration_status(self) -> MigrationStatus:
        """Return where the schema stands."""
        status: MigrationStatus = await self._exclusively(lambda: schema_version.status(self._writer.connection))
        return status

    async def size(self) -> int:
        return await asyncio.to_thread(self._size)

    def pool_status(self) -> PoolStatus:
        with self._port_gate:
            mailboxes = [mailbox for port in self._ports.values() for mailbox in port]
        outstanding = sum(mailbox.outstanding for mailbox in mailboxes)
        active = self._readers.active + self._writer.is_active
        open_connections = 1 + self._readers.open
        return PoolStatus(
            active=active,
            idle=max(open_connections - active, 0),
            max=self.settings.max_connections,
            waiting=max(outstanding - active, 0),
        )

    async def close(self) -> None:
        self.abandon()
        await asyncio.to_thread(self._join)

    def abandon(self) -> None:
        for session in list(self._sessions):
            session.abandon()
        self._writer.stop()
        self._readers.stop()

    def _join(self) -> None:
        # The readers first: the last connection to close folds the log into the file, and a reader may not write.
        self._readers.join()
        self._writer.join()

    async def _exclusively(self, action: Callable[[], Any]) -> Any:
        operation = Operation(asyncio.get_running_loop().create_future(), action=action)
        self._writing().send_alone(operation)
        return await operation.future

    def _size(self) -> int:
        total = 0
        for suffix in ("", "-wal"):
            try:
                total += os.stat(f"{self.path}{suffix}").st_size
            except FileNotFoundError as error:
                if not suffix:
                    raise DatabaseError(f"{self.path!r} is gone") from error
        return total

    def _open_writer(self) -> apsw.Connection:
        connection = open_connection(self.path, self.settings, self._patience, is_reader=False)
        try:
            if connection.readonly("main"):
                raise DatabaseError(f"{self.path!r} cannot be written; check its permissions")
            switch_to_wal(connection, self.settings.connection_timeout)
            schema_version.migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_reader(self) -> apsw.Connection:
        return open_connection(self.path, self.settings, Patience(self.settings.connection_timeout), is_reader=True)

    def _translate(self, error: BaseException) -> BaseException:
        return translate(error, self.path, self.settings.connection_timeout)

    def _writing(self) -> Mailbox:
        return self._port()[0]

    def _reading(self) -> Mailbox:
        return self._port()[1]

    def _port(self) -> tuple[Mailbox, Mailbox]:
        loop = asyncio.get_running_loop()
        try:
            return self._ports[loop]
        except KeyError:
            return self._open_port(loop)

    def _open_port(self, loop: asyncio.AbstractEventLoop) -> tuple[Mailbox, Mailbox]:
        with self._port_gate:
            for closed in [other for other in self._ports if other.is_closed()]:
                del self._ports[closed]
            writing = Mailbox(loop, self._writer.send, self.settings.connection_timeout, self._why_writes_wait)
            reading = (
                writing
                if self._reads_on_writer
                else Mailbox(loop, self._readers.send, self.settings.connection_timeout, self._why_reads_wait)
            )
            return self._ports.setdefault(loop, (writing, reading))

    def _mailbox(self, send: Callable[[Batch], None]) -> Mailbox:
        """Return a way into a transaction: it has no timeout of its own, the transaction has one."""
        return Mailbox(asyncio.get_running_loop(), send, float("inf"), lambda: "")

    def _why_writes_wait(self) -> str:
        if self._sessions:
            return "another transaction of this storage was open"
        return f"the writes to {self.path!r} were waiting for earlier ones"

    def _why_reads_wait(self) -> str:
        return f"all {self.settings.max_connections - 1} reading connections were in use"
