"""The connection that writes: it verifies the file around each commit, and is replaced after a failure."""

from collections.abc import Callable
from contextlib import suppress

import apsw

from swarm_persistence.engines.sql.sqlite.connection import BusyHandler
from swarm_persistence.engines.sql.sqlite.failures import has_spoiled_connection, is_open_outcome, unknown_outcome
from swarm_persistence.engines.sql.sqlite.identity import FileIdentity
from swarm_persistence.engines.sql.sqlite.schema_version import APPLICATION_ID
from swarm_persistence.engines.watches import Watches
from swarm_persistence.errors import DatabaseError, OutcomeUnknownError


class WriterConnection:
    """Begins and ends transactions; of the writer's thread, and of a session's caller while it has the turn."""

    def __init__(
        self,
        open_connection: Callable[[bool], apsw.Connection],
        identity: FileIdentity,
        busy_handler: BusyHandler,
        translate: Callable[[BaseException], BaseException],
        watches: Watches,
        *,
        reserve: Callable[[apsw.Connection], None] | None,
    ) -> None:
        """Open the connection; `open_connection` is told whether it is the first one.

        `reserve` runs before each transaction; it may write one of its own.
        """
        self._reserve = reserve
        self.watches = watches
        self._translate = translate
        self._open_connection = open_connection
        self._identity = identity
        self._busy_handler = busy_handler
        self._is_spoiled = False
        self.connection = open_connection(True)
        self.cursor = self.connection.cursor()
        try:
            identity.record(self.connection)
        except BaseException:
            self.connection.close()
            raise

    def translate(self, error: BaseException) -> BaseException:
        """Return the caller's error for one of the driver's, and note whether the connection must be replaced."""
        self._is_spoiled = self._is_spoiled or has_spoiled_connection(error)
        return self._translate(error)

    def prepare(self) -> None:
        """Verify that the file is still at its path; after a failure of the connection, open another one.

        Raises:
            DatabaseError: the file, or its log, is not what was opened.
            apsw.Error: the file cannot be opened.

        """
        if self._is_spoiled:
            self._reopen()
        self._identity.verify_before(self.connection)
        if self._reserve is not None:
            self._reserve(self.connection)

    def confirm(self) -> None:
        """Verify that the commit is in the file at its path: only then is it acknowledged.

        Raises:
            OutcomeUnknownError: it does not, or that could not be seen.

        """
        try:
            self._identity.verify(self.connection)
        except DatabaseError as error:
            raise OutcomeUnknownError(f"{error.message}. What this call has written may be lost with it") from error
        except apsw.Error as error:
            self._is_spoiled = True
            raise unknown_outcome(error, self.connection.filename) from error

    def verify_now_and_then(self) -> None:
        """Verify that the paths lead to the file, within a transaction; raises as `prepare` does."""
        self._identity.verify_now_and_then()

    def close(self) -> None:
        """Close the connection; SQLite checkpoints the log, if file and log are still the ones that were opened."""
        with suppress(DatabaseError, apsw.Error):
            self._identity.verify(self.connection)
        self._identity.close(self.connection)

    def begin(self) -> None:
        """Begin a transaction; waits for other processes as long as the busy handler does."""
        self.cursor.execute("BEGIN IMMEDIATE")
        self._busy_handler.is_waiting = False

    def commit(self) -> None:
        """Commit the open transaction.

        Raises:
            OutcomeUnknownError: it may be stored, or not.
            apsw.Error: it is not stored.

        """
        try:
            self.cursor.execute("COMMIT")
        except apsw.Error as error:
            self.roll_back()
            if is_open_outcome(error):
                raise self._lost(error) from error
            raise
        self.confirm()

    def _lost(self, error: apsw.Error) -> OutcomeUnknownError:
        """Return the caller's error for a commit that may be stored; see to it that what is read now stays so."""
        self._is_spoiled = True
        # The group may have had no time to wait for another process, and this must not fail for that.
        self._busy_handler.deadline = None
        with suppress(DatabaseError, apsw.Error):
            # What was left behind in the log would come back after a crash, were it not overwritten.
            self.prepare()
            self.begin()
            self.cursor.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self.cursor.execute("COMMIT")
        if self.connection.in_transaction:
            self.roll_back()
        return unknown_outcome(error, self.connection.filename)

    def roll_back(self) -> None:
        """Undo the open transaction, if there is one."""
        if self.connection.in_transaction:
            try:
                self.cursor.execute("ROLLBACK")
            except apsw.Error:
                self._is_spoiled = True  # what is open in it ends when it is closed

    def _reopen(self) -> None:
        """Open another connection, and only then close the one that has failed: the file stays locked as it was."""
        connection = self._open_connection(False)
        try:
            self._identity.record(connection)
        except BaseException:
            self._identity.close(connection)
            raise
        spoiled, self.connection, self.cursor = self.connection, connection, connection.cursor()
        self._is_spoiled = False
        self._identity.close(spoiled)
