"""The engine interface: atomic writes, reads, transactions, and notifications of commits.

An engine knows rows and conditions, not swarms. Its operations are awaitable. A value that no column can store raises
`SerializationError` before anything is submitted; a failure of the database raises `DatabaseError`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from swarm_persistence.engines.reads import Read
from swarm_persistence.engines.steps import Step
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import Table

T = TypeVar("T")


class PoolStatus(msgspec.Struct, frozen=True):
    """The state of a storage's connection pool."""

    active: int
    """Connections in use by an operation or a transaction."""
    idle: int
    """Open connections that are not in use."""
    max: int
    """The limit on open connections."""
    waiting: int
    """Operations that wait for a connection or the write lock."""


class AppliedMigration(msgspec.Struct, frozen=True):
    """A migration that was applied to the schema."""

    version: int
    name: str
    applied_at: str
    """ISO 8601, in UTC."""


class MigrationStatus(msgspec.Struct, frozen=True):
    """The version of a storage's schema, and its migrations."""

    version: int
    """The version of the schema; 0 before the first migration."""
    latest: int
    """The latest version that this code knows."""
    applied: tuple[AppliedMigration, ...]
    """The applied migrations, in order."""
    opens_from: int = 0
    """The oldest version whose code can work with this schema."""


class Reader(Protocol):
    """Anything that can be read: an engine, a transaction or a snapshot."""

    def read(self, read: Read[T]) -> Awaitable[T]:
        """Run a read and return its result, whose type the read declares."""
        ...


class Executor(Reader, Protocol):
    """Anything that can read and write: an engine, or a session within its transaction."""

    def write(self, steps: Sequence[Step]) -> Awaitable[list[Any]]:
        """Run the steps atomically, and return the result of each."""
        ...


class Snapshot(Reader, Protocol):
    """A consistent view of the data committed when it was taken; later commits are not visible.

    It needs no write lock and, except in a browser, blocks no writer. While it is open, it prevents the truncation of
    SQLite's log and holds back PostgreSQL's vacuum, so close it soon.
    """

    def numbers(self) -> Awaitable[Mapping[str, int]]:
        """Return for each table, by name, a number that is at least the highest sequence ever assigned."""
        ...

    def close(self) -> Awaitable[None]:
        """Release the snapshot; idempotent."""
        ...


class Session(Executor, Protocol):
    """An open transaction. Its operations run one at a time, in the order of the calls."""

    def savepoint(self, name: str) -> Awaitable[None]:
        """Create a savepoint."""
        ...

    def release(self, name: str) -> Awaitable[None]:
        """Release a savepoint, keeping the changes since."""
        ...

    def rollback_to(self, name: str) -> Awaitable[None]:
        """Undo the changes since a savepoint, and release it."""
        ...

    def commit(self) -> Awaitable[None]:
        """Commit durably. If this raises, nothing is stored, unless the error says that the outcome is unknown."""
        ...

    def rollback(self) -> Awaitable[None]:
        """Roll back; idempotent. The rollback starts with the call, whether or not the result is awaited."""
        ...

    def abandon(self) -> None:
        """Roll back without waiting, from any thread."""
        ...

    @property
    def failure(self) -> Exception | None:
        """The reason why the engine ended the transaction by itself, or `None`."""
        ...


Progress = Callable[[int, int], object]
"""Called with the amount done and the total."""


class Watch(Protocol):
    """Reports commits to some tables, by this process or others, since its creation."""

    async def wait(self, seconds: float | None = None) -> bool:
        """Return `True` once something may have been committed since the last return, `False` after the timeout.

        Commits of this process wake it at once, those of other processes within 50 ms; within half a second where
        PostgreSQL cannot notify (behind a pooler, at a standby, or with no connection left to listen on), and within
        five seconds if a commit behind a pooler was overtaken by others. Spurious wake-ups happen.
        """
        ...

    def close(self) -> None:
        """Stop watching; idempotent."""
        ...


class FeedPosition(NamedTuple):
    """A position in the order of a table's last writes; in a table that is not `is_followed`, of its inserts.

    Rows of one statement may share a change number, so the sequence is part of the position.
    """

    number: int
    sequence: int


