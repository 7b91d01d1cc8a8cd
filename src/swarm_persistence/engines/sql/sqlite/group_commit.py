"""Group commit: runs operations on the writing connection, many in one transaction, and each fails alone."""

import time
from collections.abc import Sequence
from typing import cast

import apsw

from swarm_persistence.engines.sql.sqlite.execution import UpkeepResults, execute, fetch
from swarm_persistence.engines.sql.sqlite.failures import is_open_outcome
from swarm_persistence.engines.sql.sqlite.repetition import is_repeatable, stored_sequences
from swarm_persistence.engines.sql.sqlite.statements import BulkInsert, BulkInsertStatement, Puts, PutStatement, Row
from swarm_persistence.engines.sql.sqlite.submit import Batch, Operation, QueryOperation, answer
from swarm_persistence.engines.sql.sqlite.writer_connection import WriterConnection
from swarm_persistence.engines.sql.statements import Statement, run_all, tables_changed
from swarm_persistence.errors import ConflictError, DatabaseError, OutcomeUnknownError, copy_error

_FEWEST_PUTS_LEFT_OUT = 4
_MOST_PUTS_LEFT_OUT = 256
"""How many groups of puts at most are not tried as inserts after one has met a stored row: twice as many each time."""


class GroupCommit(WriterConnection):
    """Runs groups of operations on the writing connection.

    An operation of several statements would need a savepoint, which costs as much as a statement. So a group runs
    without, and if such an operation fails, the group is rolled back and repeated with savepoints, before any caller
    is answered.
    """

    _upkeep: UpkeepResults
    _puts_until_attempt = 0
    _puts_left_out = _FEWEST_PUTS_LEFT_OUT

    def run_group(self, batches: list[Batch], *, is_patient: bool = True) -> list[Batch]:
        """Run the operations of batches, commit them together, and answer them.

        Returns the batches if another process holds the write lock and this is not to wait for it, else none.
        """
        while batches:
            # Nothing is done for a caller that was cancelled by now.
            operations = [
                each
                for batch in batches
                for each in batch.operations
                if each.error is None and not each.future.cancelled()
            ]
            # The first to be over: they come in the order of their submission.
            self._busy_handler.deadline = batches[0].deadline if is_patient else 0.0
            try:
                if operations:
                    self.prepare()
                    adds_rows = isinstance(operations[0].statements[0], BulkInsertStatement | PutStatement)
                    start = len(operations) if adds_rows and self._run_alone(operations) else 0
                    while start < len(operations):
                        start = self._run_transaction(operations, start)
            except apsw.BusyError as error:
                if not is_patient:
                    return batches
                # Nothing of this transaction has run. Batches whose deadline has not passed are retried.
                late = [batch for batch in batches if batch.deadline <= time.monotonic()]
                _fail([each for batch in late for each in batch.operations], self.translate(error))
                answer(late)
                batches = [batch for batch in batches if batch not in late]
                continue
            except BaseException as error:
                _fail(operations, self.translate(error))
                self.roll_back()
            finally:
                self._busy_handler.deadline, self._busy_handler.is_waiting = None, False
            if lost := [op for op in operations if isinstance(op.error, OutcomeUnknownError) and is_repeatable(op)]:
                self._repeat(lost, batches[0].deadline)
            answer(batches)
            if not self.watches.is_empty:
                self._notify_watches(operations)
            break
        return []

    def _repeat(self, lost: list[Operation], deadline: float) -> None:
        """Retry inserts of unknown outcome: each is added now, or found stored with equal values."""
        unknown = [each.error for each in lost]
        for operation in lost:
            operation.result = operation.error = None
        self._busy_handler.deadline = deadline
        try:
            self.prepare()
            self._run_transaction(lost, 0, has_savepoints=True)
            for operation in lost:
                if isinstance(operation.error, ConflictError):
                    operation.result = stored_sequences(self.cursor, operation.statements)
                    operation.error = None if operation.result is not None else operation.error
        except (DatabaseError, apsw.Error) as error:
            self.translate(error)
            self.roll_back()
        finally:
            self._busy_handler.deadline, self._busy_handler.is_waiting = None, False
        for operation, first_error in zip(lost, unknown, strict=True):
            if operation.result is None and not isinstance(operation.error, ConflictError):
                operation.error = first_error

    def run_operation(self, operation: Operation, *, has_savepoint: bool = True) -> None:
        """Run one operation inside the open transaction: all its statements, or none of them.

        Raises:
            _HalfDoneError: without a savepoint, it has failed when a part of it may have been done.

        """
        statements = operation.statements
        try:
            if isinstance(operation, QueryOperation):
                operation.result = fetch(self.cursor, operation.statements[0])
            elif not has_savepoint:
                operation.result = execute(self.cursor, run_all(statements), self._upkeep)
            elif _is_atomic(statements):
                operation.result = execute(self.cursor, run_all(statements))
            else:
                self._run_in_savepoint(operation)
        except BaseException as error:
            operation.error = self.translate(error)
            if not has_savepoint and not _is_atomic(statements) and self.connection.in_transaction:
                raise _HalfDoneError from error

    def _run_alone(self, operations: list[Operation]) -> bool:
        """Run operations that only add rows to one table as one statement; tell whether that was possible.

        The statement is its own transaction. The driver gives the interpreter lock away once a statement, so all of
        it, the disk's part included, runs beside the event loop.
        """
        bulk, rows = _next_inserts(operations, 0)
        puts = _puts_of(operations) if bulk is None else None
        if puts is not None:
            if self._puts_until_attempt:
                self._puts_until_attempt -= 1
                return False
            bulk, rows = puts.new, [row for each in operations for put in _puts_in(each) for row in put.rows]
        elif len(rows) != len(operations):
            return False
        if bulk is None or len(rows) > bulk.largest_chunk:
            return False
        try:
            sequences = bulk.add_chunk(self.cursor, rows)
        except (apsw.ConstraintError, apsw.TooBigError):
            if puts is not None:
                self._puts_until_attempt = self._puts_left_out = min(2 * self._puts_left_out, _MOST_PUTS_LEFT_OUT)
            return False  # One row's fault: in a transaction, each fails or succeeds alone.
        except apsw.Error as error:
            if not is_open_outcome(error):
                raise
            raise self._lost(error) from error
        self.confirm()
        if puts is None:
            for operation, sequence in zip(operations, sequences, strict=True):
                operation.result = (sequence,)
        else:
            self._puts_left_out = _FEWEST_PUTS_LEFT_OUT
            for operation in operations:
                operation.result = [puts.result_of_new(put.rows) for put in _puts_in(operation)]
        return True

    def _run_transaction(self, operations: list[Operation], start: int, *, has_savepoints: bool = False) -> int:
        """Run operations in one transaction; return the place of the first that was not in it."""
        self._upkeep = {}
        self.begin()
        position = start
        while position < len(operations):
            try:
                bulk, rows = _next_inserts(operations, position)
                if bulk is not None:
                    self._run_inserts(bulk, rows, operations[position : position + len(rows)])
                    position += len(rows)
                else:
                    self.run_operation(operations[position], has_savepoint=has_savepoints)
                    position += 1
            except _HalfDoneError:
                self.roll_back()
                for operation in operations[start : position + 1]:
                    operation.result = operation.error = None
                return self._run_transaction(operations, start, has_savepoints=True)
            if not self.connection.in_transaction:
                # SQLite has rolled back by itself (a full disk, an I/O error): so far, nothing is stored.
                cause = operations[position - 1].error or DatabaseError("SQLite has rolled the transaction back")
                _fail(operations[start:position], cause)
                return position
        try:
            self.commit()
        except (DatabaseError, apsw.Error) as error:
            _fail(operations[start:], self.translate(error))
        return len(operations)

    def _run_inserts(self, bulk: BulkInsert, rows: list[Row], inserts: list[Operation]) -> None:
        """Run inserts into one table, each of which fails or succeeds alone."""
        try:
            outcomes = bulk.add(self.cursor, rows)
        except BaseException as error:
            # Which rows are in is not known: undo them all.
            self.roll_back()
            _fail(inserts, self.translate(error))
        else:
            for operation, outcome in zip(inserts, outcomes, strict=True):
                if isinstance(outcome, BaseException):
                    operation.error = self.translate(outcome)
                else:
                    operation.result = (outcome,)

    def _notify_watches(self, operations: list[Operation]) -> None:
        changed = set[str]().union(*map(changed_by, operations))
        if changed:
            self.watches.ring(changed)

    def _run_in_savepoint(self, operation: Operation) -> None:
        self.cursor.execute("SAVEPOINT operation")
        try:
            operation.result = execute(self.cursor, run_all(operation.statements))
            self.cursor.execute("RELEASE operation")
        except BaseException:
            if self.connection.in_transaction:
                self.cursor.execute("ROLLBACK TO operation")
                self.cursor.execute("RELEASE operation")
            raise


