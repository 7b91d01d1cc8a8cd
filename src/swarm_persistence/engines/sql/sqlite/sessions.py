"""A caller's transaction holds the writer until it ends, while readers continue; a snapshot has a reader of its own."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import apsw

from swarm_persistence.engines.reads import Read
from swarm_persistence.engines.sql.sqlite.batches import Batch, answer, refuse
from swarm_persistence.engines.sql.sqlite.calling_threads import ThreadSubmitter
from swarm_persistence.engines.sql.sqlite.execution import fetch
from swarm_persistence.engines.sql.sqlite.group_commit import Writer, changed_by
from swarm_persistence.engines.sql.sqlite.numbers import CHANGES, numbers_of
from swarm_persistence.engines.sql.sqlite.operations import Action, Operation, QueryOperation
from swarm_persistence.engines.sql.sqlite.statement_compiler import SqliteStatementCompiler
from swarm_persistence.engines.sql.sqlite.statements import ShortCommand
from swarm_persistence.engines.sql.sqlite.submit import Submitter, are_large
from swarm_persistence.engines.sql.statements import Statement
from swarm_persistence.engines.steps import Step
from swarm_persistence.engines.transaction_errors import is_over, was_open_too_long
from swarm_persistence.errors import ClosedError, DatabaseError, StorageError, TransactionError, copy_error
from swarm_persistence.schema.tables import SEQUENCE, TABLES

T = TypeVar("T")


class SqliteSession:
    """An open transaction. The methods run in the caller's loop; `serve` runs in the writer's thread."""

    def __init__(
        self,
        writer: Writer,
        compiler: SqliteStatementCompiler,
        submitter: Callable[[], Submitter | ThreadSubmitter],
        timeout: float,
        longest_stay: float,
    ) -> None:
        self._longest_stay = longest_stay
        self._writer = writer
        self._compiler = compiler
        self._submitter = submitter
        self._timeout = timeout
        self._deadline = 0.0
        self._inbox: SimpleQueue[Batch | None] = SimpleQueue()
        self._end_lock = threading.Lock()
        # Guards the connection, which the writer's thread uses, and the caller's thread for short statements.
        self._connection_lock = threading.Lock()
        self._sent = self._served = 0
        self._is_slow = longest_stay <= 0
        self.has_ended = False
        """Whether the writer is free, or about to be."""
        self._reason = ""
        self._changed: set[str] = set()
        self.failure: Exception | None = None

    def opened(self) -> None:
        """Start the transaction's time limit."""
        self._deadline = time.monotonic() + self._timeout

    def write(self, steps: Sequence[Step]) -> Awaitable[list[Any]]:
        return self._submit(self._compiler.write(steps))

    def read(self, read: Read[T]) -> "asyncio.Future[T]":
        statement = self._compiler.read(read)
        return self._send(QueryOperation(asyncio.get_running_loop().create_future(), (statement,)))

    def savepoint(self, name: str) -> Awaitable[None]:
        return self._run(f"SAVEPOINT {name}")

    def release(self, name: str) -> Awaitable[None]:
        return self._run(f"RELEASE {name}")

    async def rollback_to(self, name: str) -> None:
        await self._run(f"ROLLBACK TO {name}")
        await self._run(f"RELEASE {name}")

    def commit(self) -> Awaitable[None]:
        return self._send(Action(asyncio.get_running_loop().create_future(), action=self._end_by_commit))

    def rollback(self) -> Awaitable[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            self._send(Action(future, action=self._end_by_rollback))
        except StorageError:
            future.set_result(None)  # It has ended by itself, and was rolled back.
        return future

    def abandon(self, reason: str = "no reference to it was left") -> None:
        self._reason = reason
        self._inbox.put(None)

    async def _run(self, text: str) -> None:
        await self._submit((ShortCommand(text),))

    def _submit(self, statements: Sequence[Statement]) -> "asyncio.Future[list[Any]]":
        return self._send(Operation(asyncio.get_running_loop().create_future(), statements))

    def _send(self, operation: Operation) -> "asyncio.Future[Any]":
        submitter = self._submitter()
        future = operation.future_in(submitter.loop)  # one that has failed forgets it
        if self._is_done_here(operation):
            submitter.answer_soon(operation)
            return future
        with self._end_lock:
            if self.has_ended:
                raise copy_error(self.failure or is_over())
            self._sent += 1
            batch = submitter.send_to(self._inbox.put, operation)
        submitter.block_on(batch)
        return future

    def _is_done_here(self, operation: Operation) -> bool:
        """Run a short operation in the caller's own thread, and tell whether that was possible.

        That takes a fraction of a round trip to the writer's thread. After one that took longer, because it had to read
        from disk, the rest of this transaction is sent to that thread.
        """
        statements = operation.statements
        if (
            self._is_slow
            or len(statements) != 1
            or not statements[0].is_short
            or are_large(statements)
            or not self._connection_lock.acquire(blocking=False)
        ):
            return False
        try:
            if self.has_ended or self._sent != self._served:
                return False
            start = time.monotonic()
            self._run_operation(operation)
            self._is_slow = time.monotonic() - start > self._longest_stay
            if self.has_ended:
                self._inbox.put(None)  # resumes the writer's thread
            return True
        finally:
            self._connection_lock.release()

    def serve(self) -> None:
        """Run the transaction's operations until it ends."""
        try:
            while not self.has_ended:
                self._serve_next()
        finally:
            if not self.has_ended:
                self._close(TransactionError("the writer has failed"))
            self._refuse_the_rest()

    def _serve_next(self) -> None:
        try:
            batch = self._inbox.get(timeout=max(self._deadline - time.monotonic(), 0.0))
        except Empty:
            self._expire()
            return
        with self._connection_lock:
            if batch is None:
                if not self.has_ended:
                    self._writer.commits.roll_back()
                    self._close(TransactionError(f"the transaction was rolled back: {self._reason}"))
                return
            self._run_batch(batch)
        answer([batch])

    def _run_batch(self, batch: Batch) -> None:
        operation = batch.operations[0]
        batch.taken.acquire(blocking=False)  # No loop gives it up: it has no deadline of its own.
        if isinstance(operation, Action):
            try:
                operation.action()
            except BaseException as error:
                operation.error = self._writer.commits.translate(error)
        elif operation.is_wanted:
            self._run_operation(operation)
        self._served += 1

    def _run_operation(self, operation: Operation) -> None:
        commits = self._writer.commits
        try:
            commits.verify_now_and_then()
        except DatabaseError as error:
            operation.error = error
            return
        commits.run_operation(operation)
        self._changed |= changed_by(operation)
        if not commits.connection.in_transaction:
            self._close(TransactionError(f"SQLite has rolled the transaction back: {operation.error}"))

    def _end_by_commit(self) -> None:
        self._close(None)
        self._writer.commits.commit()
        self._writer.commits.watches.notify(self._changed)

    def _end_by_rollback(self) -> None:
        self._close(None)
        self._writer.commits.roll_back()

    def _expire(self) -> None:
        with self._connection_lock:
            if self.has_ended:
                return
            self._writer.commits.roll_back()
            self._close(was_open_too_long(self._timeout))

    def _close(self, failure: Exception | None) -> None:
        with self._end_lock:
            self.has_ended = True
            self.failure = failure

    def _refuse_the_rest(self) -> None:
        # Nothing is added from now on, as `_send` sees that it is over.
        while not self._inbox.empty():
            batch = self._inbox.get()
            if batch is None:
                continue
            operation = batch.operations[0]
            if isinstance(operation, Action) and operation.action == self._end_by_rollback:
                batch.taken.acquire(blocking=False)
                answer([batch])
            else:
                refuse(batch, self.failure or is_over())


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
