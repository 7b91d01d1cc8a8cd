"""Engines that pass on what a storage asks of another engine, and interfere: with faults, or with late answers."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, cast

from swarm_persistence import DatabaseError, Storage
from swarm_persistence.engines.interface import Engine, Step


class InterferingEngine:
    """Passes every call on. Closing it leaves the engine open, which another storage owns."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def storage(self) -> Storage:
        """Return a storage over this engine; close it as any other."""
        return Storage(cast(Engine, self))

    async def close(self) -> None:
        """Leave the engine open."""


class RefusingEngine(InterferingEngine):
    """Fails to write whatever it is told to refuse, as a database with a trigger or a broken disk does."""

    def __init__(self, engine: Engine, is_refused: Callable[[Step], bool]) -> None:
        super().__init__(engine)
        self._is_refused = is_refused

    def write(self, steps: Sequence[Step]) -> Awaitable[list[Any]]:
        """Raise `DatabaseError` if one of the steps is to be refused; else pass them on."""
        if any(map(self._is_refused, steps)):
            raise DatabaseError("refused by the test")
        return self._engine.write(steps)


class ForgetfulEngine(RefusingEngine):
    """Delivers results, and takes them for lost once it is told so: as if their callers had been cancelled."""

    def __init__(self, engine: Engine, is_refused: Callable[[Step], bool] = lambda step: False) -> None:
        super().__init__(engine, is_refused)
        self._delivered: list[Callable[[], None]] = []

    async def deliver(self, steps: Sequence[Step], on_abandoned: Callable[[list[Any] | None], None]) -> list[Any]:
        """Write, and remember whom to tell that the results were lost."""
        results = await self._engine.write(steps)
        self._delivered.append(partial(on_abandoned, results))
        return results

    def abandon_deliveries(self) -> None:
        """Tell that no result has reached its caller."""
        for tell in self._delivered:
            tell()
