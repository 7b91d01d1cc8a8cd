"""Which commits the high-water marks show: each one once, also one that others with higher numbers have overtaken."""

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
import pytest_asyncio

from polling import until
from swarm_persistence import PostgresStorage, Storage
from swarm_persistence.engines.sql.postgres.notifications import WriteMarks
from swarm_persistence.engines.watches import Watches
from swarm_persistence.schema.tables import EVENTS, TASKS
from swarm_persistence_conformance.records import a_task, an_agent, an_event

Look = Callable[[], Awaitable[bool]]


@pytest_asyncio.fixture
async def look(storage: PostgresStorage, schema: str, admin: asyncpg.Connection) -> AsyncIterator[Look]:
    """Give a function that tells whether the marks of events and tasks show a commit since its last call."""
    marks, watches = WriteMarks(), Watches()
    watch = watches.add((EVENTS, TASKS))
    marks.add(watches, schema)

    async def look() -> bool:
        text, watched = marks.query()
        ((snapshot, *found),) = await admin.fetch(text)
        return marks.changed_watches(watched, found, snapshot) == [watches]

    assert await look()
    await until_none_is_shown(look)
    yield look
    watch.close()


async def write(storage: Storage, kind: str, id: str) -> None:
    """Write a record of a numbered table, or of a followed one."""
    await (storage.store_event(an_event(id)) if kind == "event" else storage.store_task(a_task(id)))


async def until_none_is_shown(look: Look) -> None:
    """Wait until no commit is shown: one of the server's own may have been open when the marks moved."""

    async def is_none_shown() -> bool:
        return not await look()

    await until(is_none_shown)


@pytest.mark.parametrize("kind", ["event", "task"])
async def test_a_commit_is_shown_once(storage: PostgresStorage, look: Look, kind: str) -> None:
    await write(storage, kind, "a")

    assert await look()
    await until_none_is_shown(look)


@pytest.mark.parametrize("kind", ["event", "task"])
async def test_a_commit_that_a_later_one_has_overtaken_is_shown_once_it_is_made(
    storage: PostgresStorage, other: PostgresStorage, look: Look, kind: str
) -> None:
    async with storage.transaction():
        await write(storage, kind, "early")
        await write(other, kind, "late")
        assert await look()
        await until_none_is_shown(look)

    assert await look()
    await until_none_is_shown(look)


async def test_a_commit_to_a_table_that_is_not_watched_is_not_shown(storage: PostgresStorage, look: Look) -> None:
    async with storage.transaction():
        await storage.store_agent(an_agent())
        assert not await look()

    assert not await look()
