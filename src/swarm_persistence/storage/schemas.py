"""The storages of further schemas of one database, by the names of the schemas."""

from collections.abc import Callable
from typing import Generic, TypeVar

from swarm_persistence.engines.runtime import new_lock
from swarm_persistence.errors import ClosedError

S = TypeVar("S")


class Schemas(Generic[S]):
    """The open storages of further schemas. Thread-safe."""

    def __init__(self) -> None:
        self._storages: dict[str, S] = {}
        self._lock = new_lock()
        self._is_closed = False

    def of(self, name: str, make: Callable[[str], S]) -> S:
        """Return the open storage of a schema, or a new one."""
        with self._lock:
            if self._is_closed:
                raise ClosedError("the storage is closed")
            storage = self._storages.get(name)
            if storage is None:
                storage = self._storages[name] = make(name)
            return storage

    def forget(self, name: str, storage: S) -> None:
        """Remove a storage that is being closed."""
        with self._lock:
            if self._storages.get(name) is storage:
                del self._storages[name]

    def end(self) -> list[S]:
        """Refuse further storages, and return the open ones."""
        with self._lock:
            self._is_closed = True
            return [*self._storages.values()]
