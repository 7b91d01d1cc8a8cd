"""What one event loop has of one schema: its batches, its transactions, and what is under way."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from swarm_persistence.engines.delivery import OnAbandoned, delivered
from swarm_persistence.engines.interface import Insert, Step
from swarm_persistence.engines.sql.postgres.acts import Act, Steps
from swarm_persistence.engines.sql.postgres.attempts import Attempt, Attempts
from swarm_persistence.engines.sql.postgres.batches import Batches, RowAdder, RowReader, RowUpdater
from swarm_persistence.engines.sql.postgres.claims import Claims
from swarm_persistence.engines.sql.postgres.failures import unknown_change
from swarm_persistence.engines.sql.postgres.link import Link
from swarm_persistence.engines.sql.postgres.plans import has_key
from swarm_persistence.engines.sql.postgres.row_updates import RowUpdate, RowUpdatePlan
from swarm_persistence.engines.sql.postgres.running import Run, Running
from swarm_persistence.engines.sql.postgres.sessions import PostgresSession
from swarm_persistence.engines.sql.postgres.signals import channel_of
from swarm_persistence.engines.sql.postgres.snapshots import PostgresSnapshot
from swarm_persistence.errors import StorageError, TransactionError
from swarm_persistence.schema.tables import TABLES, Table

if TYPE_CHECKING:
    from swarm_persistence.engines.sql.postgres.engine import PostgresEngine


class Port:
    """The engine, as one loop sees it. It ends with its loop."""

    def __init__(self, engine: "PostgresEngine") -> None:
        self.loop = asyncio.get_running_loop()
        self.settings = engine.settings
        self.plans = engine.plans
        self.running = Running()
        self._shared = engine.pool.here()
        self.links, self.signals = self._shared.links, self._shared.signals
        self._engine = engine
        self._channel = channel_of(engine.settings.schema)
        self._turns = engine.turns
        self._attempts = Attempts(self.links, engine.pool.connector, self.plans, self.settings)
        self._claims = Claims(self._attempts)
        self._sessions: set[PostgresSession] = set()
        self._adders: dict[str, Batches[Any]] = {}
        self._readers: dict[str, Batches[Any]] = {}
        self._updaters: dict[RowUpdatePlan, Batches[RowUpdate]] = {}
        for table in TABLES:
            _, text, _ = self.plans.inserts[table.model]
            adder = RowAdder(table, text, self._attempts, self._in_turn, self.committed)
            self._adders[table.name] = Batches(self.running, adder.run, verb="store", is_write=True)
            reader = RowReader(table, self.plans.gets[table.model], self._attempts)
            self._readers[table.name] = Batches(self.running, reader.run, verb="get", is_write=False)
        self._shared.ports.add(self)

    @property
    def waiting(self) -> int:
        """Return how many callers wait for a connection, or for their turn."""
        batches = (*self._adders.values(), *self._readers.values(), *self._updaters.values())
        return self.running.waiting + sum(batch.waiting for batch in batches)

    def write(self, steps: Sequence[Step]) -> Awaitable[list[Any]]:
        """Do all steps or none of them."""
        if len(steps) == 1 and isinstance(steps[0], Insert) and not has_key(steps[0]):
            table, _, row = self.plans.row_of(steps[0])
            return self._adders[table.name].add(row)
        update = self.plans.row_updates.of(steps)
        if update is not None:
            return self._updater(update.plan).add(update)
        return self.running.start(self._work(steps), is_write=True)

    def deliver(self, steps: Sequence[Step], on_abandoned: OnAbandoned) -> Awaitable[list[Any]]:
        """Write, and tell of results whose caller was cancelled."""
        work = self._work(steps)
        # A run whose caller gives up before its turn writes nothing, and gives no results.
        writing = self.running.start(
            work,
            is_write=True,
            on_abandoned=lambda results: on_abandoned(results or None),
        )
        return delivered(writing, on_abandoned)

    def get(self, table: Table[Any], id: str) -> Awaitable[Any]:
        """Read the record of an id."""
        return self._readers[table.name].add(id)

    def read(self, act: Act) -> Awaitable[Any]:
        """Do something that changes nothing."""
        return self.running.start(lambda run: self._attempts.read(run, act), is_write=False)

    def order(self, work: Callable[[Link], Coroutine[Any, Any, Any]]) -> Awaitable[Any]:
        """Do some work on a connection."""
        return self.running.start(
            lambda run: self._attempts.make(run, lambda attempt: work(attempt.link)), is_write=True
        )

    async def begin(self) -> PostgresSession:
        """Wait for the turn to write and open a transaction."""
        opening = self.running.start(self._begin, is_write=True)
        try:
            return await opening
        except asyncio.CancelledError:
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                opening.result().abandon()
            raise

    async def snapshot(self) -> PostgresSnapshot:
        """Take what is committed now."""
        opening = self.running.start(self._take_snapshot, is_write=False)
        try:
            return await opening
        except asyncio.CancelledError:
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                await opening.result().close()
            raise

    def session_ended(self, session: PostgresSession, link: Link) -> None:
        """Take back what a transaction held."""
        self._sessions.discard(session)
        self.links.give_back(link)
        self._turns.end_hold()

    def listen(self) -> None:
        """Let the schema's watches learn of the commits of other processes."""
        self.signals.listen(self.settings.schema, self._engine.watches)

    def committed(self, tables: set[str]) -> None:
        """Tell those who watch, here and elsewhere, that there was a commit."""
        self._engine.pool.connector.has_written = True
        if tables:
            self._engine.watches.ring(tables)
            self.signals.send(self._channel, tables)
        if self._engine.periods.is_due:
            self._look_at_periods()

    async def close(self) -> None:
        """Finish what is under way; a cancelled close drops it at once."""
        try:
            for session in [*self._sessions]:
                session.abandon("the storage was closed")
            await asyncio.sleep(0)
            await self.running.all_are_done(self.settings.connection_timeout)
        finally:
            self.terminate()

    def terminate(self) -> None:
        """Drop the transactions with their connections, and use the others no more.

        What else is under way fails with the connections, or goes on to its end if other schemas keep those open.
        """
        for session in [*self._sessions]:
            session.die(TransactionError("the transaction was rolled back: the storage was closed"))
        self._shared.ports.discard(self)
        self.signals.forget(self._channel, self._engine.watches)
        self._engine.forget(self)

    def terminate_soon(self) -> None:
        """Do the same from any thread."""
        try:
            self.loop.call_soon_threadsafe(self.terminate)
        except RuntimeError:  # the loop is closed, and has ended what it had
            self.terminate()

    def _updater(self, plan: RowUpdatePlan) -> Batches[RowUpdate]:
        updater = self._updaters.get(plan)
        if updater is None:
            changes = RowUpdater(plan, self._attempts, self._in_turn, self.committed, self._update_alone)
            updater = self._updaters[plan] = Batches(self.running, changes.run, verb="update", is_write=True)
        return updater

    def _update_alone(self, update: RowUpdate, caller: "asyncio.Future[Any]", has_lost_an_answer: bool) -> None:
        """Change a row, and wait for it if another transaction holds it."""
        planned = self.plans.steps(update.steps)

        async def answer(run: Run) -> None:
            results = await self._write(run, planned)
            if has_lost_an_answer and not update.plan.has_changed(results):
                raise unknown_change()
            if not caller.done():
                caller.set_result(results)

        self.running.start_for([caller], answer, is_write=True)

    def _work(self, steps: Sequence[Step]) -> Callable[[Run], Coroutine[Any, Any, list[Any]]]:
        """Return what does a write."""
        claim = self.plans.claim(steps)
        if claim is not None:
            return lambda run: self._do(run, lambda: self._claims.run(run, claim), claim.tables)
        planned = self.plans.steps(steps)
        return lambda run: self._write(run, planned)

    def _look_at_periods(self) -> None:
        self._engine.periods.put_off()

        async def look(run: Run) -> None:
            with suppress(StorageError):  # which the next look meets, too
                await self._attempts.make(run, lambda attempt: self._engine.periods.look(attempt.link))

        self.running.start(look, is_write=False)

    async def _write(self, run: Run, steps: Steps) -> list[Any]:
        return await self._do(run, lambda: self._attempts.write(run, steps), steps.tables())

    async def _do(self, run: Run, work: Callable[[], Awaitable[list[Any]]], tables: set[str]) -> list[Any]:
        """Do some writing in turn, and tell of it unless it has changed nothing."""
        results: list[Any] = []

        async def write() -> None:
            results.extend(await work())

        await self._in_turn(run, write)
        if any(results):
            self.committed(tables)
        return results

    async def _in_turn(self, run: Run, work: Callable[[], Awaitable[Any]]) -> None:
        """Write after those who came before, and beside the others."""
        await self.running.forsaken_writes_are_done(run)
        await self._turns.share(time.monotonic() + self.settings.connection_timeout)
        try:
            if not run.is_unwanted:
                await work()
        finally:
            self._turns.end_share()

    async def _begin(self, run: Run) -> PostgresSession:
        async def begin(attempt: Attempt) -> Link:
            await attempt.link.begin_for_caller()
            attempt.keeps_link = True
            return attempt.link

        await self.running.forsaken_writes_are_done(run)
        await self._turns.hold(time.monotonic() + self.settings.connection_timeout)
        try:
            link = await self._attempts.make(run, begin)
        except BaseException:
            self._turns.end_hold()
            raise
        session = PostgresSession(self, link)
        self._sessions.add(session)
        if run.is_unwanted:
            session.abandon()
        return session

    async def _take_snapshot(self, run: Run) -> PostgresSnapshot:
        async def begin(attempt: Attempt) -> Link:
            # A partition that was dropped belongs to no moment any more: who holds the table keeps it.
            await attempt.link.begin_snapshot(self.plans.compiler.hold_tables())
            attempt.keeps_link = True
            return attempt.link

        snapshot = PostgresSnapshot(self, await self._attempts.make(run, begin))
        if run.is_unwanted:
            await snapshot.close()
        return snapshot
