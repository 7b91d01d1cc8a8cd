"""The settings of a connection pool, with their defaults."""

import threading
from typing import ClassVar, Literal, Self

import msgspec

from swarm_persistence.durations import seconds
from swarm_persistence.errors import OtherError, shown

Durability = Literal["full", "normal"]


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of every engine that has connections; durations in seconds."""

    LONGEST_SECONDS: ClassVar[float] = threading.TIMEOUT_MAX

    max_connections: int = 16
    """Connections that this storage may have open at once, over all event loops."""
    min_idle_connections: int = 1
    """Connections that stay open however long they are idle."""
    connection_timeout: float = 30.0
    """How long an operation waits for a connection or a lock before it raises `PoolError`."""
    idle_timeout: float = 600.0
    """How long an idle connection stays open."""
    transaction_timeout: float = 30.0
    """How long a transaction may stay open before it is rolled back, so that others can write."""

    durability: Durability = "full"
    """`full`: what a call has written is on the disk when it returns. `normal`: a power cut, or a crash of the
    operating system or of a database server, may take the last commits before it; the data stays sound, and a crash of
    this process alone takes nothing."""

    migrate: bool = True
    """Whether opening brings the schema up to date. If not, one on which this code cannot work is refused."""

    def checked(self) -> Self:
        """Return these settings; an invalid one raises `OtherError`, which names it."""
        limit = self.max_connections
        self.require("max_connections", type(limit) is int and limit >= 1, "1 or more")
        least = self.min_idle_connections
        is_within = type(least) is int and 0 <= least <= limit
        self.require("min_idle_connections", is_within, "0 or more, and not more than max_connections")
        for name in ("connection_timeout", "idle_timeout", "transaction_timeout"):
            self.require_duration(name)
        self.require("durability", self.durability in ("full", "normal"), "'full' or 'normal'")
        self.require("migrate", type(self.migrate) is bool, "true or false")
        return self

    def require(self, name: str, is_met: bool, expected: str) -> None:
        """Raise `OtherError` for this setting unless its condition is met."""
        if not is_met:
            raise OtherError(f"{name} is {shown(getattr(self, name))}, expected {expected}")

    def require_duration(self, name: str) -> None:
        """Raise `OtherError` for a setting that is not a duration."""
        seconds(getattr(self, name), name, longest=self.LONGEST_SECONDS)
