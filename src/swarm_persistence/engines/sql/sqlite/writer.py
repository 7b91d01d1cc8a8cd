"""The writer: one thread, one connection, and one commit for all that waits (group commit)."""

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import apsw

from swarm_persistence.engines.sql.sqlite.mailboxes import Batch, post
from swarm_persistence.engines.sql.sqlite.operations import Operation
from swarm_persistence.engines.sql.sqlite.statements import InsertStatement, insert_rows
from swarm_persistence.errors import DatabaseError

LARGEST_GROUP = 1024
"""Operations in one commit: enough to share its cost, and few enough that the first need not wait for the last."""


class Writer:
    """Runs what loops send it, in order. Operations of several statements get a savepoint; single ones need none."""

    def __init__(
        self, open_connection: Callable[[], apsw.Connection], translate: Callable[[BaseException], BaseException]
    ) -> None:
        self._open_connection = open_connection
        self.translate = translate
        self._inbox: SimpleQueue[Batch | None] = SimpleQueue()
        self.connection: apsw.Connection
        self.cursor: apsw.Cursor
        self.is_active = False
        # A daemon: a program that forgets close() must still be able to end.
        self._thread = threading.Thread(target=self._run, name="swarm-persistence writer", daemon=True)
        self._opened = threading.Event()
        self._failure: BaseException | None = None

    def start(self) -> None:
        """Open the connection in the writer's thread; raises what opening raises. Blocks: call it from a thread."""
        self._thread.start()
        self._opened.wait()
        if self._failure is not None:
            raise self._failure

    def send(self, batch: Batch) -> None:
        """Take a batch; its operations are answered by `post`."""
        self._inbox.put(batch)

    def stop(self) -> None:
        """Let the thread end once it has done what it was sent."""
        self._inbox.put(None)

    def join(self) -> None:
        """Wait for the thread's end."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self.connection = self._open_connection()
            self.cursor = self.connection.cursor()
        except BaseException as error:
            self._failure = self.translate(error)
            return
        finally:
            self._opened.set()
        try:
            while self._run_next_group():
                pass
        finally:
            self.connection.close()

    def _run_next_group(self) -> bool:
        batch = self._inbox.get()
        self.is_active = True
        group: list[Batch] = []
        size = 0
        while batch is not None:
            if batch.operations[0].action is not None:
                self._run_group(group)
                self._run_action(batch)
                group, size = [], 0
            elif batch.take():
                group.append(batch)
                size += len(batch.operations)
            if size >= LARGEST_GROUP:
                break
            try:
                batch = self._inbox.get_nowait()
            except Empty:
                break
        self._run_group(group)
        self.is_active = False
        return batch is not None

    def _run_action(self, batch: Batch) -> None:
        operation = batch.operations[0]
        if not batch.take():
            return
        if operation.future.cancelled():
            post([batch])
            return
        assert operation.action is not None
        try:
            operation.result = operation.action()
        except BaseException as error:
            operation.error = self.translate(error)
            self._roll_back()
        following = operation.following
        post([batch])
        if following is not None and operation.error is None:
            following()

    def _run_group(self, group: list[Batch]) -> None:
        if not group:
            return
        # A caller that was cancelled before its turn gets nothing done.
        operations = [each for batch in group for each in batch.operations if not each.future.cancelled()]
        try:
            start = 0
            while start < len(operations):
                start = self._run_transaction(operations, start)
        except BaseException as error:
            _fail(operations, self.translate(error))
            self._roll_back()
        post(group)

    def _run_transaction(self, operations: list[Operation], start: int) -> int:
        """Run operations in one transaction; return the place of the first that was not in it."""
        try:
            self.cursor.execute("BEGIN IMMEDIATE")
        except apsw.Error as error:
            _fail(operations[start:], self.translate(error))
            return len(operations)
        position = start
        while position < len(operations):
            position = self._run_some(operations, position)
            if not self.connection.in_transaction:
                # SQLite has rolled back by itself (a full disk, an I/O error): so far, nothing is stored.
                cause = operations[position - 1].error or DatabaseError("SQLite has rolled the transaction back")
                _fail(operations[start:position], cause)
                return position
        try:
            self.cursor.execute("COMMIT")
        except apsw.Error as error:
            self._roll_back()
            _fail(operations[start:], self.translate(error))
        return len(operations)

    def _run_some(self, operations: list[Operation], position: int) -> int:
        """Run the next operation, or all inserts into one table that stand next; return the place after them."""
        operation = operations[position]
        if len(operation.parts) == 1 and isinstance(operation.parts[0][0], InsertStatement):
            statement = operation.parts[0][0]
            end = position + 1
            while end < len(operations) and _is_single(operations[end], statement):
                end += 1
            self._run_inserts(statement, operations[position:end])
            return end
        self.run_operation(operation)
        return position + 1

    def _run_inserts(self, statement: InsertStatement, operations: list[Operation]) -> None:
        rows = [operation.parts[0][1] for operation in operations]
        try:
            outcomes = insert_rows(self.cursor, statement, rows)
        except BaseException as error:
            _fail(operations, self.translate(error))
            return
        for operation, outcome in zip(operations, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                operation.error = outcome
            else:
                operation.result = (outcome,)

    def run_operation(self, operation: Operation) -> None:
        """Run one operation inside the open transaction: all its statements, or none of them."""
        try:
            if len(operation.parts) == 1:
                # SQLite undoes a statement that fails by itself.
                statement, parameters = operation.parts[0]
                operation.result = (statement.run(self.cursor, parameters),)
            else:
                self._run_parts(operation)
        except BaseException as error:
            operation.error = self.translate(error)

    def _run_parts(self, operation: Operation) -> None:
        self.cursor.execute("SAVEPOINT operation")
        try:
            operation.result = self._results(operation)
            self.cursor.execute("RELEASE operation")
        except BaseException:
            if self.connection.in_transaction:
                self.cursor.execute("ROLLBACK TO operation")
                self.cursor.execute("RELEASE operation")
            raise

    def _results(self, operation: Operation) -> list[Any]:
        results: list[Any] = []
        parts = operation.parts
        position = 0
        while position < len(parts):
            statement, parameters = parts[position]
            end = position + 1
            if isinstance(statement, InsertStatement):
                while end < len(parts) and parts[end][0] is statement:
                    end += 1
                for outcome in insert_rows(self.cursor, statement, [row for _, row in parts[position:end]]):
                    if isinstance(outcome, BaseException):
                        raise outcome
                    results.append(outcome)
            else:
                results.append(statement.run(self.cursor, parameters))
            position = end
        return results

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            self.cursor.execute("ROLLBACK")


def _is_single(operation: Operation, statement: InsertStatement) -> bool:
    return len(operation.parts) == 1 and operation.parts[0][0] is statement


def _fail(operations: Sequence[Operation], error: BaseException) -> None:
    for operation in operations:
        if operation.error is None:
            operation.error = error
