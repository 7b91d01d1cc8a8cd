"""Notifies other processes of commits, and receives their notifications: by NOTIFY and LISTEN, and by polling.

A notification goes out after the commit and by itself, many commits in one: NOTIFY inside the transaction would let
commits wait for each other. If it is lost with its process, a poll finds what was written. Only a single record that is
stored after a pause has its notification in its own commit, which saves a round trip, and only if no other such commit
is in progress (`PostgresCompiler.insert_row`).
"""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any

import asyncpg

from swarm_persistence.backoff import Backoff
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.connector import Connector, UnreachableError
from swarm_persistence.engines.sql.postgres.failures import DRIVER_ERRORS
from swarm_persistence.engines.sql.postgres.headroom import headroom_of
from swarm_persistence.engines.sql.postgres.pool import ConnectionPool
from swarm_persistence.engines.sql.postgres.settings import PostgresSettings
from swarm_persistence.engines.watches import Watches
from swarm_persistence.errors import PoolError, StorageError
from swarm_persistence.schema.tables import CHANGE_NUMBER, SEQUENCE, TABLES

_BETWEEN_NOTIFICATIONS_SECONDS = 0.01
_BETWEEN_POLLS_SECONDS = 0.03
"""Behind a pooler, where LISTEN is not possible: commits of others are seen within 50 ms while there are any."""
_BETWEEN_WAKES_SECONDS = 5.0
"""Behind a pooler, if there were commits that moved no mark: most likely those of other programs."""
_LONGEST_BETWEEN_POLLS_SECONDS = 0.5
_SLOWDOWN = 1.5
"""The factor by which each poll that finds no commit of the swarm lengthens the delay before the next one."""
_BETWEEN_RARE_POLLS_SECONDS = 1.0
"""With LISTEN: for commits whose notification was lost."""
_BETWEEN_GENTLE_POLLS_SECONDS = 0.25
"""On a standby, and on an idle connection of the pool while there is none to listen on."""
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
"""Between attempts to listen."""

_NOTIFY = """
SELECT pg_notify(channel, name)
FROM unnest($1::text[], $2::text[]) AS told (channel, name)
"""

_FAILURES = (*DRIVER_ERRORS, StorageError, UnreachableError)


def channel_of(schema: str) -> str:
    """Return the channel for the commits to a schema; a notification names a table."""
    return f"swarm {schema}"[:63]


