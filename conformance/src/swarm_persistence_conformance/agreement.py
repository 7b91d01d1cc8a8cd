"""Facts about agreement: on random input, a storage answers as `MemoryStorage` and the reference model do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from swarm_persistence import MemoryStorage, Storage
from swarm_persistence_conformance.fixtures import OpenStorage
from swarm_persistence_conformance.random_operations import assert_storages_agree
from swarm_persistence_conformance.random_queries import assert_queries_agree
from swarm_persistence_conformance.random_task_verbs import assert_tasks_match_model


@asynccontextmanager
async def open_memory() -> AsyncIterator[Storage]:
    """Open the storage with which the others are compared."""
    async with MemoryStorage() as storage:
        yield storage


class TestAgreement:
    """All storages give the same answers.

    The examples are fewer than the functions' defaults, since every run of the suite pays for them.
    """

    def test_random_operations_and_transactions_leave_the_same(self, open_storage: OpenStorage) -> None:
        assert_storages_agree(open_memory, open_storage, 25)

    def test_random_queries_find_the_same(self, open_storage: OpenStorage) -> None:
        assert_queries_agree(open_memory, open_storage, 60)

    def test_random_verbs_of_tasks_match_the_reference_model(self, open_storage: OpenStorage) -> None:
        assert_tasks_match_model(open_storage, 40)
