"""An engine that is opened by its first operation."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any, Generic, TypeVar, cast, get_origin, get_type_hints

from swarm_persistence.engines.interface import Engine, Watch
from swarm_persistence.engines.runtime import new_lock, running_loop
from swarm_persistence.engines.steps import Step
from swarm_persistence.errors import ClosedError, StorageError
from swarm_persistence.schema.tables import Table

E = TypeVar("E", bound=Engine)


def lazy_engine(make: Callable[[], E], start: Callable[[E], Awaitable[object]]) -> Engine:
    """Return an engine that is opened by its first operation. A `start` that fails must leave nothing open."""
    engine: Any = LazyEngine(make, start)
    return cast(Engine, engine)  # through `__getattr__`, which type checkers ignore for protocols


def _is_awaited(name: str) -> bool:
    method = getattr(Engine, name, None)
    return callable(method) and get_origin(get_type_hints(method).get("return")) is Awaitable


_AWAITED = frozenset(name for name in dir(Engine) if not name.startswith("_") and _is_awaited(name))
"""The methods that open the engine, derived from the interface."""


class LazyEngine(Generic[E]):
    """A proxy of an engine that an awaitable method opens first.

    A failure to open is raised by every call that waits for it; the next call tries again.
    """

    def __init__(self, make: Callable[[], E], start: Callable[[E], Awaitable[object]]) -> None:
        self._make = make
        self._start = start
        self._engine = make()
        self._is_open = False
        self._is_closed = False
        self._lock = new_lock()
        self._attempts: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}

    def __getattr__(self, name: str) -> Any:
        if name not in _AWAITED:
            return getattr(self._engine, name)
        if self._is_open:
            method = getattr(self._engine, name)
            setattr(self, name, method)  # further lookups bypass __getattr__
            return method

        async def open_and_call(*args: Any, **kwargs: Any) -> Any:
            return await getattr(await self.opened(), name)(*args, **kwargs)

        return open_and_call

    async def opened(self) -> E:
        """Open the engine unless it is open, and return it; the calls of one loop share one attempt."""
        loop = running_loop()
        while not self._is_open:
            attempt = self._attempts.get(loop)
            if attempt is None:
                self._require_not_closed()
                # In an empty context, since it would keep the caller's alive; not cancelled along with the caller.
                attempt = self._attempts[loop] = loop.create_task(self._open(), context=Context())
                attempt.add_done_callback(lambda _: self._attempts.pop(loop, None))
            await asyncio.wait((attempt,))
            if attempt.cancelled():
                raise asyncio.CancelledError
            if (error := attempt.exception()) is not None:
                # A copy for each caller: raising a shared error would mix their tracebacks.
                raise type(error)(error.message) if isinstance(error, StorageError) else error from error.__cause__
        return self._engine

    def deliver(self, steps: Sequence[Step], on_abandoned: Callable[[list[Any] | None], None]) -> Awaitable[list[Any]]:
        if self._is_open:
            return self._engine.deliver(steps, on_abandoned)
        return self._open_and_deliver(steps, on_abandoned)

    def watch(self, tables: tuple[Table[Any], ...]) -> Watch:
        return self._engine.watch(tables) if self._is_open else _LazyWatch(self, tables)

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

    async def _open_and_deliver(
        self, steps: Sequence[Step], on_abandoned: Callable[[list[Any] | None], None]
    ) -> list[Any]:
        try:
            engine = await self.opened()
        except (asyncio.CancelledError, GeneratorExit):
            on_abandoned(None)
            raise
        return await engine.deliver(steps, on_abandoned)

    async def _open(self) -> None:
        engine = self._make()
        await self._start(engine)
        with self._lock:
            is_needed = not (self._is_open or self._is_closed)
            if is_needed:
                self._engine = engine
                self._is_open = True
        if not is_needed:  # another loop has opened one, or the storage is closed
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
        return True  # something may have been committed meanwhile

    def close(self) -> None:
        self._is_closed = True
        if self._watch is not None:
            self._watch.close()