class Notifications:
    """The notifications of one event loop: a sender, and a listener that also polls, for all schemas of the pool."""

    def __init__(self, pool: ConnectionPool, connector: Connector, settings: PostgresSettings) -> None:
        self._loop = asyncio.get_running_loop()
        self._pool = pool
        self._connector = connector
        self._settings = settings
        self._unsent: dict[str, set[str]] = {}
        self._audiences: dict[str, set[Watches]] = {}
        """The watches to wake, by channel. Two schemas with a long name may share a channel."""
        self._sender: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._channels: set[str] | None = None
        """The channels listened on; `None` where LISTEN is not possible."""
        self._has_news = asyncio.Event()
        self._last_snapshot = ""
        self._marks = WriteMarks()
        self._can_read_marks = True
        self._woke_all_at = 0.0
        self._has_listened = False
        self._is_closed = False

    @property
    def may_go_along(self) -> bool:
        """Return whether the next commit may have its notification in it: none was sent just before."""
        return self._sender is None and not self._is_closed

    def send(self, channel: str, tables: set[str], *, is_urgent: bool = True) -> None:
        """Notify other processes of commits to some tables; if not urgent, a little later, with those that follow."""
        self._unsent.setdefault(channel, set()).update(tables)
        self._note_own_commit(channel, tables)
        self._start_to_send(0.0 if is_urgent else _BETWEEN_NOTIFICATIONS_SECONDS)

    def sent(self, channel: str, tables: set[str]) -> None:
        """Note that a commit to some tables has notified other processes; the next notification is a little later."""
        self._note_own_commit(channel, tables)
        self._start_to_send(_BETWEEN_NOTIFICATIONS_SECONDS)

    def listen(self, schema: str, watches: Watches) -> None:
        """Wake a schema's watches after commits of other processes from here on, while there are watches."""
        channel = channel_of(schema)
        self._marks.add(watches, schema)
        audience = self._audiences.setdefault(channel, set())
        if watches not in audience:
            audience.add(watches)
            self._has_news.set()
        if self._listener is None and not self._is_closed:
            self._listener = self._start(self._listen())

    def forget(self, channel: str, watches: Watches) -> None:
        """Stop waking these watches."""
        self._marks.discard(watches)
        audience = self._audiences.get(channel, set())
        audience.discard(watches)
        if not audience:
            self._audiences.pop(channel, None)

    async def close(self) -> None:
        """Stop listening, and flush the notifications that are not sent yet."""
        self._is_closed = True
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait((self._listener,))
        if self._sender is not None:
            await asyncio.wait((self._sender,), timeout=1.0)

    def terminate(self) -> None:
        """Cancel all tasks, and terminate the connection."""
        self._is_closed = True
        if self._connection is not None:
            self._connection.terminate()
        if not self._loop.is_closed():
            for task in (self._sender, self._listener):
                if task is not None:
                    task.cancel()

    @property
    def _is_watched(self) -> bool:
        return any(not watches.is_empty for audience in self._audiences.values() for watches in audience)

    def _wake_all(self) -> None:
        for audience in [*self._audiences.values()]:
            for watches in audience:
                watches.notify()

    def _note_own_commit(self, channel: str, tables: set[str]) -> None:
        if self._channels is None and any(
            not tables.isdisjoint(watches.names) for watches in self._audiences.get(channel, ())
        ):
            self._has_news.set()

    def _start_to_send(self, after_seconds: float) -> None:
        if self._sender is None and not self._is_closed:
            self._sender = self._start(self._send(after_seconds))

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        # In an empty context: the task would keep the caller's context alive.
        return self._loop.create_task(work, context=Context())

    async def _send(self, after_seconds: float) -> None:
        try:
            if after_seconds:
                await asyncio.sleep(after_seconds)
            while self._unsent and not self._pool.is_closed:
                unsent, self._unsent = self._unsent, {}
                await self._notify([(channel, table) for channel, tables in unsent.items() for table in tables])
                if not self._is_closed:
                    await asyncio.sleep(_BETWEEN_NOTIFICATIONS_SECONDS)
        finally:
            self._sender = None

    async def _notify(self, commits: list[tuple[str, str]]) -> None:
        connection = self._pool.acquire_for_internal_use()
        if connection is None:  # all are in use: the listeners poll as well
            return
        try:
            await connection.run(_NOTIFY, [*zip(*commits, strict=True)])
        except _FAILURES:
            connection.terminate()
        finally:
            self._pool.release_from_internal_use(connection)

    async def _listen(self) -> None:
        backoff = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        try:
            while self._is_watched and not self._is_closed:
                self._has_listened = False
                try:
                    await self._listen_on_a_connection()
                except _FAILURES:
                    if self._has_listened:
                        backoff.reset()
                    await self._poll_without_listening(self._loop.time() + backoff.next())
        finally:
            self._listener = None

    async def _poll_without_listening(self, end: float) -> None:
        while self._is_watched:
            connection = self._pool.acquire_for_internal_use()
            if connection is None:
                self._wake_all()  # the watchers query the tables then
            else:
                try:
                    await self._poll(connection)
                except _FAILURES:
                    connection.terminate()
                finally:
                    self._pool.release_from_internal_use(connection)
            remaining = end - self._loop.time()
            if remaining <= 0:
                return
            await asyncio.sleep(min(remaining, _BETWEEN_GENTLE_POLLS_SECONDS))

    async def _listen_on_a_connection(self) -> None:
        deadline = self._loop.time() + self._settings.connection_timeout
        self._connection = connection = await self._connector.open(deadline)
        try:
            shortest, longest = await self._start_to_listen(connection)
            self._has_listened = True
            self._wake_all()  # for commits before the LISTEN
            self._can_read_marks = True
            pause = shortest
            while self._is_watched:
                self._has_news.clear()
                if self._channels is not None:
                    await self._listen_to_new(connection, self._channels)
                await connection.set_application_name(self._connector.application.text)
                if shortest < longest:
                    has_found = await self._poll_marks(connection, has_calmed=pause == longest)
                elif self._channels is not None:
                    has_found = await self._poll_for_missed(connection)
                else:
                    has_found = await self._poll(connection)
                pause = shortest if has_found else min(pause * _SLOWDOWN, longest)
                if await self._has_news_within(pause, shortest if shortest < longest else 0.0):
                    pause = shortest
        finally:
            self._connection = None
            connection.terminate()

    async def _has_news_within(self, seconds: float, least: float) -> bool:
        """Wait for a new channel or a commit of this process; return whether there was one."""
        await asyncio.sleep(least)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._has_news.wait(), seconds - least)
        return self._has_news.is_set()

    async def _start_to_listen(self, connection: Connection) -> tuple[float, float]:
        """Start to listen if possible; return the shortest and the longest delay between polls, in seconds."""
        self._channels = None
        # A pooler assigns a server connection for each transaction: notifications that one receives are lost.
        if self._connector.has_pooler:
            return _BETWEEN_POLLS_SECONDS, _LONGEST_BETWEEN_POLLS_SECONDS
        if (await headroom_of(connection)).is_short:
            raise PoolError(f"{connection.server}: the few connections that are left are reserved for other processes")
        channels: set[str] = set()
        try:
            await self._listen_to_new(connection, channels)
        except asyncpg.ReadOnlySQLTransactionError:  # a standby
            return _BETWEEN_GENTLE_POLLS_SECONDS, _BETWEEN_GENTLE_POLLS_SECONDS
        self._channels = channels
        return _BETWEEN_RARE_POLLS_SECONDS, _BETWEEN_RARE_POLLS_SECONDS

    async def _listen_to_new(self, connection: Connection, channels: set[str]) -> None:
        """Listen on the new channels; none is dropped before the connection is."""
        for channel in [*self._audiences]:
            if channel not in channels:
                await connection.listen(channel, self._receive)
                channels.add(channel)
                for watches in self._audiences.get(channel, ()):
                    watches.notify()

    async def _poll(self, connection: Connection) -> bool:
        """Wake all watches if any transaction has committed since the last poll; return whether one has."""
        rows = await connection.run_regardless(SNAPSHOT)
        if rows[0][0] == self._last_snapshot:
            return False
        self._last_snapshot = rows[0][0]
        self._wake_all()
        return True

    async def _poll_for_missed(self, connection: Connection) -> bool:
        """Wake the watches whose schemas were written to since the last poll; return whether there are any."""
        changed_watches = await self._changed_watches(connection)
        if changed_watches is None:
            return await self._poll(connection)
        for watches in changed_watches:
            watches.notify()
        return bool(changed_watches)

    async def _poll_marks(self, connection: Connection, *, has_calmed: bool) -> bool:
        """Poll where LISTEN is not possible: at first, and then every few seconds, any commit wakes all watches.

        The server may be busy with other programs: only the swarm's own writes keep the polls frequent.
        """
        last_look = self._last_snapshot
        changed_watches = await self._changed_watches(connection)
        if changed_watches is None:
            await self._poll(connection)
            return False
        if self._last_snapshot == last_look:
            return False
        if not has_calmed or self._loop.time() - self._woke_all_at >= _BETWEEN_WAKES_SECONDS:
            self._woke_all_at = self._loop.time()
            self._wake_all()
        else:
            for watches in changed_watches:
                watches.notify()
        return bool(changed_watches)

    async def _changed_watches(self, connection: Connection) -> list[Watches] | None:
        """Return the watches whose marks have moved since the last poll; `None` if the marks cannot be read."""
        if not self._can_read_marks:
            return None
        text, watched = self._marks.query()
        try:
            ((snapshot, *marks),) = await connection.run_regardless(text)
        except asyncpg.PostgresError:  # the role may not read them, or a schema was dropped
            self._can_read_marks = False
            return None
        if snapshot == self._last_snapshot:
            return []
        self._last_snapshot = snapshot
        return self._marks.changed_watches(watched, marks, snapshot)

    def _receive(self, _connection: object, process: int, channel: str, table: object) -> None:
        if self._pool.has_connection_of(process):
            return  # this process has notified its watches of its own commits already
        for watches in self._audiences.get(channel, ()):
            watches.notify((str(table),))


