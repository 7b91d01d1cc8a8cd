"""Facts about scopes: nested ones that are dropped or left open, begins that fail, and processes that fork."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextvars import copy_context
from pathlib import Path

import pytest
import pytest_asyncio

from sqlite.programs import run_program
from swarm_persistence import MemoryStorage, PoolError, SqliteStorage, Storage, Transaction, TransactionError
from swarm_persistence.storage.scopes import innermost_scope
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import an_agent, ids


@pytest_asyncio.fixture(params=["sqlite", "memory"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    if request.param == "memory":
        async with MemoryStorage(connection_timeout=0.05) as storage:
            yield storage
    else:
        async with await SqliteStorage.builder().connection_timeout(0.05).build(tmp_path / "swarm.db") as storage:
            yield storage


def drop_nested(storage: Storage) -> "asyncio.Future[None]":
    async def begin_and_forget() -> None:
        await storage.begin_transaction()

    return asyncio.ensure_future(begin_and_forget())


class TestNested:
    async def test_one_that_is_dropped_dooms_the_outer_one_instead_of_blocking_it(self, storage: Storage) -> None:
        outer = await storage.begin_transaction()
        await storage.store_agent(an_agent())
        with pytest.warns(ResourceWarning, match=r"was dropped|outlived"):  # noqa: PT031 - a drop takes its time
            await drop_nested(storage)
            gc.collect()
            await asyncio.sleep(0)

        async with asyncio.timeout(10):
            with pytest.raises(TransactionError, match=r"a nested transaction .* without commit or rollback"):
                await storage.store_agent(an_agent("another"))
            with pytest.raises(TransactionError, match=r"a nested transaction .* without commit or rollback"):
                await outer.commit()
            await storage.store_agent(an_agent("after"))
        assert ids(await storage.list_agents()) == ["after"]

    async def test_one_that_is_still_open_refuses_the_outer_ones_commit(self, storage: Storage) -> None:
        outer = await storage.begin_transaction()
        await storage.store_agent(an_agent("outer"))
        nested = await storage.begin_transaction()
        await storage.store_agent(an_agent("nested"))

        with pytest.raises(TransactionError, match="a nested transaction was still open"):
            await outer.commit()

        assert not nested.is_open
        with pytest.raises(TransactionError, match="over already"):
            await nested.commit()
        assert await storage.list_agents() == []

    async def test_one_whose_outer_one_was_rolled_back_never_reports_success(self, storage: Storage) -> None:
        async def work() -> None:
            outer = await storage.begin_transaction()
            async with storage.transaction():
                await storage.store_agent(an_agent())
                await outer.rollback()

        with pytest.raises(TransactionError, match="over already"):
            await elsewhere(work())

        assert await storage.list_agents() == []

    async def test_an_error_in_one_whose_outer_one_was_rolled_back_stays_itself(self, storage: Storage) -> None:
        async def work() -> None:
            outer = await storage.begin_transaction()
            async with storage.transaction():
                await outer.rollback()
                raise ValueError("its own")

        with pytest.raises(ValueError, match="its own"):
            await elsewhere(work())

    @pytest.mark.parametrize("end", ["rollback", "drop"])
    @pytest.mark.filterwarnings("ignore:A transaction")
    async def test_a_call_that_waits_for_a_nested_one_learns_that_all_is_over(self, storage: Storage, end: str) -> None:
        outer = await storage.begin_transaction()
        is_nested, is_enough = asyncio.Event(), asyncio.Event()

        async def nest() -> None:
            nested = await storage.begin_transaction()
            is_nested.set()
            await is_enough.wait()
            assert nested.is_open == (end == "drop")  # and this task ends without another word

        async def wait() -> None:
            await is_nested.wait()
            await storage.store_agent(an_agent())

        nesting, waiting = asyncio.create_task(nest()), asyncio.create_task(wait())
        await is_nested.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        if end == "rollback":
            await outer.rollback()
        is_enough.set()

        async with asyncio.timeout(10):
            with pytest.raises(TransactionError):
                await waiting
        await nesting
        if outer.is_open:
            await outer.rollback()
        assert await storage.list_agents() == []


class TestBegin:
    async def test_one_that_fails_leaves_nothing_behind_in_its_context(self, storage: Storage) -> None:
        async with storage.transaction():

            async def try_again_and_again() -> int:
                for _ in range(5):
                    with pytest.raises(PoolError):
                        await storage.begin_transaction()
                return depth()

            assert await elsewhere(try_again_and_again()) <= 1

    async def test_once_another_task_has_ended_it_calls_stand_alone(self, storage: Storage) -> None:
        async def fail_then_store() -> None:
            with pytest.raises(PoolError):
                await storage.begin_transaction()
            await transaction.rollback()
            await storage.store_agent(an_agent())

        transaction = await storage.begin_transaction()
        await elsewhere(fail_then_store())

        assert ids(await storage.list_agents()) == ["agent-1"]


def depth() -> int:
    """Return how many scopes are bound to this context."""
    count, binding = 0, innermost_scope()
    while binding is not None:
        count, binding = count + 1, binding.outer
    return count


class TestEndsElsewhere:
    """A transaction that ends in another context than it began in leaves the first one as if it had ended there."""

    async def test_transactions_that_other_tasks_end_do_not_pile_up(self, storage: Storage) -> None:
        async def finish(transaction: Transaction) -> None:
            await transaction.commit()

        for _ in range(3):
            await elsewhere(finish(await storage.begin_transaction()))
            assert depth() == 1

        assert await storage.list_agents() == []
        assert depth() == 0

    async def test_the_first_call_after_a_drop_unbinds_what_was_dropped(self, storage: Storage) -> None:
        with pytest.warns(ResourceWarning, match="was dropped"):
            await storage.begin_transaction()

        await storage.store_agent(an_agent())

        assert depth() == 0

    def test_calls_outside_of_tasks_go_on_after_an_end_within_one(self, tmp_path: Path) -> None:
        async def finish(transaction: Transaction) -> None:
            await transaction.commit()

        def use_from_the_top_level() -> None:
            run = runner.get_loop().run_until_complete
            storage = run(SqliteStorage.open(tmp_path / "swarm.db"))
            transaction = run(storage.begin_transaction())
            run(storage.store_agent(an_agent("inside")))
            run(finish(transaction))

            run(storage.store_agent(an_agent("after")))
            assert set(ids(run(storage.list_agents()))) == {"inside", "after"}
            run(run_and_close(storage))

        async def run_and_close(storage: Storage) -> None:
            async with storage.transaction():
                await storage.store_agent(an_agent("in another one"))
            await storage.close()

        with asyncio.Runner() as runner:
            copy_context().run(use_from_the_top_level)


class TestForks:
    @pytest.mark.parametrize("target", [":memory:", "swarm.db"])
    def test_a_child_drops_its_parents_transaction_without_a_word(self, tmp_path: Path, target: str) -> None:
        lines = run_program(
            """
            import gc, os, sys
            from swarm_persistence import AgentModel, ClosedError, open_storage

            with open_storage(sys.argv[1]) as storage:
                transaction = storage.begin_transaction()
                storage.store_agent(AgentModel(name="", agent_type=""))
                if child := os.fork():
                    assert os.waitpid(child, 0)[1] == 0
                    transaction.commit()
                    print(len(storage.list_agents()))
                else:
                    try:
                        transaction.commit()
                    except ClosedError:
                        print("told", flush=True)
                    transaction = None
                    gc.collect()
                    os._exit(0)
            """,
            target if target == ":memory:" else tmp_path / target,
        )

        assert lines == ["told", "1"]