class _HalfDoneError(Exception):
    """An operation without a savepoint has failed: the transaction must be rolled back."""


def changed_by(operation: Operation) -> set[str]:
    """Return the names of the tables that an operation may have changed."""
    if operation.error is not None or isinstance(operation, QueryOperation) or not any(operation.result or ()):
        return set()
    return tables_changed(operation.statements)


def _is_atomic(statements: Sequence[Statement]) -> bool:
    """Tell whether SQLite undoes all of them by itself if one fails."""
    return len(statements) == 1 and statements[0].is_single and not statements[0].can_fail_after_change


def _next_inserts(operations: list[Operation], position: int) -> tuple[BulkInsert | None, list[Row]]:
    """Return the rows of the operations that stand next and add one row of one table, and what adds these rows."""
    bulk: BulkInsert | None = None
    rows: list[Row] = []
    for place in range(position, len(operations)):
        statements = operations[place].statements
        statement = statements[0] if len(statements) == 1 else None
        if not isinstance(statement, BulkInsertStatement) or len(statement.rows) != 1:
            break
        if bulk is not None and statement.bulk is not bulk:
            break
        bulk = statement.bulk
        rows.append(statement.rows[0])
    return bulk, rows


def _puts_in(operation: Operation) -> Sequence[PutStatement]:
    return cast(Sequence[PutStatement], operation.statements)


def _puts_of(operations: list[Operation]) -> Puts | None:
    """Return what puts the rows of operations which do nothing else, if it is the same for all."""
    puts: Puts | None = None
    for operation in operations:
        for statement in operation.statements:
            if type(statement) is not PutStatement or (puts is not None and statement.puts is not puts):
                return None
            puts = statement.puts
    return puts


def _fail(operations: Sequence[Operation], error: BaseException) -> None:
    for operation in operations:
        if operation.error is None:
            operation.error = copy_error(error)
