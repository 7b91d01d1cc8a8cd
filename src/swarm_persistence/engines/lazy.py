"""An engine that its first operation opens."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any, Generic, TypeVar

from swarm_persistence.engines.interface import (
    Engine,
    FeedPage,
    FeedPosition,
    MigrationStatus,
    PoolStatus,
    Progress,
    Session,
    Snapshot,
    Step,
    Watch,
)
from swarm_persistence.engines.reads import Read
from swarm_persistence.engines.surroundings import new_gate, running_loop
from swarm_persistence.errors import ClosedError, StorageError
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.tables import Table

E = TypeVar("E", bound=Engine)
T = TypeVar("T")


class LazyEngine(Generic[E]):
    """Stands for an engine until that is open, and passes all calls on to it from then on.

    A failure to open is met by every call that waits for it; the next one tries again.
    """

    def __init__(self, make: Callable[[], E], start: Callable[[E], Awaitable[object]]) -> None:
        """Take what makes an engine and what opens it; a start that fails leaves nothing open."""
        self._make = make
        self._start = start
        self._engine = make()
        self.is_ephemeral = self._engine.is_ephemeral
        self.schema_name = self._engine.schema_name
        self._is_open = False
        self._is_closed = False
        self._gate = new_gate()
        self._attempts: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def opened(self) -> E:
        """Open the engine unless it is open, and return it; the calls of one loop share one attempt."""
        loop = running_loop()
        while not self._is_open:
            attempt = self._attempts.get(loop)
            if attempt is None:
                self._require_not_closed()
                # Not in the caller's context, which it would keep alive; and not ended by the caller's cancellation.
                attempt = self._attempts[loop] = loop.create_task(self._open(), context=Context())
                attempt.add_done_callback(lambda _: self._attempts.pop(loop, None))
            await asyncio.wait((attempt,))
            if attempt.cancelled():
                raise asyncio.CancelledError
            if (error := attempt.exception()) is not None:
                # A copy: callers that shared one would write their tracebacks into each other's.
                raise type(error)(error.message) if isinstance(error, StorageError) else error from error.__cause__
        return self._engine

    def write(self, steps: Sequence[Step]) -> Awaitable[list[Any]]:
        return self._engine.write(steps) if self._is_open else self._later(lambda engine: engine.write(steps))

    def deliver(self, steps: Sequence[Step], on_abandoned: Callable[[list[Any] | None], None]) -> Awaitable[list[Any]]:
        if self._is_open:
            return self._engine.deliver(steps, on_abandoned)
        return self._deliver(steps, on_abandoned)

    def read(self, read: Read[T]) -> Awaitable[T]:
        return self._engine.read(read) if self._is_open else self._later(lambda engine: engine.read(read))

    def begin(self) -> Awaitable[Session]:
        return self._engine.begin() if self._is_open else self._later(lambda engine: engine.begin())

    def follow(
        self, query: Query[Any], after: FeedPosition, limit: int, upto: FeedPosition | None = None
    ) -> Awaitable[FeedPage]:
        return self._later(lambda engine: engine.follow(query, after, limit, upto))

    def snapshot(self) -> Awaitable[Snapshot]:
        return self._later(lambda engine: engine.snapshot())

    def time(self) -> Awaitable[int]:
        return self._later(lambda engine: engine.time())

    def watch(self, tables: tuple[Table[Any], ...]) -> Watch:
        return self._engine.watch(tables) if self._is_open else _LazyWatch(self, tables)

    def vacuum(self) -> Awaitable[None]:
        return self._later(lambda engine: engine.vacuum())

    def checkpoint(self) -> Awaitable[None]:
        return self._later(lambda engine: engine.checkpoint())

    def back_up(
        self, target: str, *, is_verified: bool, is_overwriting: bool, progress: Progress | None
    ) -> Awaitable[None]:
        return self._later(
            lambda engine: engine.back_up(
                target, is_verified=is_verified, is_overwriting=is_overwriting, progress=progress
            )
        )

    def migrate_to(self, version: int) -> Awaitable[None]:
        return self._later(lambda engine: engine.migrate_to(version))

    def migration_status(self) -> Awaitable[MigrationStatus]:
        return self._later(lambda engine: engine.migration_status())

    def size(self) -> Awaitable[int]:
        return self._later(lambda engine: engine.size())

    def pool_status(self) -> PoolStatus:
        return self._engine.pool_status()

    def drop_parts(self, table: Table[Any], stale: Sequence[tuple[Condition, ...]]) -> Awaitable[int]:
        return self._later(lambda engine: engine.drop_parts(table, stale))

    def beside(self, schema: str) -> Engine:
        return self._engine.beside(schema)

    async def close(self) -> None:
        self._is_closed = True
        attempt = self._attempts.get(running_loop())
        if attempt is not None:
            await asyncio.wait((attempt,))
        if self._is_open:
            await self._engine.close()

    def abandon(self) -> None:
        self._is_closed = True
        if self._is_open:
            self._engine.abandon()

    async def _later(self, call: Callable[[E], Awaitable[T]]) -> T:
        return await call(await self.opened())

    async def _deliver(self, steps: Sequence[Step], on_abandoned: Callable[[list[Any] | None], None]) -> list[Any]:
        try:
            engine = await self.opened()
        except (asyncio.CancelledError, GeneratorExit):
            on_abandoned(None)
            raise
        return await engine.deliver(steps, on_abandoned)

    async def _open(self) -> None:
        engine = self._make()
        await self._start(engine)
        with self._gate:
            is_needed = not (self._is_open or self._is_closed)
            if is_needed:
                self._engine = engine
                self._is_open = True
        if not is_needed:  # another loop was faster, or the storage is closed
            await engine.close()
        self._require_not_closed()

    def _require_not_closed(self) -> None:
        if self._is_closed:
            raise ClosedError("the storage is closed")


class _LazyWatch:
    """A watch of an engine that is not open yet."""

    def __init__(self, engine: LazyEngine[Any], tables: tuple[Table[Any], ...]) -> None:
        self._engine = engine
        self._tables = tables
        self._watch: Watch | None = None
        self._is_closed = False

    async def wait(self, seconds: float | None = None) -> bool:
        if self._watch is not None:
            return await self._watch.wait(seconds)
        watch: Watch = (await self._engine.opened()).watch(self._tables)
        if self._is_closed:
            watch.close()
        else:
            self._watch = watch
        return True  # something may have been committed before

    def close(self) -> None:
        self._is_closed = True
        if self._watch is not None:
            self._watch.close()
