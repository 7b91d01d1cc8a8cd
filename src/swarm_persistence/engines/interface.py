"""What a storage asks of an engine: write some steps as one, read, and hold a transaction.

An engine knows rows and conditions, not swarms. Every verb is awaitable. A value that no column can hold raises
`SerializationError` before anything is submitted; an engine's own failure raises `DatabaseError`.
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
    """What a storage's connections are doing."""

    active: int
    """Connections that run an operation, or hold a transaction, now."""
    idle: int
    """Open connections that wait for work."""
    max: int
    """The most connections that may be open at once."""
    waiting: int
    """Operations that wait for a connection, or for their turn to write."""


class AppliedMigration(msgspec.Struct, frozen=True):
    """A step that the schema has taken."""

    version: int
    name: str
    applied_at: str
    """When, as ISO 8601 in UTC."""


class MigrationStatus(msgspec.Struct, frozen=True):
    """Where a storage's schema stands."""

    version: int
    """The version of the schema; 0 before the first step."""
    latest: int
    """The newest version that this code knows."""
    applied: tuple[AppliedMigration, ...]
    """The steps taken, in order."""
    opens_from: int = 0
    """The oldest version whose code may open it."""


class Reader(Protocol):
    """What can be read from: an engine, a transaction, or a moment."""

    def read(self, read: Read[T]) -> Awaitable[T]:
        """Do a read, and return what its type says."""
        ...


class Executor(Reader, Protocol):
    """Whatever can run operations: an engine, each on its own, or a session, inside its transaction."""

    def write(self, steps: Sequence[Step]) -> Awaitable[list[Any]]:
        """Do all steps or none of them, and give the result of each."""
        ...


class Snapshot(Reader, Protocol):
    """All that was committed at one moment, however long it is read; what is committed later does not show.

    It waits for no turn to write, and holds back no writer but in a browser. A log or a vacuum cannot pass it while it
    is open: close it soon.
    """

    def numbers(self) -> Awaitable[Mapping[str, int]]:
        """Return the highest sequence that each table has ever given out, or a higher number, by the tables' names."""
        ...

    def close(self) -> Awaitable[None]:
        """Let go of the moment. A second call does nothing."""
        ...


class Session(Executor, Protocol):
    """An open transaction of an engine. Its operations run one at a time, in the order in which they are called."""

    def savepoint(self, name: str) -> Awaitable[None]:
        """Remember this point."""
        ...

    def release(self, name: str) -> Awaitable[None]:
        """Forget the point and keep what came after it."""
        ...

    def rollback_to(self, name: str) -> Awaitable[None]:
        """Undo all that came after the point, and forget the point."""
        ...

    def commit(self) -> Awaitable[None]:
        """Make the work durable. If this raises, none of it is stored."""
        ...

    def rollback(self) -> Awaitable[None]:
        """Undo the work. Called at once, even if nobody awaits it; a second call does nothing."""
        ...

    def abandon(self) -> None:
        """Undo the work without waiting, from any thread."""
        ...

    @property
    def failure(self) -> Exception | None:
        """Why the engine has ended the transaction by itself, if it has."""
        ...


Progress = Callable[[int, int], object]
"""Is told how much of some work is done, and of how much."""


class Watch(Protocol):
    """Sees the commits to some tables, from this process and from others, since it was made."""

    async def wait(self, seconds: float | None = None) -> bool:
        """Return once something may have been committed since the last return (`True`), or the time is up (`False`).

        Commits of this process are seen at once, those of others within 50 ms; within half a second where PostgreSQL
        cannot notify (behind a pooler, at a standby, with no connection left to listen on), and within five seconds if
        one behind a pooler was overtaken by others. It may also see what did not happen.
        """
        ...

    def close(self) -> None:
        """Look no longer. A second call does nothing."""
        ...


class FeedPosition(NamedTuple):
    """A place in the order of a table's last writes. Of a table that is not `is_followed`, only the sequence counts.

    Rows of one statement may share the number of their change, so the sequence is a part of it.
    """

    number: int
    sequence: int


