"""The settings of an SQLite engine, each default in its one home."""

from typing import Self

from swarm_persistence.engines.pools import PoolSettings


class SqliteSettings(PoolSettings, frozen=True, kw_only=True):
    """What the builder sets. Of the connections, one writes and the others read; those are the ones that go idle."""

    checksums: bool = False
    """Whether a new file keeps a checksum of each page, and an existing one must. One that keeps them does so for
    every connection, whether or not it was asked for."""
    vfs: str | None = None
    """The name of the registered VFS that SQLite reads and writes through; `None` for its own. For the tests, whose
    disks fail; no builder sets it."""

    def checked(self) -> Self:
        """Return these settings; one that makes no sense raises `OtherError`, which names it."""
        super().checked()
        self.require("checksums", isinstance(self.checksums, bool), "True or False")
        return self
