"""Facts about the feeds of watchers: an idle one does not poll, and one that is behind does not wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from swarm_persistence import EventModel, Storage, init_storage
from swarm_persistence.storage import feeds
from swarm_persistence_conformance.records import an_event
from swarm_persistence_conformance.waiting import settle


@pytest.fixture(params=["memory", "sqlite"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    """Give a fresh storage."""
    place = ":memory:" if request.param == "memory" else str(tmp_path / "swarm.db")
    async with await init_storage(place) as storage:
        yield storage


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
        await settle(storage)
        read_before = len(reads)

        await settle(storage)
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
