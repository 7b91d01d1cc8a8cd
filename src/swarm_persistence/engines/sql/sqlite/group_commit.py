"""Group commit: what waits is committed together, and each operation fails alone.

The thread that leads owns the single writing connection: it takes the waiting batches in order of arrival, and runs
them as one group.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from typing import cast

import apsw

from swarm_persistence.engines.nested_calls import waits_for_itself
from swarm_persistence.engines.sql.sqlite.batches import Batch, answer, refuse
from swarm_persistence.engines.sql.sqlite.connection import LockWait
from swarm_persistence.engines.sql.sqlite.execution import UpkeepResults, execute, fetch
from swarm_persistence.engines.sql.sqlite.failures import is_open_outcome
from swarm_persistence.engines.sql.sqlite.foreign_commits import ForeignCommits, Poll
from swarm_persistence.engines.sql.sqlite.operations import Action, Operation, QueryOperation, is_any_wanted
from swarm_persistence.engines.sql.sqlite.repetition import is_repeatable, stored_sequences
from swarm_persistence.engines.sql.sqlite.statements import (
    MOST_ROWS,
    BulkInsert,
    BulkInsertStatement,
    Puts,
    PutStatement,
    Row,
)
from swarm_persistence.engines.sql.sqlite.wake_chain import WATCH_SECONDS, WakeChain
from swarm_persistence.engines.sql.sqlite.writer_connection import WriterConnection
from swarm_persistence.engines.sql.statements import Statement, run_all, tables_changed
from swarm_persistence.engines.watches import Watches
from swarm_persistence.errors import ClosedError, ConflictError, DatabaseError, OutcomeUnknownError, copy_error

_LARGEST_GROUP = MOST_ROWS
"""Operations in one commit: enough to amortize its cost, few enough that the first is not delayed by the last."""
_ADDING = (BulkInsertStatement, PutStatement)
_NO_WAIT = LockWait(0.0)
_FEWEST_PUTS_LEFT_OUT = 4
_MOST_PUTS_LEFT_OUT = 256
"""The most groups of puts that are not tried as inserts after one met a stored row; the number doubles each time."""


class Writer:
    """Runs the waiting batches as one group: in its own thread, or in that of a caller.

    A caller's thread leads if no other thread does, and stops after its own batch. The rest is left to the writer's
    thread, as is everything that may have to wait, for a transaction's caller or another process.
    """

    commits: "GroupCommit"

    def __init__(
        self,
        open_connection: "Callable[[], GroupCommit]",
        translate: Callable[[BaseException], BaseException],
        watches: Watches,
        *,
        log: str,
        wait_for_readers: Callable[[], None],
    ) -> None:
        """Take the function that opens the writing connection, in the writer's thread, and the path of the log."""
        self._foreign_commits = ForeignCommits(log, watches, self._put)
        self._wait_for_readers = wait_for_readers
        self._watches = watches
        self._open_connection = open_connection
        self._translate = translate
        self._inbox: deque[Batch | Poll | None] = deque()
        self.wake_chain = WakeChain(self._end_gathering)
        # What calling threads submit while others of the last group are still being woken: the next group.
        self._gathered: deque[Batch] = deque()
        # Held by the leader, the thread that uses the connection and takes batches from the inbox.
        self._lead = threading.Lock()
        self._leader = 0
        """The thread that leads, 0 if none does: a finalizer may interrupt it, whose call would wait for itself."""
        self.is_lent = False
        """Whether a calling thread uses the connection for an operation that is in no batch."""
        self._wake = threading.Lock()
        self._wake.acquire()
        # A daemon: a program that forgets close() must still be able to end.
        self._thread = threading.Thread(target=self._run, name="swarm-persistence writer", daemon=True)
        self._opened = threading.Event()
        self._failure: BaseException | None = None
        self._is_idle = False
        """Whether the writer's thread waits, or is about to, until there is something in the inbox."""
        self._is_over = False

    def start(self) -> None:
        """Open the connection in the writer's thread; raises what opening raises. Blocks: call it from a thread."""
        self._thread.start()
        self._opened.wait()
        if self._failure is not None:
            raise self._failure

    def send(self, batch: Batch) -> None:
        """Take a batch; its operations are answered by `answer`."""
        if self._leader == threading.get_ident():
            refuse(batch, waits_for_itself())
            return
        self._put(batch)
        if self._is_over:
            self._refuse_the_rest()

    def lead(self, operation: Operation, deadline: float) -> bool:
        """Run an operation in the calling thread, as a group by itself, if nothing else waits; tell whether it ran."""
        if self._inbox or not self._lead.acquire(blocking=False):
            return False
        try:
            self._leader = threading.get_ident()
            self.is_lent = True
            return self.commits.run_alone(operation, deadline)
        finally:
            self.is_lent = False
            self._stop_leading()

    def lead_group(self, batch: Batch) -> None:
        """Take a batch, and run it in the calling thread, with what else waits, if no thread leads at this moment."""
        if self._leader == threading.get_ident():
            refuse(batch, waits_for_itself())
            return
        if self.wake_chain.woken is not None:
            self._gathered.append(batch)
            # The thread that ends the chain takes what was gathered before.
            if self.wake_chain.woken is None or self._is_over:
                self._end_gathering()
            return
        self._inbox.append(batch)
        if not self._lead.acquire(blocking=False):
            # The leader checks the inbox again after it has released the lock.
            if self._is_over:
                self._refuse_the_rest()
            return
        try:
            self._leader = threading.get_ident()
            while not batch.is_done and self._run_group(may_wait=False):
                pass
        finally:
            self._stop_leading()
        if self._is_idle and self.wake_chain.is_active:
            self._put()  # the writer's thread also watches the chain of a group that was run here

    def _stop_leading(self) -> None:
        self._leader = 0
        self._lead.release()
        if self._inbox or self.commits.is_checkpoint_due:
            self._put()

    def poll(self) -> None:
        """Wake the watches if another process has committed; runs in the writer's thread."""
        if not self._watches.is_empty:
            self._foreign_commits.poll(self.commits)

    def watch(self) -> None:
        """Start to poll for other processes' commits, for as long as there is a watch."""
        self._foreign_commits.watch()

    def stop(self) -> None:
        """Let the thread end after the batches that it was sent."""
        self._foreign_commits.close()
        self._end_gathering()
        self._put(None)

    def join(self) -> None:
        """Wait for the thread's end."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self.commits = self._open_connection()
        except BaseException as error:
            self._failure = self._translate(error)
            return
        finally:
            self._opened.set()
        try:
            self._lead_until_stopped()
        except BaseException as error:
            self._failure = self._translate(error)
            raise
        finally:
            self._is_over = True
            self._leader = 0
            self.wake_chain.break_off()
            self._refuse_the_rest()
            # The last connection to close removes the log, and a reader that opens one then would miss it.
            self._wait_for_readers()
            self.commits.close()

    def _put(self, *items: Batch | Poll | None) -> None:
        """Add to the inbox, and wake the writer's thread."""
        self._inbox += items
        if self._wake.locked():
            with suppress(RuntimeError):  # another thread has taken it
                self._wake.release()

    def _end_gathering(self) -> int:
        """Let the writer's thread run what was gathered; return how many batches that is."""
        count = 0
        with suppress(IndexError):
            while True:
                self._inbox.append(self._gathered.popleft())
                count += 1
        self._put()
        if self._is_over:
            self._refuse_the_rest()
        return count

    def _wait_for_work(self) -> None:
        while not self._inbox and self.wake_chain.is_active:
            if not self._wake.acquire(timeout=WATCH_SECONDS):
                self.wake_chain.break_off_if_late()
        self._is_idle = True  # before the chain is looked at: `lead_group` does it in the opposite order
        if not self._inbox and not self.wake_chain.is_active:
            self._wake.acquire(timeout=-1 if self._watches.is_empty else self._foreign_commits.poll_seconds)
        self._is_idle = False

    def _lead_until_stopped(self) -> None:
        """Lead whenever there is something to do. Returns as the leader, so that no other thread ever leads again."""
        while True:
            self._wait_for_work()
            self._lead.acquire()
            self._leader = threading.get_ident()
            while True:
                if self._inbox and not self._run_group(may_wait=True) and not self._run_other():
                    return
                if self.commits.is_checkpoint_due:
                    self.commits.checkpoint()
                if not self._watches.is_empty:
                    self._foreign_commits.poll_if_due(self.commits)
                if not self._inbox:
                    break
            self._leader = 0
            self._lead.release()

    def _run_other(self) -> bool:
        """Run the next item of the inbox, which belongs to no group; return `False` at the end."""
        item = self._inbox.popleft()
        if item is None:
            return False
        if isinstance(item, Batch):
            self._run_action(item)
        else:
            self._foreign_commits.run(item, self.commits)
        return True

    def _run_group(self, *, may_wait: bool) -> bool:
        """Run the next batches as one group; return `False` if another item is next, or it would have to wait."""
        group: list[Batch] = []
        size = 0
        is_other_next = True
        while self._inbox and size < _LARGEST_GROUP:
            batch = self._inbox[0]
            if not isinstance(batch, Batch) or isinstance(batch.operations[0], Action):
                break
            self._inbox.popleft()
            is_other_next = False
            if batch.taken.acquire(blocking=False):
                group.append(batch)
                size += len(batch.operations)
        rest = self.commits.run_group(group, may_wait=may_wait)
        for batch in reversed(rest):
            batch.taken.release()
            self._inbox.appendleft(batch)
        return not (is_other_next or rest)

    def _run_action(self, batch: Batch) -> None:
        operation = batch.operations[0]
        assert isinstance(operation, Action)
        if not batch.taken.acquire(blocking=False):
            return
        if operation.is_wanted:
            try:
                self.commits.prepare()
                self.commits.busy_handler.wait = LockWait(operation.deadline, partial(is_any_wanted, (operation,)))
                operation.result = operation.action()
            except BaseException as error:
                operation.error = self.commits.translate(error)
                self.commits.roll_back()
            finally:
                self.commits.busy_handler.wait = LockWait()
        has_succeeded = operation.result is not None and operation.error is None
        answer([batch])
        if operation.following is not None and has_succeeded:
            operation.following()

    def _refuse_the_rest(self) -> None:
        # A sender either sees `_is_over`, or its batch is refused here: no sender waits forever.
        while True:
            try:
                batch = self._inbox.popleft()
            except IndexError:
                return
            if isinstance(batch, Batch):
                refuse(batch, self._failure or ClosedError("the storage was closed before this call ran"))


