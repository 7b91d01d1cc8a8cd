"""Feeds: read the changes of a table once for all watchers of the same query."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Any

from swarm_persistence.backoff import Backoff
from swarm_persistence.engines.following import BEFORE_ALL, PAGE_BYTES, position_of
from swarm_persistence.engines.interface import Engine, FeedPage, FeedPosition, Watch
from swarm_persistence.engines.runtime import running_loop
from swarm_persistence.errors import StorageError
from swarm_persistence.query.query import Query
from swarm_persistence.schema.codec import Row

BATCH = 500
LONGEST_WAIT_SECONDS = 30.0
"""About how long a feed waits for a wake-up before it polls; spread out over the feeds of a process."""
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 1.0
"""Between polls for rows that another writer holds back: its end wakes the feed, unless it rolls back or is lost."""
_SHORTEST_PAUSE_SECONDS = 0.01
"""The pause after a poll that another writer held back, even with constant commits."""
LARGEST_BACKLOG = 2 * BATCH
"""Rows buffered per watcher. A watcher that falls further behind leaves the feed, catches up by itself and rejoins."""
LARGEST_BACKLOG_BYTES = PAGE_BYTES
"""The same limit in bytes; a single row may have more."""
FIRST_ROWS = 8
"""The most rows of a reader's first page."""
_GROWTH = 8


def next_limit(limit: int, rows: list[Row]) -> int:
    """Return how many rows the next page may have, judging by the sizes in this one."""
    size = sum(map(_size_of, rows))
    fitting = len(rows) * PAGE_BYTES // size if size else BATCH
    return max(1, min(fitting, limit * _GROWTH, BATCH))


def _size_of(row: Row) -> int:
    """Return the number of letters and bytes of a row."""
    return sum(len(value) for value in row if isinstance(value, str | bytes))


class Subscription:
    """The rows that a feed buffers for one watcher, only the latest version of each."""

    def __init__(
        self, query: Query[Any], start: FeedPosition | None, is_wanted: Callable[[Row], bool] | None = None
    ) -> None:
        self.start = start
        """The position after which the feed delivers rows; `None` if it has not begun."""
        self.end: FeedPosition | None = None
        """The position up to which it delivered rows, once it has finished."""
        self._table = query.table
        self._id = query.table.positions["id"]
        self._is_wanted = is_wanted
        self._rows: OrderedDict[Any, tuple[Row, int]] = OrderedDict()
        """Each with its size."""
        self._bytes = 0
        self._seen = BEFORE_ALL
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_full(self) -> bool:
        """Return whether so many rows or bytes are buffered that no more should be added."""
        return len(self._rows) > LARGEST_BACKLOG or (len(self._rows) > 1 and self._bytes > LARGEST_BACKLOG_BYTES)

    def add(self, rows: Iterable[tuple[Row, int]]) -> None:
        """Add rows, each with its size, in their order; skip those at or before the last position seen."""
        for row, size in rows:
            position = position_of(self._table, row)
            # A feed moves back if the newest rows are deleted while earlier ones may still be committed.
            if position > self._seen:
                self._seen = position
                id = row[self._id]
                if (stale := self._rows.pop(id, None)) is not None:
                    self._bytes -= stale[1]
                if self._is_wanted is None or self._is_wanted(row):
                    self._rows[id] = row, size
                    self._bytes += size
        if self._rows:
            self._wake()

    def finish(self, end: FeedPosition) -> None:
        """Mark the end: no more rows will come."""
        self.end = end
        self._wake()

    def skip(self, upto: FeedPosition) -> None:
        """Drop the rows up to a position that the watcher has read by itself, including later arrivals."""
        self._seen = max(self._seen, upto)
        while self._rows and position_of(self._table, next(iter(self._rows.values()))[0]) <= upto:
            self._take_first()

    async def take(self) -> Row | None:
        """Wait for the next row and return it, or `None` at the end."""
        while not self._rows:
            if self.end is not None:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._take_first()

    def _take_first(self) -> Row:
        _, (row, size) = self._rows.popitem(last=False)
        self._bytes -= size
        return row

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Feed:
    """The reader of one query in one event loop. It runs while it has subscriptions."""

    def __init__(self, engine: Engine, query: Query[Any]) -> None:
        self._engine = engine
        self._query = query
        self._position = BEFORE_ALL
        self._subscriptions: set[Subscription] = set()
        self._reader: asyncio.Task[None] | None = None

    @property
    def is_unused(self) -> bool:
        """Whether there is no subscription."""
        return not self._subscriptions

    def subscribe(self, is_wanted: Callable[[Row], bool] | None = None) -> Subscription:
        """Return a new subscription to the rows after the present position, or those of them that are wanted."""
        subscription = Subscription(self._query, None if self._reader is None else self._position, is_wanted)
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Cancel a subscription; idempotent."""
        self._subscriptions.discard(subscription)
        if not self._subscriptions and self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def begin(self, position: FeedPosition) -> None:
        """Start to read from a position, for all subscriptions."""
        self._position = position
        for subscription in self._subscriptions:
            subscription.start = position
        # In an empty context: it would keep the watcher's context alive.
        self._reader = asyncio.get_running_loop().create_task(self._read(), context=Context())

    async def _read(self) -> None:
        own = self._reader
        try:
            watch = self._engine.watch((self._query.table,))
            try:
                await self._read_on(own, watch)
            finally:
                watch.close()
        except StorageError:
            # Each watcher then reads by itself, and its caller sees the failure.
            return
        finally:
            if self._reader is own:
                self._finish_all()

    async def _read_on(self, own: "asyncio.Task[None] | None", watch: Watch) -> None:
        backoff = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        limit = FIRST_ROWS
        while True:
            page = await self._engine.follow(self._query, self._position, limit)
            limit = next_limit(limit, page.rows)
            if page.position != self._position:
                backoff.reset()
            self._distribute(page)
            is_full, is_held_back = page.is_full, page.is_held_back
            del page  # a feed that waits holds no rows
            if self._reader is not own:
                return
            if is_full:
                await asyncio.sleep(0)
            elif is_held_back:
                await asyncio.sleep(_SHORTEST_PAUSE_SECONDS)
                await watch.wait(backoff.next())
            else:
                await watch.wait(LONGEST_WAIT_SECONDS * random.uniform(0.5, 1.0))

    def _distribute(self, page: FeedPage) -> None:
        self._position = page.position
        sized = [(row, _size_of(row)) for row in page.rows]
        for subscription in [*self._subscriptions]:
            subscription.add(sized)
            if subscription.is_full:
                self._subscriptions.discard(subscription)
                subscription.finish(self._position)
        if not self._subscriptions:
            self._reader = None

    def _finish_all(self) -> None:
        subscriptions, self._subscriptions = self._subscriptions, set()
        self._reader = None
        for subscription in subscriptions:
            subscription.finish(self._position)


class Feeds:
    """The feeds of one storage."""

    def __init__(self) -> None:
        self._feeds: dict[tuple[asyncio.AbstractEventLoop, Engine, Query[Any]], Feed] = {}

    def of(self, engine: Engine, query: Query[Any]) -> Feed:
        """Return the feed of a query in this event loop, or a new one."""
        key = (running_loop(), engine, query)
        feed = self._feeds.get(key)
        if feed is None:
            # A loop may end without closing its watchers. Iterate over a copy, since other threads may add feeds.
            known = self._feeds.copy().items()
            self._feeds = {other: one for other, one in known if not one.is_unused and not other[0].is_closed()}
            feed = self._feeds[key] = Feed(engine, query)
        return feed
