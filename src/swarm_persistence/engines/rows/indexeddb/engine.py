"""The IndexedDB engine: the engine interface over one connection to one database of the browser."""

import asyncio
import time
from collections.abc import Sequence
from contextvars import Context
from typing import Any, Literal, TypeVar, cast

import msgspec

from swarm_persistence.clock import microseconds, now
from swarm_persistence.engines.delivery import OnAbandoned, delivered
from swarm_persistence.engines.following import FollowingEngine
from swarm_persistence.engines.interface import (
    AppliedMigration,
    Engine,
    MigrationStatus,
    PoolStatus,
)
from swarm_persistence.engines.lazy import lazy_engine
from swarm_persistence.engines.lines import LineBackupEngine
from swarm_persistence.engines.reads import Read
from swarm_persistence.engines.rows.indexeddb import messages
from swarm_persistence.engines.rows.indexeddb.batchers import ReadBatcher, WriteBatcher
from swarm_persistence.engines.rows.indexeddb.bridge import Bridge, OpenRequest
from swarm_persistence.engines.rows.indexeddb.failures import opening_failure
from swarm_persistence.engines.rows.indexeddb.fetched_table import Request
from swarm_persistence.engines.rows.indexeddb.pending import PendingRead, PendingWrite
from swarm_persistence.engines.rows.indexeddb.schema import StoreSchema, upgrade
from swarm_persistence.engines.rows.indexeddb.sessions import IndexedDbSession
from swarm_persistence.engines.rows.indexeddb.stored_bytes import PIECES
from swarm_persistence.engines.rows.steps import compile_steps
from swarm_persistence.engines.schemas import DEFAULT_SCHEMA
from swarm_persistence.engines.steps import Step
from swarm_persistence.engines.transaction_errors import lock_timed_out
from swarm_persistence.engines.watches import TableWatch, Watches
from swarm_persistence.errors import ClosedError, DatabaseError, MigrationError, shown
from swarm_persistence.query.query import Condition
from swarm_persistence.schema.tables import Table

T = TypeVar("T")
Durability = Literal["relaxed", "strict"]


class IndexedDbSettings(msgspec.Struct, frozen=True):
    """The settings of an engine. Durations are in seconds."""

    durability: Durability = "relaxed"
    connection_timeout: float = 30.0
    transaction_timeout: float = 30.0
    schema: StoreSchema = StoreSchema()


