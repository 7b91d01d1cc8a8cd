"""Runs the statements of a connection: prepared once where the session is ours, in a single message behind a pooler."""

import uuid
from collections.abc import Sequence
from typing import Any, Protocol

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from swarm_persistence.engines.sql.postgres.pipeline import (
    Pipeline,
    PipelinedConnection,
    Prepared,
    execute,
    parse,
)
from swarm_persistence.engines.sql.postgres.session_settings import SessionSettings
from swarm_persistence.schema.values import ColumnValue

Values = Sequence[ColumnValue | Sequence[ColumnValue]]

LARGEST_CACHE = 1000
"""How many statements a connection remembers."""


_LOST = (
    asyncpg.InvalidCachedStatementError,
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.DuplicatePreparedStatementError,
)
"""The driver's errors for a named statement that does not exist, or differs from the prepared one."""


class OutdatedTypesError(ConnectionError):
    """A column has had another type than a statement was prepared for; the connection was dropped with the answer."""

    def __init__(self) -> None:
        super().__init__("a column has had another type since the statement was prepared")


class NamedStatements:
    """Whether the pooler in between tracks the named statements of its clients (`are_kept`).

    A pooler that has lost one is not trusted with another.
    """

    are_kept = False


class Statements(Protocol):
    """The statements of one connection."""

    async def fetch(self, text: str, values: Values) -> list[Any]:
        """Run a statement, in its own transaction unless one is open, and return its rows."""
        ...

    async def fetch_regardless(self, text: str) -> list[Any]:
        """Run a statement that depends on no session setting, and return its rows."""
        ...

    async def execute(self, text: str, values: Values) -> str:
        """Run a statement, in its own transaction unless one is open, and return the server's command tag."""
        ...

    async def forget(self) -> None:
        """Forget the prepared statements, so that each is prepared anew when it runs again."""
        ...


class CachedStatements:
    """The statements of a session of our own: the driver keeps them prepared."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def fetch(self, text: str, values: Values) -> list[Any]:
        rows: list[Any] = await self._connection.fetch(text, *values)
        return rows

    async def fetch_regardless(self, text: str) -> list[Any]:
        return await self.fetch(text, ())

    async def execute(self, text: str, values: Values) -> str:
        tag: str = await self._connection.execute(text, *values)
        return tag

    async def forget(self) -> None:
        await self._connection.reload_schema_state()  # sends nothing


class PipelinedStatements:
    """The statements of a session that other clients use between our transactions: each sets it up anew.

    A statement that the pooler tracks has a name that no other client can have chosen; others are parsed each time.
    """

    def __init__(self, connection: PipelinedConnection, settings: SessionSettings, named: NamedStatements) -> None:
        """Take a connection, the settings of its transactions, and what is known about the pooler."""
        self._connection = connection
        self._pipeline = Pipeline(connection)
        self._settings = settings
        self._named = named
        self._prefix = f"swarm_{uuid.uuid4().hex}_"
        self._count = 0
        self._setup = b""
        self._setup_statement: PreparedStatement[Any] | None = None  # or the driver would close it
        self._needs_begin = False
        self._uses_names = named.are_kept
        self._prepared: dict[str, Prepared] = {}

    async def fetch(self, text: str, values: Values) -> list[Any]:
        rows, _ = await self._fetch(text, values)
        return rows

    async def fetch_regardless(self, text: str) -> list[Any]:
        rows, _ = await self._run(text, (), b"")
        return rows

    async def execute(self, text: str, values: Values) -> str:
        _, prepared = await self._fetch(text, values)
        return prepared.statement.get_statusmsg() or ""

    async def forget(self) -> None:
        self._prepared.clear()

    async def _fetch(self, text: str, values: Values) -> tuple[list[Any], Prepared]:
        if self._uses_names and not self._named.are_kept:
            self._uses_names = False
            self._prepared.clear()
            self._setup = b""
        if self._connection.is_in_transaction():
            return await self._run(text, values, b"")
        if not self._needs_begin:
            try:
                return await self._run(text, values, self._setup or await self._prepare_setup())
            except asyncpg.ActiveSQLTransactionError:
                # By default, the session's transactions are of another isolation: nothing can change one that has
                # begun, and here, nothing was done in it.
                self._needs_begin = True
        await self._connection.execute(self._settings.begin(sets_up=True))
        try:
            result = await self._run(text, values, b"")
        except asyncpg.PostgresError:
            if not self._connection.is_closed():
                await self._connection.execute("ROLLBACK")
            raise
        await self._connection.execute("COMMIT")
        return result

    async def _run(self, text: str, values: Values, setup: bytes) -> tuple[list[Any], Prepared]:
        pipeline = self._pipeline
        prepared = self._prepared.pop(text, None)
        try:
            if prepared is None:
                prepared = await pipeline.prepare(text, self._new_name(), setup)
            rows = await pipeline.execute(prepared, values, setup)
        except BaseException as error:
            if pipeline.has_outdated_types:
                raise OutdatedTypesError from error
            if pipeline.is_under_way or not isinstance(error, asyncpg.PostgresError):
                self._connection.terminate()
            self._raise_if_lost(error)
            raise
        self._prepared[text] = prepared  # move it to the end: the least recently used ones come first
        if len(self._prepared) > LARGEST_CACHE:
            del self._prepared[next(iter(self._prepared))]
        return rows, prepared

    async def _prepare_setup(self) -> bytes:
        """Return the messages that set up a transaction."""
        text, name = self._settings.for_transaction(), self._new_name()
        if name:
            # The session settings are not applied yet, so the statement qualifies every name.
            try:
                self._setup_statement = await self._connection.prepare(text, name=name)
                await self._setup_statement.fetch()
            except BaseException as error:
                self._raise_if_lost(error)
                raise
        self._setup = execute(name) if name else parse("", text) + execute("")
        return self._setup

    def _raise_if_lost(self, error: BaseException) -> None:
        """If the pooler has lost a statement, name no more, and raise an error that lets the call be repeated."""
        if self._uses_names and isinstance(error, _LOST):
            self._named.are_kept = False
            raise asyncpg.InvalidCachedStatementError(str(error)) from error

    def _new_name(self) -> str:
        if not self._uses_names:
            return ""
        self._count += 1
        return f"{self._prefix}{self._count}"
