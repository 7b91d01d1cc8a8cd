"""The storages of one database that lie beside the one that was opened first, each of a schema of its own."""

from collections.abc import Callable
from typing import Generic, TypeVar

from swarm_persistence.engines.surroundings import new_gate
from swarm_persistence.errors import ClosedError

S = TypeVar("S")


class Schemas(Generic[S]):
    """Those that are open, by the names of their schemas. May be used from any thread."""

    def __init__(self) -> None:
        self._storages: dict[str, S] = {}
        self._gate = new_gate()
        self._is_closed = False

    def of(self, name: str, make: Callable[[str], S]) -> S:
        """Return the storage of a schema; a new one if none is open."""
        with self._gate:
            if self._is_closed:
                raise ClosedError("the storage is closed")
            storage = self._storages.get(name)
            if storage is None:
                storage = self._storages[name] = make(name)
            return storage

    def forget(self, name: str, storage: S) -> None:
        """Let go of a storage that is being closed."""
        with self._gate:
            if self._storages.get(name) is storage:
                del self._storages[name]

    def end(self) -> list[S]:
        """Give out no more storages, and return those that are open."""
        with self._gate:
            self._is_closed = True
            return [*self._storages.values()]