class IndexedDbEngine(FollowingEngine, LineBackupEngine):
    """A store in the browser, shared by all tabs and workers of one origin.

    Backups are written into Pyodide's file system, which lasts as long as the page; copy them from there.
    """

    is_ephemeral = False
    is_local = False

    def __init__(self, name: str, settings: IndexedDbSettings, schema_name: str = DEFAULT_SCHEMA) -> None:
        self.schema_name = schema_name
        self.name = name
        self.settings = settings
        self._bridge = Bridge(self._on_notice)
        self._watches = Watches()
        self._writes = WriteBatcher(self._bridge, settings.connection_timeout, self._watches.notify)
        self._reads = ReadBatcher(self._bridge)
        self._session: IndexedDbSession | None = None
        self._beginning: set[asyncio.Future[bool]] = set()
        self._is_open = False
        self._unusable: Exception | None = None

    async def start(self) -> None:
        """Open the database, create it if necessary, and upgrade its stores."""
        settings, future = self.settings, asyncio.get_running_loop().create_future()

        def opened(kind: str, text: str, failure: BaseException | None) -> None:
            if future.done():
                self._bridge.close()
            elif kind or failure:
                future.set_exception(failure or opening_failure(kind, text, self.name, settings.connection_timeout))
            else:
                future.set_result(None)

        opening = OpenRequest(
            self.name,
            settings.schema.version,
            msgspec.json.encode(settings.schema.stores()).decode(),
            settings.durability,
            settings.connection_timeout,
        )
        self._bridge.open(opening, upgrade(settings.schema), opened)
        try:
            await future
        except BaseException:
            self.abandon()
            raise
        self._is_open = True

    def for_schema(self, schema: str) -> Engine:
        return lazy_engine(
            lambda: IndexedDbEngine(f"{self.name}.{schema}", self.settings, schema), lambda engine: engine.start()
        )

    async def write(self, steps: Sequence[Step]) -> list[Any]:
        results: Any = await self._submit(steps)
        return list(results)

    async def deliver(self, steps: Sequence[Step], on_abandoned: OnAbandoned) -> list[Any]:
        results: Any = await delivered(self._submit(steps, on_abandoned), on_abandoned)
        return list(results)

    async def read(self, read: Read[T]) -> T:
        self._require_usable()
        result: Any = await self._reads.submit(PendingRead(read))
        return cast(T, result)

    async def snapshot(self) -> IndexedDbSession:
        """Begin a transaction that does not write; it blocks other writers while it is open."""
        return await self.begin()

    async def time(self) -> int:
        self._require_usable()
        return microseconds(now())

    def watch(self, tables: tuple[Table[Any], ...]) -> TableWatch:
        """Return a watch; other tabs and workers broadcast their commits."""
        self._require_usable()
        return self._watches.add(tables)

    async def begin(self) -> IndexedDbSession:
        self._require_usable()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()

        def locked(is_ours: bool) -> None:
            if not future.done():
                future.set_result(is_ours)

        self._writes.release_if_idle()
        lock = self._bridge.lock(self.settings.connection_timeout, locked, _never, is_exclusive=True)
        self._beginning.add(future)
        try:
            if not await future:
                raise lock_timed_out("database", self.settings.connection_timeout)
            self._require_usable()
            session = IndexedDbSession(
                self._bridge, lock, self.settings.transaction_timeout, self._watches.notify, self._forget
            )
            self._session = session
        except BaseException:
            self._bridge.unlock(lock)
            raise
        finally:
            self._beginning.discard(future)
        return session

    async def drop_parts(self, table: Table[Any], stale: Sequence[tuple[Condition, ...]]) -> int:
        return 0

    async def vacuum(self) -> None:
        """Do nothing: the browser frees space by itself."""
        self._require_usable()

    async def checkpoint(self) -> None:
        """Wait until all committed writes have reached the disk, also with relaxed durability."""
        self._require_usable()
        await self._bridge.flush()

    async def migrate_to(self, version: int) -> None:
        self._require_usable()
        latest = self.settings.schema.version
        if type(version) is not int or version != latest:
            raise MigrationError(
                f"version {shown(version)} is unknown, or older; a browser's database is migrated forward only, "
                f"when it is opened, and is at version {latest}"
            )

    async def migration_status(self) -> MigrationStatus:
        schema = self.settings.schema
        (answer,) = await self._fetch(("get", messages.META, ["schema"]))
        applied = tuple(
            AppliedMigration(version=version, name=name, applied_at=moment)
            for version, (name, moment) in enumerate(answer[0][1], start=1)
        )
        return MigrationStatus(version=len(applied), latest=schema.version, applied=applied)

    async def size(self) -> int:
        """Return the bytes of the records and their keys."""
        stores = [PIECES, *(table.name for table in self.settings.schema.tables)]
        return sum(await self._fetch(*[("size", store) for store in stores]))

    def pool_status(self) -> PoolStatus:
        is_active = self._session is not None or self._writes.is_running
        return PoolStatus(
            active=int(is_active),
            idle=int(self._is_open and not is_active),
            max=1,
            waiting=self._writes.waiting + len(self._beginning),
        )

    async def close(self) -> None:
        error = ClosedError("the storage was closed while the transaction was open")
        self._unusable = self._unusable or ClosedError("the storage is closed")
        self._watches.close()
        if self._session is not None:
            self._session.end(error)
        self._refuse_transactions(self._unusable)
        while outstanding := [each for each in self._outstanding() if not each.done()]:
            await asyncio.wait(outstanding)
        await self._bridge.end()
        self._bridge.close()

    def abandon(self) -> None:
        self._unusable = self._unusable or ClosedError("the storage is closed")
        self._watches.close()
        if self._session is not None:
            self._session.end(self._unusable)
        self._refuse_transactions(self._unusable)
        self._writes.refuse(self._unusable)
        self._bridge.close()

    def _on_notice(self, kind: str, tables: str) -> None:
        """Handle a notice of the bridge: `tables`, separated by spaces, are those that were written."""
        match kind:
            case "written":  # by another tab or worker
                self._watches.notify(tables.split() or None)
            case "outdated":
                self._yield_database(
                    f"a newer version of this page has upgraded the database {self.name!r}; load this page again"
                )
            case "unwanted":
                self._yield_database(
                    f"another tab has deleted the database {self.name!r}; load this page again, to begin a new one"
                )
            case _:
                self._unusable = DatabaseError(
                    f"the browser has closed the database {self.name!r}: its data were cleared, or the disk has failed"
                )
                self.abandon()

    def _yield_database(self, reason: str) -> None:
        """Finish the submitted calls, then close the database."""
        self._unusable = DatabaseError(reason)
        if self._session is not None:
            self._session.end(self._unusable)
        asyncio.get_event_loop().create_task(self.close(), context=Context())

    def _submit(self, steps: Sequence[Step], on_abandoned: OnAbandoned | None = None) -> "asyncio.Future[Any]":
        compiled = compile_steps(steps)
        self._require_usable()
        deadline = time.monotonic() + self.settings.connection_timeout
        return self._writes.submit(PendingWrite(deadline, steps, compiled, on_abandoned))

    async def _fetch(self, *requests: Request) -> list[Any]:
        self._require_usable()
        return messages.answers_of(await self._bridge.fetch(messages.fetch(requests)))

    def _outstanding(self) -> "list[asyncio.Future[Any]]":
        return [*self._writes.outstanding(), *self._reads.outstanding()]

    def _refuse_transactions(self, reason: Exception) -> None:
        for future in self._beginning:
            if not future.done():
                future.set_exception(reason)

    def _forget(self, session: IndexedDbSession) -> None:
        if self._session is session:
            self._session = None

    def _require_usable(self) -> None:
        if self._unusable is not None:
            raise self._unusable


def _never() -> None:
    raise AssertionError("a transaction's own lock is given back by itself only")
