"""The settings of an SQLite engine, each default in its one home."""

import threading
from typing import Literal

import msgspec

from swarm_persistence.errors import OtherError

Durability = Literal["full", "normal"]

LONGEST_SECONDS = threading.TIMEOUT_MAX


class Settings(msgspec.Struct, frozen=True):
    """What the builder sets; durations in seconds."""

    max_connections: int = 16
    """Connections that may be open at once: one writes, the others read."""
    min_idle_connections: int = 1
    """Reading connections that stay open however long they are idle."""
    connection_timeout: float = 30.0
    """How long an operation waits for a connection, or for its turn to write, before it raises `PoolError`."""
    idle_timeout: float = 600.0
    """How long a reading connection stays open with nothing to do."""
    transaction_timeout: float = 30.0
    """How long a transaction may stay open before it is rolled back, so that others can write."""
    durability: Durability = "full"
    """`full`: what a call has written is on the disk when it returns. `normal`: a power cut, or a crash of the
    operating system, may take the last commits before it; the file stays sound, and a crash of the process alone
    takes nothing."""

    def checked(self) -> "Settings":
        """Return these settings; one that makes no sense raises `OtherError`, which names it."""
        _require(type(self.max_connections) is int and self.max_connections >= 1, self, "max_connections", "1 or more")
        _require(
            type(self.min_idle_connections) is int and 0 <= self.min_idle_connections <= self.max_connections,
            self,
            "min_idle_connections",
            "0 or more, and not more than max_connections",
        )
        for name in ("connection_timeout", "idle_timeout", "transaction_timeout"):
            _require(_is_duration(getattr(self, name)), self, name, "a finite number of seconds above 0")
        _require(self.durability in ("full", "normal"), self, "durability", "'full' or 'normal'")
        return self


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= LONGEST_SECONDS


def _require(is_met: bool, settings: Settings, name: str, expected: str) -> None:
    if not is_met:
        raise OtherError(f"{name} is {getattr(settings, name)!r}, expected {expected}")