class GroupCommit(WriterConnection):
    """Runs groups of operations on the writing connection.

    An operation of several statements would need a savepoint, which costs as much as a statement. So a group runs
    without, and if such an operation fails, the group is rolled back and repeated with savepoints, before any caller
    is answered.
    """

    _upkeep: UpkeepResults
    _puts_until_attempt = 0
    _puts_left_out = _FEWEST_PUTS_LEFT_OUT

    def run_group(self, batches: list[Batch], *, may_wait: bool = True) -> list[Batch]:
        """Run the operations of batches, commit them together, and answer them.

        If another process holds the write lock and this must not wait, returns the batches unrun.
        """
        while batches:
            # Skip the operations of callers that were cancelled by now.
            operations = [
                each
                for batch in batches
                for each in batch.operations
                # `is_wanted`, without a call for each of hundreds.
                if each.error is None and ((future := each.future) is None or not future.cancelled())
            ]
            # The earliest deadline, as batches are in the order of their submission.
            deadline = batches[0].deadline
            wait = LockWait(deadline if may_wait else 0.0, partial(is_any_wanted, operations))
            try:
                self._run(operations, wait, deadline)
            except apsw.BusyError as error:
                if not may_wait:
                    return batches
                # Nothing of this transaction has run. Batches whose deadline has not passed are retried.
                late = [batch for batch in batches if batch.deadline <= time.monotonic()]
                _fail([each for batch in late for each in batch.operations], self.translate(error))
                answer(late)
                batches = [batch for batch in batches if batch not in late]
                continue
            answer(batches)
            if not self.watches.is_empty:
                self._notify_watches(operations)
            break
        return []

    def run_alone(self, operation: Operation, deadline: float) -> bool:
        """Run an operation as a group by itself, in its caller's thread; `False` if another process prevents it."""
        operations = [operation]
        try:
            self._run(operations, _NO_WAIT, deadline)
        except apsw.BusyError:
            return False
        if not self.watches.is_empty:
            self._notify_watches(operations)
        return True

    def _run(self, operations: list[Operation], wait: LockWait, deadline: float) -> None:
        """Run operations, and commit them together; each is given its result or its error.

        Raises:
            apsw.BusyError: another process holds the write lock; nothing has run.

        """
        self.busy_handler.wait = wait
        try:
            if operations:
                self.prepare()
                adds_rows = type(operations[0].statements[0]) in _ADDING
                start = len(operations) if adds_rows and self._run_as_one(operations) else 0
                while start < len(operations):
                    start = self._run_transaction(operations, start)
        except apsw.BusyError:
            raise
        except BaseException as error:
            _fail(operations, self.translate(error))
            self.roll_back()
        finally:
            self.busy_handler.wait = LockWait()
        if self.is_outcome_unknown:
            self.is_outcome_unknown = False
            lost = [op for op in operations if isinstance(op.error, OutcomeUnknownError) and is_repeatable(op)]
            if lost:
                self._repeat(lost, deadline)

    def _repeat(self, lost: list[Operation], deadline: float) -> None:
        """Retry inserts of unknown outcome: each is added now, or found stored with equal values."""
        unknown = [each.error for each in lost]
        for operation in lost:
            operation.result = operation.error = None
        self.busy_handler.wait = LockWait(deadline)
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
            self.busy_handler.wait = LockWait()
        for operation, first_error in zip(lost, unknown, strict=True):
            if operation.result is None and not isinstance(operation.error, ConflictError):
                operation.error = first_error

    def run_operation(self, operation: Operation, *, has_savepoint: bool = True) -> None:
        """Run one operation inside the open transaction: all its statements, or none of them.

        Raises:
            _HalfDoneError: without a savepoint, it failed after a part of it may have run.

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

    def _run_as_one(self, operations: list[Operation]) -> bool:
        """Run operations that only add rows to one table as one statement; tell whether that was possible.

        The statement is its own transaction. The driver releases the interpreter lock once per statement, so all of it,
        disk access included, runs in parallel with the event loop. In an explicit transaction, SQLite would also copy
        each page that a statement of several rows changes, into a temporary file.
        """
        statements = operations[0].statements
        first = statements[0]
        bulk: BulkInsert | None
        if len(operations) == 1 == len(statements) and type(first) is BulkInsertStatement:
            bulk, rows, end = first.bulk, first.rows, 1  # what `_next_inserts` does, without a call
        else:
            bulk, rows, end = _next_inserts(operations, 0, has_lists=True)
        puts = self._puts_to_try(operations, rows) if bulk is None else None
        if puts is not None:
            bulk = puts.new
        count = len(rows)
        if bulk is None or count > bulk.largest_chunk or (puts is None and end < len(operations)):
            return False
        try:
            self.cursor.execute(bulk.text_of(count), rows[0] if count == 1 else [*chain.from_iterable(rows)])
        except (apsw.ConstraintError, apsw.TooBigError):
            if puts is not None:
                self._puts_until_attempt = self._puts_left_out = min(2 * self._puts_left_out, _MOST_PUTS_LEFT_OUT)
            return False  # One row is to blame: run each in the transaction, where it fails or succeeds alone.
        except apsw.Error as error:
            if not is_open_outcome(error):
                raise
            raise self._lost(error) from error
        last = self.connection.last_insert_rowid()
        self.confirm()
        # SQLite numbers the rows of one statement one after the other.
        if puts is None and count == len(operations):
            for sequence, operation in enumerate(operations, last - count + 1):
                operation.result = (sequence,)
        elif puts is None:
            _number_lists(operations, iter(range(last - count + 1, last + 1)))
        else:
            self._give_results_of_puts(operations)
        return True

    def _puts_to_try(self, operations: list[Operation], rows: list[Row]) -> Puts | None:
        """Return the `Puts` that operations share, if they consist of puts that may all be of new rows."""
        puts = _puts_of(operations, rows)
        if puts is not None and self._puts_until_attempt:
            self._puts_until_attempt -= 1
            return None
        return puts

    def _give_results_of_puts(self, operations: list[Operation]) -> None:
        self._puts_left_out = _FEWEST_PUTS_LEFT_OUT
        for operation in operations:
            statements = cast(Sequence[PutStatement], operation.statements)
            operation.result = (*[put.result_of_new for put in statements],)

    def _run_transaction(self, operations: list[Operation], start: int, *, has_savepoints: bool = False) -> int:
        """Run operations in one transaction; return the position of the first one that was not part of it."""
        self._upkeep = {}
        self.begin()
        position = start
        while position < len(operations):
            try:
                bulk, rows, end = _next_inserts(operations, position)
                if bulk is not None:
                    self._run_inserts(bulk, rows, operations[position:end])
                    position = end
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
            # It is unknown which rows were added: undo them all.
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
            self.watches.notify(changed)

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
    """Tell whether SQLite by itself undoes all of the statements if one fails."""
    return len(statements) == 1 and statements[0].is_single and not statements[0].can_fail_after_change


def _number_lists(operations: list[Operation], sequences: Iterator[int]) -> None:
    """Give operations of several rows the next sequences."""
    for operation in operations:
        (statement,) = cast(Sequence[BulkInsertStatement], operation.statements)
        operation.result = [*islice(sequences, len(statement.rows))]


def _next_inserts(
    operations: list[Operation], position: int, *, has_lists: bool = False
) -> tuple[BulkInsert | None, list[Row], int]:
    """Return what adds the rows of the next operations to one table, the rows, and the position of the one behind them.

    Each operation adds one row, or with `has_lists` one or more.
    """
    bulk: BulkInsert | None = None
    rows: list[Row] = []
    for operation in operations[position:] if position else operations:
        statements = operation.statements
        if len(statements) != 1 or type(statement := statements[0]) is not BulkInsertStatement:
            break
        if statement.bulk is not bulk:
            if bulk is not None:
                break
            bulk = statement.bulk
        if len(statement.rows) != 1 and not has_lists:
            break
        rows += statement.rows
        position += 1
    return (bulk if rows else None), rows, position


def _puts_of(operations: list[Operation], rows: list[Row]) -> Puts | None:
    """Return the `Puts` that operations share, if they consist of nothing but puts, whose rows are added to `rows`."""
    puts: Puts | None = None
    for operation in operations:
        for statement in operation.statements:
            if type(statement) is not PutStatement or (puts is not None and statement.puts is not puts):
                return None
            puts = statement.puts
            rows += statement.rows
    return puts


def _fail(operations: Sequence[Operation], error: BaseException) -> None:
    for operation in operations:
        if operation.error is None:
            operation.error = copy_error(error)
