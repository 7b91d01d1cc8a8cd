"""Facts about what holds connections: it is neither pickled nor copied, and the error says what to do instead."""

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarm_persistence import AgentModel, MemoryStorage, SqliteStorage, StorageError, open_storage

WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": pickle.dumps,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle within others": lambda value: pickle.dumps({"storage": [value]}),
}
ADVICE = "pass the path or the URL on, and open a storage of its own there"


def hold(_storage: object) -> None:
    """Do what a child process would do."""


@pytest.mark.parametrize("way", WAYS)
async def test_a_storage_and_what_belongs_to_it_says_what_to_do(tmp_path: Path, way: str) -> None:
    async with MemoryStorage() as memory, await SqliteStorage.open(tmp_path / "swarm.db") as storage:
        for held in (memory, storage, storage.repository(AgentModel), storage.transaction()):
            with pytest.raises(StorageError, match=ADVICE):
                WAYS[way](held)
        async with storage.transaction() as transaction:
            with pytest.raises(StorageError, match=ADVICE):
                WAYS[way](transaction)


@pytest.mark.parametrize("way", WAYS)
def test_the_blocking_form_says_it_too(tmp_path: Path, way: str) -> None:
    with open_storage(tmp_path / "swarm.db") as storage:
        for held in (storage, storage.repository(AgentModel), storage.transaction()):
            with pytest.raises(StorageError, match=ADVICE):
                WAYS[way](held)
        with storage.transaction() as transaction, pytest.raises(StorageError, match=ADVICE):
            WAYS[way](transaction)


def test_a_spawned_process_is_not_started_with_one(tmp_path: Path) -> None:
    with open_storage(tmp_path / "swarm.db") as storage:
        process = multiprocessing.get_context("spawn").Process(target=hold, args=(storage,))

        with pytest.raises(StorageError, match=r"BlockingSqliteStorage\('.*swarm.db'\) can be neither pickled"):
            process.start()
