"""The fixtures that the facts ask for, all made from the one that the user gives: `open_storage`."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager

import pytest
import pytest_asyncio

from swarm_persistence.clock import ManualClock, use_clock
from swarm_persistence.storage import Storage

OpenStorage = Callable[[], AbstractAsyncContextManager[Storage]]
"""Opens a fresh, empty storage each time it is called; leaving the block closes it."""


@pytest_asyncio.fixture
async def storage(open_storage: OpenStorage) -> AsyncIterator[Storage]:
    """Give a fresh, empty storage."""
    async with open_storage() as storage:
        yield storage


@pytest.fixture
def clock() -> Iterator[ManualClock]:
    """Let the time stand still until the test moves it."""
    clock = ManualClock()
    with use_clock(clock):
        yield clock
