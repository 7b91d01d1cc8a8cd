"""Engines that wrap another one and interfere: they refuse writes or lose results."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, cast

from swarm_persistence import DatabaseError, Storage
from swarm_persistence.engines.interface import Engine
from swarm_persistence.engines.steps import Step


class InterferingEngine:
    """Forwards every call to another engine, and leaves that open when it is closed itself."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def storage(self) -> Storage:
        """Return a storage over this engine."""
        return Storage(cast(Engine, self))

    async def close(self) -> None:
        """Do nothing: the storage that owns the engine closes it."""


class RefusingEngine(InterferingEngine):
    """Refuses the writes that a predicate selects, as a trigger or a broken disk does."""

    def __init__(self, engine: Engine, is_refused: Callable[[Step], bool]) -> None:
        super().__init__(engine)
        self._is_refused = is_refused

    def write(self, steps: Sequence[Step]) -> Awaitable[list[Any]]:
        """Raise `DatabaseError` if one of the steps is refused; else forward them."""
        if any(map(self._is_refused, steps)):
            raise DatabaseError("refused by the test")
        return self._engine.write(steps)


class ForgetfulEngine(RefusingEngine):
    """Delivers results, and reports them as abandoned later, as if their callers had been cancelled."""

    def __init__(self, engine: Engine, is_refused: Callable[[Step], bool] = lambda step: False) -> None:
        super().__init__(engine, is_refused)
        self._delivered: list[Callable[[], None]] = []

    async def deliver(self, steps: Sequence[Step], on_abandoned: Callable[[list[Any] | None], None]) -> list[Any]:
        """Write, and keep the callback for `abandon_deliveries`."""
        results = await self._engine.write(steps)
        self._delivered.append(partial(on_abandoned, results))
        return results

    def abandon_deliveries(self) -> None:
        """Report every delivered result as abandoned."""
        for tell in self._delivered:
            tell()
