"""Facts about errors: once the caller has one, it is freed with all that led to it, such as the values of the call."""

import asyncio
import gc
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from swarm_persistence import (
    BlockingStorage,
    ConflictError,
    DatabaseError,
    SqliteStorage,
    Storage,
    StorageError,
    open_storage,
)
from swarm_persistence.engines.sql.sqlite import file_identity
from swarm_persistence_conformance.records import a_task, an_agent

CALLS = 10

Errors = weakref.WeakSet[StorageError]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Errors:
    """Give the errors that exist."""
    made: Errors = weakref.WeakSet()
    make = StorageError.__init__

    def noted(self: StorageError, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        made.add(self)

    monkeypatch.setattr(StorageError, "__init__", noted)
    return made


def left(made: Errors) -> int:
    """Return how many errors a garbage collection leaves, without those of the last call, which a thread may keep."""
    gc.collect()
    return max(len(made) - 3, 0)


async def in_a_transaction(storage: Storage) -> None:
    async with storage.transaction():
        await storage.store_agent(an_agent())


def block_in_a_transaction(storage: BlockingStorage) -> None:
    with storage.transaction():
        storage.store_agent(an_agent())


async def together(storage: Storage) -> None:
    calls = [asyncio.create_task(storage.store_agent(an_agent())) for _ in range(3)]
    await asyncio.wait(calls)
    for call in calls:
        call.result()


CONFLICTS: dict[str, Callable[[Any], Any]] = {
    "one": lambda storage: storage.store_agent(an_agent()),
    "a list": lambda storage: storage.store_many([an_agent("other"), an_agent()]),
}
FAILURES: dict[str, Callable[[Any], Any]] = {
    "write": lambda storage: storage.store_task(a_task()),
    "claim": lambda storage: storage.claim_next_task("agent-1"),
    "point read": lambda storage: storage.get_agent("agent-1"),
    "list": lambda storage: storage.list_agents(),
    "upkeep": lambda storage: storage.checkpoint(),
}
IN_TRANSACTION = {"in a transaction": in_a_transaction}
TOGETHER = {"together": together}
BLOCKING_IN_TRANSACTION = {"in a transaction": block_in_a_transaction}


@pytest.fixture
def noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each read look whether the file is still there."""
    monkeypatch.setattr(file_identity, "_LONGEST_TRUST_OF_READS_SECONDS", -1)


class TestAsync:
    @pytest.fixture(autouse=True)
    async def agent(self, storage: SqliteStorage) -> None:
        await storage.store_agent(an_agent())

    @pytest.mark.parametrize("name", [*CONFLICTS, *IN_TRANSACTION, *TOGETHER])
    async def test_conflicts(self, storage: SqliteStorage, made: Errors, name: str) -> None:
        call = (CONFLICTS | IN_TRANSACTION | TOGETHER)[name]
        for _ in range(CALLS):
            with pytest.raises(ConflictError):
                await call(storage)

        assert left(made) == 0

    async def test_conflicts_of_cancelled_callers(self, storage: SqliteStorage, made: Errors) -> None:
        for turn in range(CALLS):
            calls = [asyncio.create_task(storage.store_agent(an_agent())) for _ in range(3)]
            for _ in range(turn % 4):
                await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)

        with suppress(ConflictError):
            await storage.store_agent(an_agent())
        del call, calls
        assert left(made) == 0

    @pytest.mark.usefixtures("noticed_at_once")
    @pytest.mark.parametrize("name", [*FAILURES, *IN_TRANSACTION])
    async def test_failures(self, storage: SqliteStorage, path: Path, made: Errors, name: str) -> None:
        call = (FAILURES | IN_TRANSACTION)[name]
        await storage.list_agents()
        os.rename(path, f"{path}.moved")

        for _ in range(CALLS):
            with pytest.raises(DatabaseError):
                await call(storage)

        assert left(made) == 0


class TestBlocking:
    @pytest.fixture
    def storage(self, path: Path) -> Iterator[BlockingStorage]:
        with open_storage(path) as storage:
            storage.store_agent(an_agent())
            yield storage

    @pytest.mark.parametrize("name", [*CONFLICTS, *BLOCKING_IN_TRANSACTION])
    def test_conflicts(self, storage: BlockingStorage, made: Errors, name: str) -> None:
        call = (CONFLICTS | BLOCKING_IN_TRANSACTION)[name]
        for _ in range(CALLS):
            with pytest.raises(ConflictError):
                call(storage)

        assert left(made) == 0

    @pytest.mark.usefixtures("noticed_at_once")
    @pytest.mark.parametrize("name", [*FAILURES, *BLOCKING_IN_TRANSACTION])
    def test_failures(self, storage: BlockingStorage, path: Path, made: Errors, name: str) -> None:
        call = (FAILURES | BLOCKING_IN_TRANSACTION)[name]
        storage.list_agents()
        os.rename(path, f"{path}.moved")

        for _ in range(CALLS):
            with pytest.raises(DatabaseError):
                call(storage)

        assert left(made) == 0
