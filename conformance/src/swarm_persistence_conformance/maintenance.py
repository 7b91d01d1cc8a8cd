"""Facts about maintenance: vacuum, checkpoint, size and pool status."""

import asyncio
from typing import Any

import pytest

from swarm_persistence import EventModel, MigrationError, Storage, TaskModel, TransactionError
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, an_event, complete_records, everything_in, ids


@pytest.mark.asyncio
class TestMaintenance:
    """The contract of the maintenance verbs."""

    @pytest.mark.parametrize("verb", ["vacuum", "checkpoint"])
    async def test_maintenance_keeps_every_record(self, storage: Storage, verb: str) -> None:
        await storage.store_many(complete_records())
        before = await everything_in(storage)

        await getattr(storage, verb)()

        assert await everything_in(storage) == before

    @pytest.mark.parametrize("verb", ["vacuum", "checkpoint"])
    async def test_maintenance_of_an_empty_storage_is_fine(self, storage: Storage, verb: str) -> None:
        await getattr(storage, verb)()
        await storage.store_task(a_task())

        assert ids(await storage.get_pending_tasks()) == ["task-1"]

    @pytest.mark.parametrize("verb", ["vacuum", "checkpoint"])
    async def test_maintenance_within_a_transaction_is_refused_at_once_and_harms_nothing(
        self, storage: Storage, verb: str
    ) -> None:
        async with storage.transaction():
            await storage.store_task(a_task())
            with pytest.raises(TransactionError, match=verb):
                await getattr(storage, verb)()

        assert ids(await storage.get_pending_tasks()) == ["task-1"]

    async def test_an_opened_storage_has_the_latest_schema(self, storage: Storage) -> None:
        status = await storage.migration_status()

        assert status.version == status.latest == len(status.applied)

    async def test_migrating_to_the_version_that_is_there_keeps_every_record(self, storage: Storage) -> None:
        await storage.store_many(complete_records())
        before = await everything_in(storage)

        await storage.migrate_to((await storage.migration_status()).version)

        assert await everything_in(storage) == before

    @pytest.mark.parametrize("version", [-1, 10_000, "1", None])
    async def test_an_unknown_schema_version_is_refused(self, storage: Storage, version: Any) -> None:
        with pytest.raises(MigrationError, match=repr(version)):
            await storage.migrate_to(version)

    async def test_a_vacuum_keeps_the_order_of_arrival(self, storage: Storage) -> None:
        await storage.store_many([a_task(id) for id in ("m", "gone", "z", "a")])
        await storage.repository(TaskModel).delete("gone")

        await storage.vacuum()
        await storage.store_task(a_task("b"))

        assert ids(await storage.get_pending_tasks()) == ["m", "z", "a", "b"]

    async def test_a_vacuum_keeps_the_sequence_of_events_rising(self, storage: Storage) -> None:
        first, second = an_event("first"), an_event("second")
        await storage.store_event(first)
        await storage.repository(EventModel).delete("first")

        await storage.vacuum()
        await storage.store_event(second)

        assert (second.sequence or 0) > (first.sequence or 0)

    async def test_the_size_is_a_number_of_bytes(self, storage: Storage) -> None:
        size = await storage.get_storage_size()

        assert (type(size), size >= 0) == (int, True)

    async def test_the_size_grows_with_what_is_stored(self, storage: Storage) -> None:
        before = await storage.get_storage_size()

        await storage.store_many([a_task(f"task-{number}", payload="x" * 1_000) for number in range(1_000)])

        assert await storage.get_storage_size() >= before + 500_000

    async def test_a_vacuum_gives_back_the_room_of_what_was_deleted(self, storage: Storage) -> None:
        await storage.store_many([a_task(f"task-{number}", payload="x" * 1_000) for number in range(1_000)])
        await storage.checkpoint()
        full = await storage.get_storage_size()
        tasks = storage.repository(TaskModel)
        async with storage.transaction():
            for number in range(1_000):
                await tasks.delete(f"task-{number}")

        await storage.vacuum()
        await storage.checkpoint()

        assert await storage.get_storage_size() < full - 500_000


@pytest.mark.asyncio
class TestPoolStatus:
    """The numbers of `pool_status`."""

    async def test_a_storage_at_rest_is_not_active_and_no_one_waits(self, storage: Storage) -> None:
        await storage.store_task(a_task())

        status = storage.pool_status()

        assert (status.active, status.waiting) == (0, 0)
        assert 0 <= status.idle <= status.max
        assert status.max >= 1

    async def test_an_open_transaction_is_active(self, storage: Storage) -> None:
        async with storage.transaction():
            assert storage.pool_status().active >= 1

        assert storage.pool_status().active == 0

    async def test_one_who_waits_to_write_is_counted(self, storage: Storage) -> None:
        async with storage.transaction():
            writer = elsewhere(storage.store_task(a_task("other's")))
            await asyncio.sleep(0)
            await storage.store_task(a_task("ours"))
            waiting = storage.pool_status().waiting
        await writer

        assert (waiting, storage.pool_status().waiting) == (1, 0)