class FeedPage(NamedTuple):
    """Rows in the form that codecs decode, and the place up to which they are complete.

    That lies before the place that was asked for if this one is ahead of all rows.
    """

    rows: "list[Row]"
    position: FeedPosition
    is_full: bool = False
    """Whether there may be more rows already."""
    is_held_back: bool = False
    """Whether what was written since may show only after another writer has ended, which may ring no watch."""


class Engine(Executor, Protocol):
    """A store of rows."""

    is_ephemeral: bool
    """Whether dropping the storage without `close` loses nothing and holds nothing open."""

    @property
    def schema_name(self) -> str:
        """Return the name of the schema that it keeps."""
        ...

    def beside(self, schema: str) -> "Engine":
        """Return the engine of another schema of the same database, which its first operation opens, and may create.

        It shares what the database has to share, such as connections, and ends before this one does.
        """
        ...

    def deliver(self, steps: Sequence[Step], on_abandoned: Callable[[list[Any] | None], None]) -> Awaitable[list[Any]]:
        """Write, and do not lose the results if the caller is cancelled while it waits for them.

        Then `on_abandoned` is called once the outcome is known, in any thread, and must return at once: with the
        results, or with `None` if nothing was written. It is not called if the results reach the caller.
        """
        ...

    def begin(self) -> Awaitable[Session]:
        """Wait for the turn to write and open a transaction; `PoolError` after `connection_timeout`."""
        ...

    def follow(
        self, query: Query[Any], after: FeedPosition, limit: int, upto: FeedPosition | None = None
    ) -> Awaitable[FeedPage]:
        """Read the rows that were written since the place `after` and fulfil a query's conditions, as they are now.

        Gives them in the order of their last writes, `limit` at most, and the place to go on from; with `upto`, none
        behind that one. No write that is committed later ever lies before a place that this has given.
        """
        ...

    def snapshot(self) -> Awaitable[Snapshot]:
        """Return what is committed now, to be read from as often as needed; `PoolError` as for other reads."""
        ...

    def time(self) -> Awaitable[int]:
        """Return the present time by the clock that `FromNow` goes by, in microseconds since 1970."""
        ...

    def watch(self, tables: tuple[Table[Any], ...]) -> Watch:
        """Return a watch of the commits to these tables."""
        ...

    def drop_parts(self, table: Table[Any], stale: Sequence[tuple[Condition, ...]]) -> Awaitable[int]:
        """Drop the parts that a table is kept in of which each row fulfils one of several lists of conditions.

        Gives how many rows that were; an engine that keeps tables in one piece, 0. Not to be undone.
        """
        ...

    def vacuum(self) -> Awaitable[None]:
        """Give back the room of what was deleted."""
        ...

    def checkpoint(self) -> Awaitable[None]:
        """Move what the log holds to its final place."""
        ...

    def back_up(
        self, target: str, *, is_verified: bool, is_overwriting: bool, progress: Progress | None
    ) -> Awaitable[None]:
        """Write all that is stored at one moment to a new file, beside the writers; there is none unless all is in it.

        `target` is an absolute path without links. It is written to the disk before this returns. Raises `OtherError`
        if there is such a file, and it is not to be overwritten; `DatabaseError` if it cannot be written, or what was
        written does not pass its check: thoroughly, if it is to be verified.
        """
        ...

    def migrate_to(self, version: int) -> Awaitable[None]:
        """Bring the schema to this version, forwards or back: each step in whole, or a `MigrationError`.

        An engine that changes it beside readers and writers may leave a step half done, which goes on the next time.
        """
        ...

    def migration_status(self) -> Awaitable[MigrationStatus]:
        """Return where the schema stands."""
        ...

    def size(self) -> Awaitable[int]:
        """Return the bytes that the store takes, its log included."""
        ...

    def pool_status(self) -> PoolStatus:
        """Return what the connections are doing."""
        ...

    def close(self) -> Awaitable[None]:
        """Finish what was submitted, then let go of everything. A second call does nothing."""
        ...

    def abandon(self) -> None:
        """Let go of everything without waiting, from any thread."""
        ...
