"""The settings of an SQLite engine, each default in its one home."""

from typing import Self

from swarm_persistence.durations import seconds
from swarm_persistence.engines.pools import PoolSettings


class SqliteSettings(PoolSettings, frozen=True, kw_only=True):
    """What the builder sets. Of the connections, one writes and the others read; those are the ones that go idle."""

    checksums: bool = False
    """Whether a new file keeps a checksum of each page, and an existing one must. One that keeps them does so for
    every connection, whether or not it was asked for."""
    longest_stay: float = 0.001
    """How long an operation may take an event loop's own thread, in seconds: after a longer one, the next ones are left
    to the threads for a while; 0 leaves all to the threads."""
    vfs: str | None = None
    """The name of the registered VFS that SQLite reads and writes through; `None` for its own. For the tests, whose
    disks fail; no builder sets it."""

    def checked(self) -> Self:
        """Return these settings; one that makes no sense raises `OtherError`, which names it."""
        super().checked()
        self.require("checksums", isinstance(self.checksums, bool), "True or False")
        seconds(self.longest_stay, "longest_stay", is_zero_possible=True)
        return self
