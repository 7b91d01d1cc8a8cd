"""One connection to a server: runs statements, alone or in a transaction, and times out if the server is silent."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any

import asyncpg

from swarm_persistence.engines.sql.postgres.comments import commented
from swarm_persistence.engines.sql.postgres.failures import DRIVER_ERRORS, lost_transaction, translate, unknown_outcome
from swarm_persistence.engines.sql.postgres.pipeline import PipelinedConnection
from swarm_persistence.engines.sql.postgres.session_settings import DEFAULT_COMMIT, SessionSettings
from swarm_persistence.engines.sql.postgres.settings import PostgresSettings
from swarm_persistence.engines.sql.postgres.statements import (
    CachedStatements,
    NamedStatements,
    OutdatedTypesError,
    PipelinedStatements,
    Statements,
    Values,
)
from swarm_persistence.errors import DatabaseError, OutcomeUnknownError, StorageError, TransactionError, with_cause

_SMALL_TABLE_BYTES = 65_536
"""A table up to this size is scanned in negligible time."""

_MOST_FAILED_CHECKS = 2
"""More than one, since a statement may have ended just before the check, with its answer in flight."""


class Connection:
    """A connection. The caller that has acquired it runs one statement at a time."""

    def __init__(
        self,
        driver: asyncpg.Connection,
        server: str,
        settings: PostgresSettings,
        *,
        named: NamedStatements,
        is_running: Callable[[str], Awaitable[bool]],
    ) -> None:
        """Take a connection.

        It owns its session unless it is pipelined: then a pooler may lend it to other clients between two
        transactions. `is_at_work` checks on another connection whether the server runs a statement.
        """
        self.driver = driver
        self._is_running = is_running
        self.server = server
        self.idle_since = 0.0
        self.application_name = ""  # as the server shows it
        self.has_expired = False  # whether it was terminated because the server did not answer in time
        self.has_outdated_plans = False  # as a table has changed, or grown
        self.must_prepare_anew = False
        self.arrivals: dict[str, Any] = {}  # what `arrivals` knows of a standby's tables
        self._sizes: dict[str, int] = {}  # the least that a table had since the statements were prepared, in bytes
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._session = SessionSettings(settings, driver.get_server_version().major)
        # Not isinstance: for the driver, any connection is an instance of each class of connections.
        self.owns_session = type(driver) is not PipelinedConnection
        """Whether no pooler shares the session: its settings and locks are ours."""
        self._statements: Statements = CachedStatements(driver)
        if type(driver) is PipelinedConnection:
            self._statements = PipelinedStatements(driver, self._session, named)

    @property
    def server_process(self) -> int:
        """Return the number of the server's process that serves it."""
        return self.driver.get_server_pid()

    @property
    def is_closed(self) -> bool:
        """Return whether the connection is closed."""
        return self.driver.is_closed()

    @property
    def is_in_transaction(self) -> bool:
        """Return whether a transaction is open."""
        return self.driver.is_in_transaction()

    def failure(self, error: BaseException) -> BaseException:
        """Translate an error of the driver into ours."""
        known = translate(error, self.server, self._session.longest_wait_for_a_lock)
        if self.has_expired and known is not error:
            return with_cause(DatabaseError(f"{self.server}: {self._no_answer}; the connection was closed"), error)
        return known

    def lost_answer(self, error: BaseException) -> OutcomeUnknownError:
        """Return the error for a write whose answer was lost."""
        return unknown_outcome(self.server, error, self._no_answer if self.has_expired else None)

    def lost_transaction(self, error: BaseException) -> StorageError:
        """Return the error of a transaction that lost its connection before the commit was sent."""
        if self.has_expired:  # a retry might time out again, so it is left to the caller
            return DatabaseError(
                f"{self.server}: {self._no_answer}; the connection was closed, which ended the transaction"
            )
        return lost_transaction(self.server, error)

    async def set_up(self) -> None:
        """Set up the session. The connector enforces a timeout."""
        if self.owns_session:
            await self.driver.execute(self._session.for_session())
        else:
            ((default,),) = await self.run(DEFAULT_COMMIT)
            self._session.take_default(default)

    async def set_application_name(self, application_name: str) -> None:
        """Set the application name; behind a pooler, which shares the session, do nothing."""
        if self.application_name != application_name and self.owns_session:
            self.application_name = application_name
            quoted = application_name.replace("'", "''")
            await self.execute(f"SET application_name = '{quoted}'")

    async def run(self, text: str, values: Values = ()) -> list[Any]:
        """Run a statement, in its own transaction unless one is open, and return its rows."""
        rows: list[Any] = await self._call(self._statements.fetch, self._commented(text), values)
        return rows

    def note_table_size(self, name: str, size: int) -> None:
        """Take note of a table's size; if it has grown much, have all connections prepare their statements anew.

        The server keeps the plan that was best when it was made: for a small table, reading and sorting all of it. It
        replaces the plan only after an ANALYZE, which may come a minute after many inserts.
        """
        least = self._sizes[name] = min(self._sizes.get(name, size), size)
        if size > 2 * max(least, _SMALL_TABLE_BYTES):
            self.has_outdated_plans = True

    async def run_regardless(self, text: str) -> list[Any]:
        """Run a statement that depends on no setting of the session, with the least overhead, and return its rows."""
        rows: list[Any] = await self._call(self._statements.fetch_regardless, text)
        return rows

    async def count(self, text: str, values: Values = ()) -> int:
        """Run a statement, in its own transaction unless one is open, and return how many rows it changed."""
        tag: str = await self._call(self._statements.execute, self._commented(text), values)
        return int(tag.rpartition(" ")[2])

    def _commented(self, text: str) -> str:
        return commented(text) if self._settings.query_comments else text

    async def _call(self, call: Callable[..., Any], *arguments: Any) -> Any:
        if self.must_prepare_anew:
            self.must_prepare_anew = False
            self._sizes.clear()
            await self._statements.forget()
        try:
            return await self._within_timeout(call, *arguments)
        except (asyncpg.InvalidCachedStatementError, OutdatedTypesError):
            self.has_outdated_plans = True
            raise

    async def _within_timeout(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Await a call of the driver; terminate the connection if the server does not answer in time."""
        timer = self._loop.call_later(self._settings.operation_timeout, self._expire, context=Context())
        try:
            return await call(*arguments)
        finally:
            timer.cancel()

    async def execute(self, text: str) -> None:
        """Run statements without parameters, unprepared."""
        await self._within_timeout(self.driver.execute, text)

    async def execute_watched(self, text: str) -> None:
        """Run a statement without a timeout, as long as another connection sees the server work on it."""
        watching = self._loop.create_task(self._watch(text), context=Context())
        try:
            await self.driver.execute(text)
        finally:
            watching.cancel()
            await asyncio.wait((watching,))

    async def listen(self, channel: str, heard: Callable[..., None]) -> None:
        """Listen on a channel, with a callback for each notification."""
        await self._within_timeout(self.driver.add_listener, channel, heard)

    async def begin(self) -> None:
        """Begin a transaction of ours."""
        await self.execute(self._session.begin(sets_up=not self.owns_session))

    async def begin_for_caller(self) -> None:
        """Begin a caller's transaction, which may stay open up to `transaction_timeout`."""
        await self.execute(self._session.begin_for_caller(sets_up=not self.owns_session))

    async def begin_snapshot(self, hold: str) -> None:
        """Begin a read-only transaction with one snapshot; run `hold` before that is taken."""
        await self.execute(self._session.begin_snapshot(hold, sets_up=not self.owns_session))

    async def commit(self) -> None:
        """Commit the transaction."""
        tag: str = await self._within_timeout(self.driver.execute, "COMMIT")
        if tag != "COMMIT":
            # PostgreSQL answers ROLLBACK to the commit of a failed transaction.
            raise TransactionError(f"{self.server}: the transaction had failed before, and was rolled back")

    async def roll_back(self) -> None:
        """Roll the transaction back; if the connection is lost, the server has done so."""
        if self.is_closed:
            return
        try:
            await self.execute("ROLLBACK")
        except DRIVER_ERRORS:
            self.terminate()

    async def close(self, seconds: float = 2.0) -> None:
        """Close the connection; terminate it if the server does not answer in time."""
        if self.is_closed:
            return
        try:
            await self.driver.close(timeout=seconds)
        except DRIVER_ERRORS:
            self.terminate()

    def terminate(self) -> None:
        """Close the connection at once, without a message to the server."""
        if not self.is_closed and not self._loop.is_closed():
            self.driver.terminate()

    async def _watch(self, text: str) -> None:
        failed_checks = 0
        while failed_checks < _MOST_FAILED_CHECKS:
            await asyncio.sleep(self._settings.operation_timeout)
            failed_checks = 0 if await self._is_running(text) else failed_checks + 1
        self._expire()

    @property
    def _no_answer(self) -> str:
        return f"no answer within operation_timeout ({self._settings.operation_timeout:g} s)"

    def _expire(self) -> None:
        self.has_expired = True
        self.terminate()