_NUMBERS = {table.name: CHANGE_NUMBER if table.is_followed else SEQUENCE for table in TABLES}

SNAPSHOT = "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text"
"""Changes with every commit on the server."""


class WriteMarks:
    """The high-water marks of all watched schemas, as they were last read; the server's other commits move none.

    Every insert, and every change of a followed table, takes a number above all earlier ones; an index gives the
    highest committed one. A commit that others with higher numbers have overtaken moves no mark: so the transactions
    that are open when a mark moves count as well, until they end.
    """

    def __init__(self) -> None:
        self._seen: dict[Watches, str] = {}
        self._schemas: dict[Watches, str] = {}
        self._overtaken: dict[Watches, frozenset[str]] = {}
        """The transactions that have been open since the marks moved: they may have lower numbers."""

    def add(self, watches: Watches, schema: str) -> None:
        """Watch a schema."""
        self._schemas[watches] = schema

    def discard(self, watches: Watches) -> None:
        """Stop watching for these watches."""
        self._schemas.pop(watches, None)
        self._seen.pop(watches, None)
        self._overtaken.pop(watches, None)

    def query(self) -> tuple[str, list[Watches]]:
        """Return a query of the snapshot and the marks, and the watches to which the marks belong, in order."""
        watched = [watches for watches in self._schemas if not watches.is_empty]
        # No search_path is set for it, and no operator is used in it.
        marks = [_mark(self._schemas[watches], watches.names) for watches in watched]
        return ", ".join((SNAPSHOT, *marks)), watched

    def changed_watches(self, watched: Sequence[Watches], marks: Sequence[str], snapshot: str) -> list[Watches]:
        """Return the watches to whose schemas something may have been committed since the last call."""
        _, _, listed = snapshot.split(":")
        still_open = frozenset(listed.split(",")) if listed else frozenset[str]()
        seen, overtaken = self._seen, self._overtaken
        self._seen = dict(zip(watched, marks, strict=True))
        self._overtaken = {}
        changed_watches = []
        for watches, mark in self._seen.items():
            before = overtaken.get(watches, frozenset())
            has_new_mark = seen.get(watches) != mark
            self._overtaken[watches] = still_open if has_new_mark else before & still_open
            if has_new_mark or not before <= still_open:
                changed_watches.append(watches)
        return changed_watches


def _mark(schema: str, names: frozenset[str]) -> str:
    quoted = '"' + schema.replace('"', '""') + '"'
    numbers = [f"(SELECT pg_catalog.max({_NUMBERS[name]}) FROM {quoted}.{name})" for name in sorted(names)]
    return f"ARRAY[{', '.join(numbers)}]::pg_catalog.text"
