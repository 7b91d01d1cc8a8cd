"""Facts about agreement: a storage answers as `MemoryStorage` and as a plain model do, whatever it is asked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from swarm_persistence import MemoryStorage, Storage
from swarm_persistence_conformance.coordination import assert_tasks_as_foretold
from swarm_persistence_conformance.fixtures import OpenStorage
from swarm_persistence_conformance.machine import assert_storages_agree
from swarm_persistence_conformance.random_queries import assert_queries_agree


@asynccontextmanager
async def open_memory() -> AsyncIterator[Storage]:
    """Open the storage that the others are compared with."""
    async with MemoryStorage() as storage:
        yield storage


class TestAgreement:
    """What any two storages have in common: every answer.

    With fewer examples than the functions take by themselves: every storage that runs the suite has to wait for them.
    """

    def test_random_operations_and_transactions_leave_the_same(self, open_storage: OpenStorage) -> None:
        assert_storages_agree(open_memory, open_storage, 25)

    def test_random_queries_find_the_same(self, open_storage: OpenStorage) -> None:
        assert_queries_agree(open_memory, open_storage, 60)

    def test_random_verbs_of_tasks_do_what_a_plain_model_foretells(self, open_storage: OpenStorage) -> None:
        assert_tasks_as_foretold(open_storage, 40)
