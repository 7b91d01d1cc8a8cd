"""The settings of an SQLite engine, each default in its one home."""

from typing import Literal, Self

from swarm_persistence.engines.pools import PoolSettings

Durability = Literal["full", "normal"]


class Settings(PoolSettings, frozen=True, kw_only=True):
    """What the builder sets. Of the connections, one writes and the others read; those are the ones that go idle."""

    durability: Durability = "full"
    """`full`: what a call has written is on the disk when it returns. `normal`: a power cut, or a crash of the
    operating system, may take the last commits before it; the file stays sound, and a crash of the process alone
    takes nothing."""
    vfs: str | None = None
    """The name of the registered VFS that SQLite reads and writes through; `None` for its own. For the tests, whose
    disks fail; no builder sets it."""

    def checked(self) -> Self:
        """Return these settings; one that makes no sense raises `OtherError`, which names it."""
        super().checked()
        self.require("durability", self.durability in ("full", "normal"), "'full' or 'normal'")
        return self
