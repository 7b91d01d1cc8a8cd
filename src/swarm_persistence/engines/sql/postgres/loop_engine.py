"""The engine of one schema in one event loop: its batches, transactions, and operations in flight."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

from swarm_persistence.engines.delivery import OnAbandoned, delivered
from swarm_persistence.engines.prepared import BoundSteps
from swarm_persistence.engines.reads import Get, IsAny, Read, Values
from swarm_persistence.engines.sql.postgres.batches import (
    MOST_ROWS,
    Batch,
    Batches,
    BatchWork,
    RowAdder,
    RowPut,
    RowPutter,
    RowReader,
    RowUpdater,
    SharedReads,
    refuse,
)
from swarm_persistence.engines.sql.postgres.claim_batches import ClaimBatches, Claims
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.failures import unknown_change
from swarm_persistence.engines.sql.postgres.insertion import ArrayPutStatement
from swarm_persistence.engines.sql.postgres.pending import PendingOperation, PendingOperations
from swarm_persistence.engines.sql.postgres.periods import Periods
from swarm_persistence.engines.sql.postgres.pools import ConnectionPools
from swarm_persistence.engines.sql.postgres.retry import Attempt, Retrier
from swarm_persistence.engines.sql.postgres.row_sizes import sizes_at
from swarm_persistence.engines.sql.postgres.row_updates import RowUpdate, RowUpdatePlan
from swarm_persistence.engines.sql.postgres.sessions import PostgresSession, PostgresSnapshot
from swarm_persistence.engines.sql.postgres.settings import PostgresSettings
from swarm_persistence.engines.sql.postgres.statement_compiler import PostgresStatementCompiler
from swarm_persistence.engines.sql.postgres.write_lock import WriteLock
from swarm_persistence.engines.sql.statement_compiler import has_key
from swarm_persistence.engines.sql.statements import Statement, tables_changed
from swarm_persistence.engines.steps import IndependentWrites, Insert, Put, Step
from swarm_persistence.engines.watches import Watches
from swarm_persistence.errors import PoolError, StorageError, TransactionError
from swarm_persistence.schema.tables import TABLES

T = TypeVar("T")

_CLOSING_CHECK_SECONDS = 1.0
"""How long an operation delays the close while no server can be reached."""
_LONGEST_UNATTENDED_SECONDS = 2.0
"""How long operations whose callers were cancelled delay the close: the server may never answer."""
_FEWEST_BESIDE = 64
"""So many row changes start a further statement beside one in flight, so that driver and server work in parallel."""


@dataclass(frozen=True, slots=True)
class SharedState:
    """The state of one schema that all event loops share."""

    settings: PostgresSettings
    pools: ConnectionPools
    compiler: PostgresStatementCompiler
    write_lock: WriteLock
    watches: Watches
    periods: Periods


class LoopEngine:
    """The engine of one event loop. It ends with its loop, and then calls `on_end` with itself."""

    def __init__(self, shared: SharedState, on_end: "Callable[[LoopEngine], None]") -> None:
        self.loop = asyncio.get_running_loop()
        self.settings = shared.settings
        self.compiler = shared.compiler
        self.pending = PendingOperations()
        self._shared = shared
        self._on_end = on_end
        self._resources = shared.pools.of_running_loop()
        self.pool, self.notifications = self._resources.pool, self._resources.notifications
        self._channel = shared.compiler.channel
        self._write_lock = shared.write_lock
        self._retrier = Retrier(self.pool, shared.pools.connector, self.compiler, self.settings)
        self._claims = Claims(self._retrier)
        self._claim_batches = ClaimBatches(self.pending, self._claims, self._under_write_lock, self.claimed)
        self._shared_reads = SharedReads(self.pending, self._retrier)
        self._sessions: set[PostgresSession] = set()
        self._adders: dict[str, Batches[Any]] = {}
        self._readers: dict[str, Batches[Any]] = {}
        self._updaters: dict[RowUpdatePlan, Batches[RowUpdate]] = {}
        self._putters: dict[tuple[str, bool], Batches[RowPut]] = {}
        for table in TABLES:
            adder = RowAdder(
                table,
                self.compiler,
                self._retrier,
                self.committed,
                may_notify_within=lambda: self.notifications.may_go_along,
            )
            self._adders[table.name] = Batches(
                self.pending, self._locked(adder.run), verb="store", is_write=True, size_of=sizes_at(table.large_places)
            )
            values_of = partial(self.compiler.sql.ids_values, table)
            reader = RowReader(table, self.compiler.gets[table.name], values_of, self._retrier)
            self._readers[table.name] = Batches(self.pending, reader.run, verb="get", is_write=False)
        self._resources.loop_engines.add(self)

    @property
    def waiting(self) -> int:
        """Return how many callers wait for a connection, or for the write lock."""
        batches = (*self._adders.values(), *self._readers.values(), *self._updaters.values(), *self._putters.values())
        shared = self._claim_batches.waiting + self._shared_reads.waiting
        return self.pending.waiting + shared + sum(batch.waiting for batch in batches)

    def write(self, steps: Sequence[Step]) -> Awaitable[list[Any]]:
        """Run all steps, or none."""
        # Not of a prepared write, which makes its steps when they are first read: none of them is such a step.
        if type(steps) is not BoundSteps and len(steps) == 1:
            if isinstance(steps[0], IndependentWrites):
                return self._write_independently(steps[0])
            if isinstance(steps[0], Insert) and not has_key(steps[0]):
                table, row = self.compiler.row_of(steps[0])
                return self._adders[table.name].add(row)
            if isinstance(steps[0], Put) and len(steps[0].models) <= MOST_ROWS:
                return self._write_put(steps)
        update = self.compiler.row_updates.of(steps)
        if update is not None:
            return self._updater(update.plan).add(update)
        return self.pending.start(self._work(steps), is_write=True)

    def deliver(self, steps: Sequence[Step], on_abandoned: OnAbandoned) -> Awaitable[list[Any]]:
        """Run all steps, or none; call `on_abandoned` with the results if the caller is cancelled."""
        if type(steps[0]) is IndependentWrites:
            return self._deliver_independently(steps[0], steps[1:], on_abandoned)
        claim = self.compiler.claim(steps)
        if claim is not None and (shape := claim.shape) is not None:
            return self._claim_batches.add(claim, shape, on_abandoned)
        work = self._work(steps)
        # If the caller is cancelled before the operation begins, nothing is written, and there are no results.
        writing = self.pending.start(
            work,
            is_write=True,
            on_abandoned=lambda results: on_abandoned(results or None),
        )
        return delivered(writing, on_abandoned)

    def read(self, read: Read[T]) -> Awaitable[T]:
        """Run a read; reads by id that are requested in one tick share a statement, as do equal reads of one row."""
        if type(read) is Get:
            return self._readers[read.table.name].add(read.id)
        if type(read) is IsAny or (type(read) is Values and read.query.limit == 1):
            return self.share_read(read, lambda: self.compiler.read(read))
        return self.do_read(self.compiler.read(read))

    def share_read(self, key: Hashable, statement: Callable[[], Statement]) -> Awaitable[Any]:
        """Run a read once for all callers that request the same one in one tick."""
        return self._shared_reads.add(key, statement)

    def do_read(self, statement: Statement) -> Awaitable[Any]:
        """Run a statement that changes nothing."""
        return self.pending.start(lambda operation: self._retrier.read(operation, statement), is_write=False)

    def order(self, work: Callable[[Connection], Coroutine[Any, Any, T]]) -> Awaitable[T]:
        """Run some work on a connection, and retry it where that is safe."""
        return self.pending.start(
            lambda operation: self._retrier.make(operation, lambda attempt: work(attempt.connection)), is_write=True
        )

    async def begin(self) -> PostgresSession:
        """Wait for the write lock, and begin a transaction."""
        opening = self.pending.start(self._begin, is_write=True)
        try:
            return await opening
        except asyncio.CancelledError:
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                opening.result().abandon()
            raise

    async def snapshot(self) -> PostgresSnapshot:
        """Begin a snapshot of the data committed so far."""
        opening = self.pending.start(self._take_snapshot, is_write=False)
        try:
            return await opening
        except asyncio.CancelledError:
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                await opening.result().close()
            raise

    def listen(self) -> None:
        """Wake the schema's watches after commits of other processes."""
        self.notifications.listen(self.settings.schema, self._shared.watches)

    def claimed(self, tables: set[str]) -> None:
        """Wake the watches as `committed` does, but those of other processes later, as no task became ready."""
        self.committed(tables, is_urgent=False)

    def committed(self, tables: set[str], *, is_urgent: bool = True, has_notified: bool = False) -> None:
        """Wake the watches of these tables, here and in other processes unless the commit itself has notified them."""
        self._shared.pools.connector.has_written = True
        if tables:
            self._shared.watches.notify(tables)
            if has_notified:
                self.notifications.sent(self._channel, tables)
            else:
                self.notifications.send(self._channel, tables, is_urgent=is_urgent)
        if self._shared.periods.is_due:
            self._check_periods()

    async def close(self) -> None:
        """Finish the operations in flight; if cancelled, terminate them."""
        try:
            for session in [*self._sessions]:
                session.abandon("the storage was closed")
            await asyncio.sleep(0)
            await self._finish_pending()
        finally:
            self.terminate()

    def terminate(self) -> None:
        """Terminate the transactions, and forget this engine.

        Other operations in flight fail with the connections, or finish if other schemas keep those open.
        """
        for session in [*self._sessions]:
            session.die(TransactionError("the transaction was rolled back: the storage was closed"))
        self._resources.loop_engines.discard(self)
        self.notifications.forget(self._channel, self._shared.watches)
        self._on_end(self)

    async def _write_independently(self, step: IndependentWrites) -> list[Any]:
        """Run independent writes; those of equal shape share a statement."""
        return [[*await asyncio.gather(*map(self.write, step.writes))]]

    async def _deliver_independently(
        self, step: IndependentWrites, rest: Sequence[Step], on_abandoned: OnAbandoned
    ) -> list[Any]:
        """Run such writes concurrently; if one fails, the results of the others are abandoned."""

        def abandoned(results: list[Any] | None) -> None:
            on_abandoned(None if results is None else [[], *results])

        beside = asyncio.gather(*map(self.write, step.writes), return_exceptions=True)
        results = await self.deliver(rest, abandoned)
        try:
            outcomes = await beside
        except asyncio.CancelledError:
            abandoned(results)
            raise
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                abandoned(results)
                raise outcome
        return [outcomes, *results]

    def _write_put(self, steps: Sequence[Step]) -> Awaitable[list[Any]]:
        """Run a put, together with others unless it is large."""
        (statement,) = self.compiler.write(steps)
        if not isinstance(statement, ArrayPutStatement) or not statement.may_be_shared:
            return self.pending.start(lambda operation: self._write(operation, (statement,)), is_write=True)
        key = (statement.table.name, statement.if_absent)
        putter = self._putters.get(key)
        if putter is None:
            puts = RowPutter(self._retrier, self.committed, self._put_alone)
            putter = self._putters[key] = Batches(
                self.pending, self._locked(puts.run), verb="put", is_write=True, size_of=attrgetter("size")
            )
        return putter.add(RowPut(statement.rows, statement))

    def _put_alone(self, statement: Statement, caller: "asyncio.Future[Any]") -> None:
        """Run one put, and wait for the locks of its rows if other transactions hold them."""

        async def answer(operation: PendingOperation) -> None:
            results = await self._write(operation, (statement,))
            if not caller.done():
                caller.set_result(results)

        self.pending.start_for([caller], answer, is_write=True)

    def _updater(self, plan: RowUpdatePlan) -> Batches[RowUpdate]:
        updater = self._updaters.get(plan)
        if updater is None:
            changes = RowUpdater(plan, self._retrier, self.committed, self._update_alone)
            updater = self._updaters[plan] = Batches(
                self.pending,
                self._locked(changes.run),
                verb="update",
                is_write=True,
                size_of=plan.size_of,
                fewest_beside=_FEWEST_BESIDE,
            )
        return updater

    def _update_alone(self, update: RowUpdate, caller: "asyncio.Future[Any]", has_lost_an_answer: bool) -> None:
        """Change one row, and wait for its lock if another transaction holds it."""
        statements = self.compiler.write(update.steps)

        async def answer(operation: PendingOperation) -> None:
            results = await self._write(operation, statements)
            if has_lost_an_answer and not update.plan.has_changed(results):
                raise unknown_change()
            if not caller.done():
                caller.set_result(results)

        self.pending.start_for([caller], answer, is_write=True)

    def _work(self, steps: Sequence[Step]) -> Callable[[PendingOperation], Coroutine[Any, Any, list[Any]]]:
        """Return what does a write."""
        claim = self.compiler.claim(steps)
        if claim is not None:
            return lambda operation: self._do(
                operation, lambda: self._claims.run(operation, claim), partial(self.claimed, claim.tables)
            )
        statements = self.compiler.whole_write(steps)
        return lambda operation: self._write(operation, statements)

    def _check_periods(self) -> None:
        self._shared.periods.postpone()

        async def check(operation: PendingOperation) -> None:
            with suppress(StorageError):  # the next check gets the error, too
                await self._retrier.make(operation, lambda attempt: self._shared.periods.check(attempt.connection))

        self.pending.start(check, is_write=False)

    async def _write(self, operation: PendingOperation, statements: Sequence[Statement]) -> list[Any]:
        return await self._do(
            operation,
            lambda: self._retrier.write(operation, statements),
            partial(self.committed, tables_changed(statements)),
        )

    async def _do(
        self,
        operation: PendingOperation,
        work: Callable[[], Awaitable[list[Any]]],
        committed: Callable[[], None],
    ) -> list[Any]:
        """Write under the write lock; then call `committed` unless nothing has changed."""
        results: list[Any] = []

        async def write() -> None:
            results.extend(await work())

        await self._under_write_lock(operation, write)
        if any(results):
            committed()
        return results

    def _locked(self, work: BatchWork[T]) -> BatchWork[T]:
        """Return the function that runs a batch under the write lock; if it raises, its callers get the error."""

        async def run(operation: PendingOperation, batch: Batch[T]) -> None:
            try:
                await self._under_write_lock(operation, lambda: work(operation, batch))
            except StorageError as error:
                refuse(batch, error)

        return run

    async def _under_write_lock(self, operation: PendingOperation, work: Callable[[], Awaitable[Any]]) -> None:
        """Write under the shared write lock, after earlier writes whose caller was cancelled."""
        await self.pending.wait_for_abandoned_writes(operation)
        await self._acquire(self._write_lock.acquire_shared)
        try:
            if not operation.has_no_caller:
                await work()
        finally:
            self._write_lock.release_shared()

    async def _acquire(self, acquire: Callable[[float], Awaitable[None]]) -> None:
        """Acquire the write lock; if that times out while no server can be reached, raise the error of the outage."""
        try:
            await acquire(time.monotonic() + self.settings.connection_timeout)
        except PoolError as error:
            outage = self._shared.pools.connector.outage
            if outage is None:
                raise
            raise outage.failure_of_a_wait(self.settings) from error

    async def _finish_pending(self) -> None:
        """Wait for the operations in flight; only briefly if no server can be reached, or no caller waits."""
        deadline = time.monotonic() + self.settings.connection_timeout
        unattended_until = time.monotonic() + _LONGEST_UNATTENDED_SECONDS
        while self.pending and (rest := deadline - time.monotonic()) > 0:
            await self.pending.wait_for_all(min(_CLOSING_CHECK_SECONDS, rest))
            if (outage := self._shared.pools.connector.outage) is not None:
                self.pending.fail_waiting(outage.failure("the storage was closed meanwhile"))
            if not self.pending.are_attended and time.monotonic() >= unattended_until:
                break

    async def _begin(self, operation: PendingOperation) -> PostgresSession:
        async def begin(attempt: Attempt) -> Connection:
            await attempt.connection.begin_for_caller()
            attempt.keeps_connection = True
            return attempt.connection

        await self.pending.wait_for_abandoned_writes(operation)
        await self._acquire(self._write_lock.acquire)
        try:
            connection = await self._retrier.make(operation, begin)
        except BaseException:
            self._write_lock.release()
            raise
        self._write_lock.begun()
        session = PostgresSession(
            connection, self.compiler, self.settings, self.pending, committed=self.committed, ended=self._session_ended
        )
        self._sessions.add(session)
        if operation.has_no_caller:
            session.abandon()
        return session

    def _session_ended(self, session: PostgresSession, connection: Connection) -> None:
        self._sessions.discard(session)
        self.pool.release(connection)
        self._write_lock.release()

    async def _take_snapshot(self, operation: PendingOperation) -> PostgresSnapshot:
        async def begin(attempt: Attempt) -> Connection:
            # A dropped partition is part of no snapshot: a lock on the table keeps its partitions.
            await attempt.connection.begin_snapshot(self.compiler.sql.lock_tables())
            attempt.keeps_connection = True
            return attempt.connection

        connection = await self._retrier.make(operation, begin)
        snapshot = PostgresSnapshot(connection, self.compiler, self.settings.schema, self.pending, self.pool.release)
        if operation.has_no_caller:
            await snapshot.close()
        return snapshot