class FeedPage(NamedTuple):
    """Rows as codecs decode them, and the position up to which they are complete.

    The position lies before the requested one if that is ahead of all rows.
    """

    rows: "list[Row]"
    position: FeedPosition
    is_full: bool = False
    """Whether there may be more rows already."""
    is_held_back: bool = False
    """Whether later rows may become visible only when another writer ends, of which no watch may be notified."""


class Engine(Executor, Protocol):
    """A store of rows, such as a database."""

    is_ephemeral: bool
    """Whether a storage can be dropped without `close`: nothing is lost or stays open."""
    is_local: bool
    """Whether the blocking form runs its operations in the calling thread. They must be usable in any event loop, also
    in one that runs only while a call waits. If not, a background loop runs them."""

    @property
    def schema_name(self) -> str:
        """The name of its schema."""
        ...

    def for_schema(self, schema: str) -> "Engine":
        """Return an engine for another schema of the same database, which its first operation opens or creates.

        It shares connections with this engine where the database allows that, and must be closed before this one.
        """
        ...

    def deliver(self, steps: Sequence[Step], on_abandoned: Callable[[list[Any] | None], None]) -> Awaitable[list[Any]]:
        """Write, and report the results even if the caller is cancelled while it waits for them.

        In that case, `on_abandoned` is called once the outcome is known: with the results, or with `None` if nothing
        was written. It may be called in any thread and must not block. If the results reach the caller, it is not
        called.
        """
        ...

    def begin(self) -> Awaitable[Session]:
        """Acquire the write lock and open a transaction; raises `PoolError` after `connection_timeout`."""
        ...

    def follow(
        self, query: Query[Any], after: FeedPosition, limit: int, upto: FeedPosition | None = None
    ) -> Awaitable[FeedPage]:
        """Read the rows that were written after a position and match the query's conditions, in their present state.

        Returns at most `limit` rows in the order of their last writes, none after `upto`, and the position to continue
        from; fewer if they are large and the engine can measure them before it reads them. No later commit ever lies at
        or before a position that this has returned.
        """
        ...

    def snapshot(self) -> Awaitable[Snapshot]:
        """Take a snapshot of the data committed so far; raises `PoolError` as other reads do."""
        ...

    def time(self) -> Awaitable[int]:
        """Return the current time of the clock that `FromNow` uses, in microseconds since 1970."""
        ...

    def watch(self, tables: tuple[Table[Any], ...]) -> Watch:
        """Return a watch for commits to these tables."""
        ...

    def drop_parts(self, table: Table[Any], stale: Sequence[tuple[Condition, ...]]) -> Awaitable[int]:
        """Drop the partitions of a table in which every row matches one of several lists of conditions.

        Returns the number of rows dropped, 0 for an unpartitioned table. Cannot be rolled back.
        """
        ...

    def vacuum(self) -> Awaitable[None]:
        """Return the disk space of deleted rows to the operating system."""
        ...

    def checkpoint(self) -> Awaitable[None]:
        """Run a checkpoint of the write-ahead log."""
        ...

    def back_up(
        self, target: str, *, is_verified: bool, is_overwriting: bool, progress: Progress | None
    ) -> Awaitable[None]:
        """Write a consistent copy of everything to a new file, without blocking writers; never leave a partial file.

        `target` is an absolute path without links; it is synced to disk before this returns. Raises `OtherError` if the
        file exists and is not to be overwritten; `DatabaseError` if it cannot be written or fails its check, which is
        thorough with `is_verified`.
        """
        ...

    def migrate_to(self, version: int) -> Awaitable[None]:
        """Migrate the schema to this version, up or down; a failure raises `MigrationError`.

        Each migration is atomic, except in an engine that migrates online: there, an interrupted one is resumed by the
        next call.
        """
        ...

    def migration_status(self) -> Awaitable[MigrationStatus]:
        """Return the version and the migrations of the schema."""
        ...

    def size(self) -> Awaitable[int]:
        """Return the size of the store in bytes, including its log."""
        ...

    def pool_status(self) -> PoolStatus:
        """Return the state of the connection pool."""
        ...

    def close(self) -> Awaitable[None]:
        """Wait for pending operations, then release all resources; idempotent."""
        ...

    def abandon(self) -> None:
        """Release all resources without waiting, from any thread."""
        ...
