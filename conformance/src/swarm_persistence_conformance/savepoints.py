"""Facts about nested transactions: rolling one back undoes its own writes only."""

import asyncio
from contextlib import suppress

import pytest

from swarm_persistence import ConflictError, Storage, TransactionError
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, an_agent, ids


async def pending(storage: Storage) -> list[str]:
    """Return the ids of the pending tasks."""
    return ids(await storage.get_pending_tasks())


@pytest.mark.asyncio
class TestNestedTransactions:
    """The contract of nested transactions."""

    async def test_a_nested_commit_is_kept_with_the_outer_one(self, storage: Storage) -> None:
        async with storage.transaction():
            await storage.store_task(a_task("outer"))
            async with storage.transaction():
                await storage.store_task(a_task("inner"))

        assert await pending(storage) == ["outer", "inner"]

    async def test_a_nested_rollback_undoes_its_own_part_only(self, storage: Storage) -> None:
        async with storage.transaction():
            await storage.store_task(a_task("before"))
            nested = await storage.begin_transaction()
            await storage.store_task(a_task("inner"))
            await nested.rollback()
            await storage.store_task(a_task("after"))

        assert await pending(storage) == ["before", "after"]

    async def test_an_outer_rollback_undoes_what_a_nested_one_has_committed(self, storage: Storage) -> None:
        outer = await storage.begin_transaction()
        async with storage.transaction():
            await storage.store_task(a_task("inner"))

        await outer.rollback()

        assert await pending(storage) == []

    async def test_a_nested_commit_is_not_visible_to_others(self, storage: Storage) -> None:
        async with storage.transaction():
            async with storage.transaction():
                await storage.store_task(a_task("inner"))

            assert await elsewhere(pending(storage)) == []

    async def test_a_nested_one_sees_the_work_of_the_outer_one(self, storage: Storage) -> None:
        async with storage.transaction():
            await storage.store_task(a_task("outer"))
            async with storage.transaction():
                assert await pending(storage) == ["outer"]

    async def test_an_exception_that_is_caught_outside_the_nested_one_harms_nothing_else(
        self, storage: Storage
    ) -> None:
        async with storage.transaction():
            await storage.store_task(a_task("before"))
            with suppress(ZeroDivisionError):
                async with storage.transaction():
                    await storage.store_task(a_task("inner"))
                    raise ZeroDivisionError

        assert await pending(storage) == ["before"]

    async def test_three_levels_undo_each_their_own(self, storage: Storage) -> None:
        async with storage.transaction():
            await storage.store_task(a_task("1"))
            async with storage.transaction():
                await storage.store_task(a_task("2"))
                with suppress(ZeroDivisionError):
                    async with storage.transaction():
                        await storage.store_task(a_task("3"))
                        raise ZeroDivisionError
                await storage.store_task(a_task("4"))

        assert await pending(storage) == ["1", "2", "4"]

    async def test_a_middle_rollback_undoes_what_was_committed_within(self, storage: Storage) -> None:
        async with storage.transaction():
            await storage.store_task(a_task("1"))
            middle = await storage.begin_transaction()
            async with storage.transaction():
                await storage.store_task(a_task("3"))
            await middle.rollback()

        assert await pending(storage) == ["1"]

    async def test_nested_ones_may_follow_each_other(self, storage: Storage) -> None:
        async with storage.transaction():
            for number in range(6):
                nested = await storage.begin_transaction()
                await storage.store_task(a_task(str(number)))
                await (nested.commit() if number % 2 else nested.rollback())

        assert await pending(storage) == ["1", "3", "5"]

    async def test_a_nested_one_survives_a_conflict(self, storage: Storage) -> None:
        await storage.store_task(a_task("known"))

        async with storage.transaction():
            await storage.store_task(a_task("before"))
            with suppress(ConflictError):
                async with storage.transaction():
                    await storage.store_task(a_task("inner"))
                    await storage.store_task(a_task("known"))
            await storage.store_task(a_task("after"))

        assert await pending(storage) == ["known", "before", "after"]

    async def test_a_conflict_within_dooms_the_nested_one(self, storage: Storage) -> None:
        await storage.store_task(a_task("known"))

        async with storage.transaction():
            nested = await storage.begin_transaction()
            with suppress(ConflictError):
                await storage.store_task(a_task("known"))
            with pytest.raises(TransactionError, match="known"):
                await nested.commit()
            await storage.store_task(a_task("after"))

        assert await pending(storage) == ["known", "after"]

    async def test_a_nested_rollback_takes_back_the_versions_of_its_own_part(self, storage: Storage) -> None:
        first, second = a_task("first"), an_agent("second")
        async with storage.transaction():
            await storage.store_task(first)
            nested = await storage.begin_transaction()
            await storage.update_task(first)
            await storage.store_agent(second)
            await nested.rollback()

        assert (first.version, second.version) == (1, 0)

    async def test_an_outer_rollback_takes_back_the_versions_of_a_nested_one(self, storage: Storage) -> None:
        task = a_task()
        outer = await storage.begin_transaction()
        async with storage.transaction():
            await storage.store_task(task)

        await outer.rollback()

        assert task.version == 0

    async def test_a_finished_nested_one_refuses_more(self, storage: Storage) -> None:
        async with storage.transaction():
            nested = await storage.begin_transaction()
            await nested.commit()

            with pytest.raises(TransactionError, match="over"):
                await nested.rollback()

    async def test_an_outer_one_cannot_be_committed_while_a_nested_one_is_open(self, storage: Storage) -> None:
        outer = await storage.begin_transaction()
        nested = await storage.begin_transaction()
        await storage.store_task(a_task())

        with pytest.raises(TransactionError, match="nested"):
            await outer.commit()
        with pytest.raises(TransactionError):
            await nested.commit()
        assert await pending(storage) == []

    async def test_an_outer_rollback_ends_the_nested_one_that_is_open(self, storage: Storage) -> None:
        outer = await storage.begin_transaction()
        nested = await storage.begin_transaction()
        await storage.store_task(a_task("undone"))

        await outer.rollback()

        with pytest.raises(TransactionError):
            await nested.commit()
        await storage.store_task(a_task("after"))
        assert await elsewhere(pending(storage)) == ["after"]

    async def test_a_nested_one_that_was_never_ended_does_not_block_later_calls(self, storage: Storage) -> None:
        outer = await storage.begin_transaction()
        nested = await storage.begin_transaction()
        await outer.rollback()

        await storage.store_task(a_task())

        assert not nested.is_open
        assert await elsewhere(pending(storage)) == ["task-1"]

    async def test_a_dropped_nested_one_rolls_all_of_it_back_with_a_warning(self, storage: Storage) -> None:
        outer = await storage.begin_transaction()
        await storage.store_task(a_task("outer"))
        nested = [await storage.begin_transaction()]

        with pytest.warns(ResourceWarning, match="dropped"):
            nested.clear()

        with pytest.raises(TransactionError, match="nested"):
            await outer.commit()
        assert await pending(storage) == []

    async def test_nested_ones_of_parallel_tasks_do_not_mix(self, storage: Storage) -> None:
        async def nested(name: str, is_kept: bool) -> None:
            transaction = await storage.begin_transaction()
            await storage.store_task(a_task(f"{name}-1"))
            await asyncio.sleep(0)
            await storage.store_task(a_task(f"{name}-2"))
            await (transaction.commit() if is_kept else transaction.rollback())

        async with storage.transaction():
            await asyncio.gather(nested("a", True), nested("b", False), nested("c", True), nested("d", False))

        assert sorted(await pending(storage)) == ["a-1", "a-2", "c-1", "c-2"]

    async def test_a_sibling_that_fails_leaves_the_others_work(self, storage: Storage) -> None:
        await storage.store_task(a_task("known"))

        async def nested(id: str) -> None:
            async with storage.transaction():
                await storage.store_task(a_task(f"{id}-first"))
                await storage.store_task(a_task(id))

        async with storage.transaction():
            outcomes = await asyncio.gather(nested("a"), nested("known"), nested("b"), return_exceptions=True)

        assert [type(outcome) for outcome in outcomes] == [type(None), ConflictError, type(None)]
        assert sorted(await pending(storage)) == ["a", "a-first", "b", "b-first", "known"]

    async def test_plain_calls_of_parallel_tasks_are_not_undone_by_a_nested_rollback(self, storage: Storage) -> None:
        async def undone() -> None:
            nested = await storage.begin_transaction()
            await storage.store_task(a_task("undone"))
            await asyncio.sleep(0)
            await nested.rollback()

        async with storage.transaction():
            await asyncio.gather(undone(), storage.store_task(a_task("kept")))

        assert await pending(storage) == ["kept"]
