"""Facts about watches: a commit wakes the watchers of its tables, and no others."""

import asyncio

import pytest

from swarm_persistence.engines.watches import TableWatch, Watches
from swarm_persistence.errors import ClosedError
from swarm_persistence.schema.tables import EVENTS, MESSAGES, TASKS


async def is_notified(watch: TableWatch) -> bool:
    """Tell whether it has rung; one that has not yet gets no time to."""
    return await watch.wait(0)


async def test_a_commit_wakes_those_who_watch_one_of_its_tables_alone() -> None:
    watches = Watches()
    tasks, events, both = watches.add((TASKS,)), watches.add((EVENTS,)), watches.add((TASKS, EVENTS))

    watches.notify({TASKS.name, MESSAGES.name})

    assert [await is_notified(watch) for watch in (tasks, events, both)] == [True, False, True]


async def test_a_commit_of_unknown_tables_wakes_all() -> None:
    watches = Watches()
    tasks, events = watches.add((TASKS,)), watches.add((EVENTS,))

    watches.notify()

    assert [await is_notified(watch) for watch in (tasks, events)] == [True, True]


async def test_what_has_woken_a_watch_wakes_it_once() -> None:
    watches = Watches()
    watch = watches.add((TASKS,))

    watches.notify({TASKS.name})
    watches.notify({TASKS.name})

    assert [await is_notified(watch), await is_notified(watch)] == [True, False]


async def test_a_commit_that_one_wait_has_returned_ends_no_later_wait() -> None:
    watches = Watches()
    watch = watches.add((TASKS,))

    async def commit_later() -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        watches.notify({TASKS.name})

    watches.notify({TASKS.name})
    assert await watch.wait()  # returns at once: the loop has not yet run what wakes its waits

    commit = asyncio.ensure_future(commit_later())
    assert await watch.wait()
    await commit


async def test_a_watch_that_was_closed_is_woken_no_more() -> None:
    watches = Watches()
    watch = watches.add((TASKS,))
    watch.close()

    watches.notify()

    assert not await is_notified(watch)
    assert watches.is_empty


async def test_all_learn_that_the_storage_was_closed() -> None:
    watches = Watches()
    waiting = asyncio.create_task(watches.add((TASKS,)).wait())
    await asyncio.sleep(0)

    watches.close()

    with pytest.raises(ClosedError):
        await waiting
    with pytest.raises(ClosedError):
        watches.add((TASKS,))
