"""Records that are old enough to be pruned, and steps that are interrupted."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from postgres.periods import pass_a_period
from swarm_persistence import EventModel, PostgresStorage
from swarm_persistence.clock import now

OLD = timedelta(days=90)
AGE = timedelta(days=30)


def old_event(id: str, **fields: Any) -> EventModel:
    """Return an event of three months ago."""
    return EventModel(id=id, event_type="old", timestamp=now() - OLD, **fields)


async def store_an_old_period(storage: PostgresStorage, admin: asyncpg.Connection) -> None:
    """Store three events of a period that is over."""
    await storage.store_many([old_event(id) for id in "abc"])
    await pass_a_period(storage, admin)


@contextmanager
def interrupted_at(cls: type, step: str) -> Iterator[None]:
    """Let a step of a class fail within the block, which must reach it."""

    async def fail(*_: object) -> int:
        return 1 // 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cls, step, fail)
        with pytest.raises(ZeroDivisionError):
            yield
