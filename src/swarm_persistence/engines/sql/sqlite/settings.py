"""The settings of an SQLite engine, and their defaults."""

from typing import Self

from swarm_persistence.durations import seconds
from swarm_persistence.engines.pools import PoolSettings


class SqliteSettings(PoolSettings, frozen=True, kw_only=True):
    """What the builder sets. One connection writes; the others read, and may go idle."""

    checksums: bool = False
    """Whether a new file keeps a checksum of each page; an existing file must keep them already. A file that does keeps
    them for every connection, whatever its setting."""
    longest_stay: float = 0.001
    """How long an operation may occupy an event loop's own thread, in seconds. After a longer one, the next ones are
    sent to the threads for a while; 0 sends all of them."""
    vfs: str | None = None
    """The name of the registered VFS that SQLite uses; `None` for the default. For tests with failing disks; no builder
    sets it."""

    def checked(self) -> Self:
        """Return these settings; an invalid one raises `OtherError`, which names it."""
        super().checked()
        self.require("checksums", isinstance(self.checksums, bool), "True or False")
        seconds(self.longest_stay, "longest_stay", is_zero_possible=True)
        return self
