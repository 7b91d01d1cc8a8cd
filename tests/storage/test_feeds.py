"""Facts about the feeds of watchers: an idle one does not poll, and one that is behind does not wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from postgres.conftest import server
from postgres.servers import Server
from swarm_persistence import EventModel, Storage, TaskModel, init_storage
from swarm_persistence.engines.following import PAGE_BYTES
from swarm_persistence.storage import feeds
from swarm_persistence_conformance.records import an_event
from swarm_persistence_conformance.waiting import begun, settle

__all__ = ["server"]

_numbers = count()
_MEGABYTE = 2**20


async def test_an_idle_watcher_reads_nothing_until_the_next_commit(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Any] = []
    follow = storage._engine.follow

    def follow_and_record(*arguments: Any) -> Any:
        reads.append(arguments)
        return follow(*arguments)

    monkeypatch.setattr(storage._engine, "follow", follow_and_record)
    async with aclosing(storage.watch_events()) as events:
        waiting = asyncio.ensure_future(anext(events))
        await begun(storage)
        # A new watch is notified once, by the thread of SQLite's writer: what that was sent later ends later.
        async with storage.transaction():
            await storage.get_task("none")
        await begun(storage)
        read_before = len(reads)
        assert read_before

        await begun(storage)
        assert len(reads) == read_before

        await storage.store_event(an_event("next"))
        assert (await waiting).id == "next"


async def test_a_commit_of_more_than_a_batch_is_read_at_once(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without this, an end of the idle wait could hide that the rest of the commit was left for later.
    monkeypatch.setattr(feeds, "LONGEST_WAIT_SECONDS", 100_000.0)
    names = [f"event-{number}" for number in range(feeds.BATCH + 1)]
    async with aclosing(storage.watch_events()) as events:
        waiting = asyncio.ensure_future(anext(events))
        await settle(storage)

        await storage.store_many([an_event(name) for name in names])

        async with asyncio.timeout(60):
            seen = [await waiting] + [await anext(events) for _ in names[1:]]
    assert [event.id for event in seen] == names


async def test_an_event_that_the_feed_delivers_while_a_watcher_reads_it_by_itself_is_seen_once(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_held, is_released = asyncio.Event(), asyncio.Event()
    follow = storage._engine.follow

    async def follow_once_released(*arguments: Any) -> Any:
        is_held.set()
        await is_released.wait()
        return await follow(*arguments)

    await storage.store_event(an_event("past"))
    async with aclosing(storage.watch_events(0)) as events, aclosing(storage.watch_events(0)) as others:
        assert (await anext(others)).id == "past"
        with monkeypatch.context() as patch:
            patch.setattr(storage._engine, "follow", follow_once_released)
            reading = asyncio.ensure_future(anext(events))
            await is_held.wait()
        await storage.store_event(an_event("in both"))
        assert (await anext(others)).id == "in both"  # from the feed, which delivers to both watchers at once

        is_released.set()
        seen = [await reading, await anext(events)]
        await storage.store_event(an_event("next"))
        seen.append(await anext(events))

    assert [event.id for event in seen] == ["past", "in both", "next"]


@pytest.mark.parametrize(("letters", "most_rows", "most_pages"), [(100_000, 8, 20), (10, feeds.BATCH, 6)])
async def test_a_watcher_that_catches_up_reads_few_large_rows_ahead_and_many_small_ones(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, letters: int, most_rows: int, most_pages: int
) -> None:
    pages: list[int] = []
    follow = storage._engine.follow

    async def follow_and_count(*arguments: Any) -> Any:
        page = await follow(*arguments)
        pages.append(len(page.rows))
        return page

    monkeypatch.setattr(storage._engine, "follow", follow_and_count)
    count = 30 if letters > 10 else 3 * feeds.BATCH
    await storage.store_many([EventModel(event_type="read", data="x" * letters) for _ in range(count)])

    async with aclosing(storage.watch_events(0)) as events:
        for _ in range(count):
            await anext(events)

    assert max(pages) <= most_rows
    assert len(pages) <= most_pages


class ReadPages:
    """Observes the pages that the watchers of a storage read: their rows, and the bytes of those of several rows."""

    def __init__(self, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        self.largest = 0
        self.rows = 0
        follow = storage._engine.follow

        async def follow_and_count(*arguments: Any) -> Any:
            page = await follow(*arguments)
            sizes = [feeds._size_of(row) for row in page.rows]
            self.rows += len(sizes)
            if len(sizes) > 1:
                self.largest = max(self.largest, sum(sizes))
            return page

        monkeypatch.setattr(storage._engine, "follow", follow_and_count)


@pytest.fixture(params=["sqlite", "postgres"])
async def measuring_storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    """Give a storage whose engine measures rows before it reads them."""
    place = str(tmp_path / "swarm.db")
    if request.param == "postgres":
        started: Server = request.getfixturevalue("server")
        place = started.url(schema=f"feeds_{next(_numbers)}")
    async with await init_storage(place) as storage:
        yield storage


@pytest.mark.parametrize("conditions", [{}, {"types": ["read", "other"]}], ids=["all", "some types"])
async def test_no_page_holds_more_than_its_bytes_where_large_rows_follow_small_ones(
    measuring_storage: Storage, monkeypatch: pytest.MonkeyPatch, conditions: dict[str, Any]
) -> None:
    storage = measuring_storage
    small = [EventModel(event_type="read", data=number) for number in range(100)]
    large = [EventModel(event_type="read", data="x" * _MEGABYTE) for _ in range(12)]
    medium = [EventModel(event_type="other", data="x" * (PAGE_BYTES // 3)) for _ in range(12)]
    again = [EventModel(event_type="read", data="small") for _ in range(10)]
    await storage.store_many([*small, *large, *again, *medium])
    pages = ReadPages(storage, monkeypatch)

    async with aclosing(storage.watch_events(0, **conditions)) as events:
        sequences = [(await anext(events)).sequence or 0 for _ in range(134)]

    assert sequences == sorted(set(sequences))
    assert 0 < pages.largest <= PAGE_BYTES
    assert pages.rows == 134


async def test_a_task_whose_error_is_large_is_a_page_of_its_own(
    measuring_storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = measuring_storage
    for number in range(6):
        await storage.store_task(TaskModel(id=f"t{number}", task_type="t"))
        claimed = await storage.claim_next_task("a")
        assert claimed is not None
        await storage.fail_task(claimed, "e" * (_MEGABYTE if number > 2 else 1), max_retries=0)
    pages = ReadPages(storage, monkeypatch)

    async with aclosing(storage.watch_tasks()) as tasks:
        assert sorted([(await anext(tasks)).id for _ in range(6)]) == [f"t{number}" for number in range(6)]

    assert pages.largest <= PAGE_BYTES


async def test_a_watcher_that_reads_slowly_holds_bounded_bytes_of_what_is_written(
    measuring_storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = measuring_storage
    async with aclosing(storage.watch_events()) as events:
        waiting = asyncio.ensure_future(anext(events))
        await settle(storage)
        (feed,) = [feed for feed in storage._feeds._feeds.values() if not feed.is_unused]
        (subscription,) = feed._subscriptions
        largest = 0
        for _ in range(20):
            await storage.store_many([EventModel(event_type="large", data="x" * 100_000) for __ in range(2)])
            await settle(storage)
            largest = max(largest, subscription._bytes)
            assert subscription._bytes == sum(feeds._size_of(row) for row, _ in subscription._rows.values())

        seen = [(await waiting).sequence] + [(await anext(events)).sequence for _ in range(39)]

    assert seen == [*range(1, 41)]
    assert 0 < largest <= feeds.LARGEST_BACKLOG_BYTES + PAGE_BYTES
