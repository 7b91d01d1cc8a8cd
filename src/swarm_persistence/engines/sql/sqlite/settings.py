"""The settings of an SQLite engine, each default in its one home."""

from swarm_persistence.engines.pools import PoolSettings


class Settings(PoolSettings, frozen=True, kw_only=True):
    """What the builder sets. Of the connections, one writes and the others read; those are the ones that go idle."""

    vfs: str | None = None
    """The name of the registered VFS that SQLite reads and writes through; `None` for its own. For the tests, whose
    disks fail; no builder sets it."""
