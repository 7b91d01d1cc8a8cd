"""Snapshots: a connection with an open read transaction, and a thread that uses it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

import apsw

from swarm_persistence.engines.reads import Read
from swarm_persistence.engines.sql.sqlite.execution import fetch
from swarm_persistence.engines.sql.sqlite.numbers import CHANGES, numbers_of
from swarm_persistence.engines.sql.sqlite.statement_compiler import SqliteStatementCompiler
from swarm_persistence.errors import ClosedError
from swarm_persistence.schema.tables import SEQUENCE, TABLES

T = TypeVar("T")


class SqliteSnapshot:
    """A snapshot of the file. `abandon` may be called from any thread, all other methods in an event loop."""

    def __init__(
        self,
        compiler: SqliteStatementCompiler,
        opened: Callable[[], AbstractContextManager[apsw.Connection]],
        verify: Callable[[], None],
        translate: Callable[[BaseException], BaseException],
    ) -> None:
        self._compiler = compiler
        self._opened = opened
        self._verify = verify
        self._uses = ExitStack()
        self._translate = translate
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="swarm-persistence snapshot")
        self._connection: apsw.Connection | None = None
        self.is_closed = False
        """Whether it can no longer be read."""

    async def open(self) -> None:
        """Take the snapshot."""
        try:
            await self._run(self._open)
        except BaseException:
            self.abandon()
            raise

    def numbers(self) -> Awaitable[Mapping[str, int]]:
        return self._run(self._numbers)

    async def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            closing = asyncio.get_running_loop().run_in_executor(self._thread, self._uses.close)
            self._thread.shutdown(wait=False)
            await asyncio.shield(closing)

    def abandon(self) -> None:
        """Release the snapshot without waiting."""
        if not self.is_closed:
            self.is_closed = True
            self._thread.submit(self._uses.close)
            self._thread.shutdown(wait=False)

    def read(self, read: Read[T]) -> Awaitable[T]:
        statement = self._compiler.read(read)
        return self._run(lambda: fetch(self._used().cursor(), statement))

    async def _run(self, work: Callable[[], T]) -> T:
        if self.is_closed:
            raise ClosedError("the snapshot is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except apsw.Error as error:
            raise self._translate(error) from error

    def _used(self) -> apsw.Connection:
        assert self._connection is not None
        self._verify()
        return self._connection

    def _open(self) -> None:
        self._connection = self._uses.enter_context(self._opened())
        self._connection.execute("BEGIN").fetchall()
        # The snapshot is taken by the first read.
        self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()

    def _numbers(self) -> Mapping[str, int]:
        connection = self._used()
        highest = {
            table.name: connection.execute(f"SELECT coalesce(max({SEQUENCE}), 0) FROM {table.name}").get
            for table in TABLES
        }
        given = {name: number for name, number in numbers_of(connection).items() if name != CHANGES}
        return {**highest, **given}
