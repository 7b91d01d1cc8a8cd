"""Facts about a server that fails while it is used: an error or another try, no hang, and no false success."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from polling import until
from postgres.conftest import a_lock_is_waited_for
from postgres.servers import Server, embedded_programs, new_server
from swarm_persistence import (
    CollisionError,
    DatabaseError,
    OutcomeUnknownError,
    PoolError,
    PostgresStorage,
    TaskModel,
    TaskStatus,
    TransactionError,
)
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, an_agent, an_event, ids

END_ALL = """
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@pytest_asyncio.fixture
async def own_server() -> AsyncIterator[Server]:
    """Give a server that the test may ill-treat."""
    with new_server(embedded_programs()) as server:
        yield server


class TestLostConnections:
    async def test_a_read_and_a_store_go_on_when_their_connections_have_died(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await asyncio.gather(*(storage.store_task(a_task(str(number))) for number in range(10)))
        await admin.execute(END_ALL)

        await asyncio.gather(storage.store_task(a_task("after")), storage.get_task("1"), storage.list_agents())

        assert len(await storage.get_pending_tasks()) == 11

    async def test_stores_whose_answers_are_lost_are_stored_once(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        tasks = [a_task(str(number), payload=number) for number in range(600)]

        for start in range(0, 600, 20):
            stores = [elsewhere(storage.store_task(task)) for task in tasks[start : start + 20]]
            for _ in range(start // 20):  # each time at another moment
                await asyncio.sleep(0)
            await admin.execute(END_ALL)
            await asyncio.gather(*stores)

        stored = await storage.repository(TaskModel).find_all()
        assert sorted(task.payload for task in stored) == [*range(600)]

    async def test_a_claim_whose_answer_is_lost_says_that_its_outcome_is_unknown(
        self, storage: PostgresStorage, other: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await storage.store_task(a_task())
        transaction = await other.begin_transaction()
        await other.claim_task("task-1", "first")
        claim = elsewhere(storage.claim_task("task-1", "second"))
        await a_lock_is_waited_for(admin)

        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

        with pytest.raises(OutcomeUnknownError, match="read it back"):
            await claim
        await transaction.commit()
        assert await storage.claim_task("task-1", "second") is False

    async def test_a_transaction_that_loses_its_connection_is_over(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        transaction = await storage.begin_transaction()
        await storage.store_task(a_task())
        await admin.execute(END_ALL)

        with pytest.raises(CollisionError, match="connection was lost"):
            await storage.store_task(a_task("2"))
        with pytest.raises(TransactionError):
            await transaction.commit()
        await storage.store_task(a_task("3"))
        assert ids(await storage.get_pending_tasks()) == ["3"]

    @pytest.mark.parametrize("has_noticed", [False, True])
    async def test_run_transaction_does_one_again_that_lost_its_connection_before_the_commit(
        self, storage: PostgresStorage, admin: asyncpg.Connection, has_noticed: bool
    ) -> None:
        tries = 0

        async def work() -> None:
            nonlocal tries
            tries += 1
            await storage.store_task(a_task("1"))
            if tries == 1:
                await admin.execute(END_ALL)
                (session,) = storage._engine._loop_engine()._sessions
                if has_noticed:
                    await until(lambda: session._connection.is_closed)
                    return  # the commit finds it closed
            await storage.store_task(a_task("2"))

        await storage.run_transaction(work)

        assert tries == 2
        assert ids(await storage.get_pending_tasks()) == ["1", "2"]

    async def test_a_restart_is_waited_for(self, own_server: Server) -> None:
        async with await PostgresStorage.open(own_server.url()) as storage:
            await storage.store_task(a_task("1"))
            own_server.stop()
            store = elsewhere(storage.store_task(a_task("2")))
            await asyncio.to_thread(own_server.start)
            await store

            assert ids(await storage.get_pending_tasks()) == ["1", "2"]

    async def test_a_server_that_stays_away_is_given_up_in_time(self, own_server: Server) -> None:
        async with await PostgresStorage.builder().connection_timeout(0.5).build(own_server.url()) as storage:
            await asyncio.to_thread(own_server.stop)  # the loop sees the connection end: nothing is sent on it

            with pytest.raises(PoolError, match=f"127.0.0.1:{own_server.port}"):
                async with asyncio.timeout(20):
                    await storage.store_task(a_task())

    async def test_a_server_that_hangs_is_given_up_in_time(self, own_server: Server) -> None:
        builder = PostgresStorage.builder().connection_timeout(0.5).operation_timeout(0.5)
        async with await builder.build(own_server.url()) as storage:
            own_server.pause()
            try:
                async with asyncio.timeout(20):
                    outcomes = await asyncio.gather(
                        storage.store_task(a_task()), storage.get_task("1"), storage.claim_task("1", "a"),
                        return_exceptions=True,
                    )  # fmt: skip
            finally:
                own_server.resume()

            assert all(isinstance(outcome, DatabaseError | PoolError) for outcome in outcomes), outcomes

    async def test_a_server_that_takes_no_writes_is_named(
        self, storage: PostgresStorage, url: str, server: Server
    ) -> None:
        read_only = f"{url}&connection_timeout=1&options=-c%20default_transaction_read_only%3Don"
        async with await PostgresStorage.open(read_only) as reader:
            outcomes = await asyncio.gather(
                *(elsewhere(reader.store_task(a_task(str(number)))) for number in range(5)),
                *(elsewhere(reader.claim_task(str(number), "agent-1")) for number in range(20)),
                return_exceptions=True,
            )  # fmt: skip

        texts = {str(outcome).partition(";")[0] for outcome in outcomes}
        assert texts == {f"Database error: 127.0.0.1:{server.port}: the server is read-only"}


CHECK_FOR_DEADLOCKS_LAST = "SET LOCAL deadlock_timeout = '1min'"
"""Makes the other party of a deadlock, which checks for it after a second, the one that is rolled back."""


class TestCollisions:
    async def test_a_single_operation_that_deadlocks_is_repeated(
        self, storage: PostgresStorage, rival: asyncpg.Connection, admin: asyncpg.Connection
    ) -> None:
        await storage.store_agent(an_agent("a"))
        await storage.store_task(a_task("held"))
        await storage.claim_task("held", "a")
        async with rival.transaction():
            await rival.execute(CHECK_FOR_DEADLOCKS_LAST)
            await rival.execute("UPDATE tasks SET error = error WHERE id = 'held'")
            # delete_agent changes its agent, then its tasks; the rival goes the other way.
            delete = elsewhere(storage.delete_agent("a"))
            await a_lock_is_waited_for(admin)
            await rival.execute("UPDATE agents SET name = name WHERE id = 'a'")
        await delete

        assert await storage.list_agents() == []
        assert ids(await storage.get_pending_tasks()) == ["held"]

    async def test_an_operation_of_several_writes_that_deadlocks_is_repeated(
        self, storage: PostgresStorage, rival: asyncpg.Connection, admin: asyncpg.Connection
    ) -> None:
        # The task has a dependent, so cancelling it is a transaction that changes the task, and then its dependent.
        await storage.store_tasks([a_task("first"), a_task("next", dependencies=["first"])])
        async with rival.transaction():
            await rival.execute(CHECK_FOR_DEADLOCKS_LAST)
            await rival.execute("UPDATE tasks SET error = error WHERE id = 'next'")
            cancel = elsewhere(storage.cancel_task("first"))
            await a_lock_is_waited_for(admin)
            await rival.execute("UPDATE tasks SET error = error WHERE id = 'first'")

        assert await cancel is True
        stored = {task.id: task.status for task in await storage.repository(TaskModel).find_all()}
        assert stored == {"first": TaskStatus.CANCELLED, "next": TaskStatus.FAILED}

    async def test_transactions_that_wait_for_each_other_are_told_to_try_again(
        self, storage: PostgresStorage, other: PostgresStorage
    ) -> None:
        await storage.store_many([a_task("1"), a_task("2")])

        outcomes = await cross(storage, other, in_transaction)

        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["CollisionError", "NoneType"]
        (error,) = (outcome for outcome in outcomes if outcome is not None)
        assert isinstance(error, CollisionError)
        assert "again" in str(error)

    async def test_run_transaction_tries_again(self, storage: PostgresStorage, other: PostgresStorage) -> None:
        await storage.store_many([a_task("1"), a_task("2")])

        outcomes = await cross(storage, other, in_run_transaction)

        assert outcomes == [None, None]
        assert [task.version for task in await storage.repository(TaskModel).find_all()] == [3, 3]


async def in_transaction(storage: PostgresStorage, work):  # type: ignore[no-untyped-def]
    async with storage.transaction():
        await work()


async def in_run_transaction(storage: PostgresStorage, work):  # type: ignore[no-untyped-def]
    await storage.run_transaction(work)


async def cross(first: PostgresStorage, second: PostgresStorage, run) -> Any:  # type: ignore[no-untyped-def]
    """Let two storages change the same two tasks, in opposite orders, at the same time."""
    both_have_one = asyncio.Barrier(2)

    async def change(storage: PostgresStorage, *names: str) -> None:
        is_first_time = True

        async def work() -> None:
            nonlocal is_first_time
            for name in names:
                task = await storage.get_task(name)
                assert task is not None
                await storage.update_task(task, force=True)
                if is_first_time:
                    is_first_time = False
                    await both_have_one.wait()

        await run(storage, work)

    return await asyncio.gather(
        elsewhere(change(first, "1", "2")), elsewhere(change(second, "2", "1")), return_exceptions=True
    )


class TestCancellation:
    async def test_a_cancelled_operation_leaves_no_transaction_open(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        for turns in range(0, 40, 3):
            call = elsewhere(storage.delete_agent("a"))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
        await storage.store_event(an_event())

        open_ones = await admin.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        )
        assert open_ones == 0
        assert storage.pool_status().active == 0

    async def test_a_transaction_that_is_open_for_too_long_is_rolled_back_and_others_go_on(self, url: str) -> None:
        async with await PostgresStorage.builder().transaction_timeout(0.1).build(url) as storage:
            transaction = await storage.begin_transaction()
            await storage.store_task(a_task())
            await elsewhere(storage.store_task(a_task("other's")))

            with pytest.raises(TransactionError, match="transaction_timeout"):
                await transaction.commit()
            assert ids(await storage.get_pending_tasks()) == ["other's"]

    async def test_who_waits_for_another_processes_transaction_for_too_long_is_told(
        self, url: str, storage: PostgresStorage
    ) -> None:
        await storage.store_task(a_task())
        builder = PostgresStorage.builder().connection_timeout(0.2)
        async with await builder.build(url) as impatient, storage.transaction():
            await storage.claim_task("task-1", "a")
            with pytest.raises(PoolError, match="connection_timeout"):
                await elsewhere(impatient.claim_task("task-1", "b"))
