"""Facts about several storages on one schema, as several processes of several machines have them."""

import asyncio
import sys
import time
from itertools import count

import asyncpg
import pytest

from polling import block_until, until
from postgres.pauses import RecordingAsyncio
from swarm_persistence import ConflictError, EventModel, PostgresStorage, TaskModel, TaskStatus
from swarm_persistence.engines.sql.postgres import notifications
from swarm_persistence.engines.sql.postgres.pools import ConnectionPools
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, an_event, ids
from swarm_persistence_conformance.waiting import SOON_SECONDS

WORKER = """
import asyncio, sys
from swarm_persistence import PostgresStorage

async def main(url, name):
    async with await PostgresStorage.open(url) as storage:
        async def work():
            while (task := await storage.claim_next_task(name, lease=60)) is not None:
                await storage.complete_task(task, name)
        await asyncio.gather(*(work() for _ in range(4)))

asyncio.run(main(*sys.argv[1:]))
"""


class TestClaims:
    async def test_workers_of_many_processes_share_the_tasks(self, storage: PostgresStorage, url: str) -> None:
        await storage.store_many([a_task(str(number)) for number in range(300)])
        names = [f"worker-{number}" for number in range(4)]

        workers = [await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, url, name) for name in names]
        codes = await asyncio.gather(*(worker.wait() for worker in workers))

        tasks = await storage.repository(TaskModel).find_all()
        assert codes == [0] * 4
        assert {task.status for task in tasks} == {TaskStatus.COMPLETED}
        assert [task.claim_count for task in tasks] == [1] * 300

    async def test_claims_step_over_what_others_are_about_to_claim(
        self, storage: PostgresStorage, other: PostgresStorage
    ) -> None:
        await storage.store_many([a_task("1"), a_task("2")])

        async with storage.transaction():
            first = await storage.claim_next_task("here")
            second = await elsewhere(other.claim_next_task("there"))

        assert first is not None
        assert second is not None
        assert {first.id, second.id} == {"1", "2"}

    async def test_a_claim_of_several_comes_in_its_order(self, storage: PostgresStorage) -> None:
        await storage.store_many([a_task(f"{number:03}") for number in range(50)])

        claimed = await storage.claim_next_tasks("agent-1", limit=20)

        assert ids(claimed) == [f"{number:03}" for number in range(20)]


class TestTransactions:
    async def test_a_read_and_a_write_back_of_two_processes_lose_nothing(
        self, storage: PostgresStorage, other: PostgresStorage
    ) -> None:
        await storage.store_task(a_task(payload=0))

        async def count_up(each: PostgresStorage) -> None:
            while True:
                try:
                    async with each.transaction():
                        task = await each.get_task("task-1")
                        assert task is not None
                        task.payload += 1
                        await each.update_task(task)
                    return
                except ConflictError:
                    continue

        await asyncio.gather(*(elsewhere(count_up(each)) for each in (storage, other) for _ in range(10)))

        task = await storage.get_task("task-1")
        assert task is not None
        assert task.payload == 20

    async def test_transactions_go_side_by_side_when_that_is_asked_for(self, url: str) -> None:
        async with await PostgresStorage.builder().parallel_transactions().build(url) as storage:
            both_are_open = asyncio.Barrier(2)

            async def store(id: str) -> None:
                async with storage.transaction():
                    await storage.store_task(a_task(id))
                    await both_are_open.wait()

            await asyncio.wait_for(asyncio.gather(elsewhere(store("1")), elsewhere(store("2"))), 30)

            assert sorted(ids(await storage.get_pending_tasks())) == ["1", "2"]


class TestEvents:
    async def test_their_sequences_become_visible_in_order(
        self, storage: PostgresStorage, other: PostgresStorage
    ) -> None:
        seen: list[int] = []
        is_over = asyncio.Event()

        async def follow() -> None:
            cursor = 0
            while True:
                was_over = is_over.is_set()
                events = await storage.read_events(after=cursor, limit=50)
                seen.extend(event.sequence or 0 for event in events)
                cursor = seen[-1] if seen else 0
                if was_over and not events:
                    return

        async def write(each: PostgresStorage, name: str) -> None:
            for number in range(40):
                async with each.transaction():
                    await each.store_event(an_event(f"{name}-{number}"))
                    await each.list_agents()  # a moment between the insert and the commit

        following = asyncio.create_task(follow())
        await asyncio.gather(elsewhere(write(storage, "here")), elsewhere(write(other, "there")))
        is_over.set()
        await following

        stored = [event.sequence for event in await storage.repository(EventModel).find_all()]
        assert seen == stored
        assert len(seen) == 80

    async def test_a_change_of_an_older_transaction_is_not_missed(
        self, storage: PostgresStorage, other: PostgresStorage
    ) -> None:
        await storage.store_many([a_task("1"), a_task("2")])
        found: list[str] = []

        async def watch() -> None:
            async for task in storage.watch_tasks():
                if task.error:
                    found.append(task.error)
                if len(found) == 2:
                    return

        watching = elsewhere(watch())
        older = await storage.get_task("1")
        newer = await storage.get_task("2")
        assert older is not None
        assert newer is not None
        older.error, newer.error = "older", "newer"
        async with other.transaction():
            await other.update_task(older)
            await elsewhere(storage.update_task(newer))
        await asyncio.wait_for(watching, 30)

        assert sorted(found) == ["newer", "older"]


class TestWakeUps:
    async def test_a_commit_of_another_process_wakes_by_its_notification_within_50_ms(
        self, storage: PostgresStorage, other: PostgresStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Polls are too rare to wake it, so a notification does; and none is held back for longer than promised.
        recording = RecordingAsyncio()
        monkeypatch.setattr(notifications, "asyncio", recording)
        monkeypatch.setattr(notifications, "_BETWEEN_RARE_POLLS_SECONDS", 3600.0)
        for number in range(5):
            waiting = elsewhere(storage.claim_next_task("agent-1", wait=20))
            here = storage._engine._loop_engine().notifications
            await until(lambda: here._connection is not None)  # noqa: B023
            await storage.list_agents()
            await other.store_task(a_task(str(number)))
            async with asyncio.timeout(SOON_SECONDS):
                assert await waiting is not None

        assert max(recording.pauses) < 0.05

    async def test_many_commits_are_one_notification(
        self, storage: PostgresStorage, other: PostgresStorage, admin: asyncpg.Connection, schema: str
    ) -> None:
        heard: list[object] = []
        await admin.add_listener(f"swarm {schema}", lambda *call: heard.append(call[-1]))

        await asyncio.gather(*(storage.store_task(a_task(str(number))) for number in range(200)))
        await storage.close()
        await admin.execute("SELECT 1")

        assert 1 <= len(heard) < 20
        assert set(heard) == {"tasks"}


async def none_are_left(admin: asyncpg.Connection, name: str) -> None:
    """Wait until the server has no connection of an application any more."""
    is_none_left = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1)"
    await until(lambda: admin.fetchval(is_none_left, name))


class TestConnections:
    async def test_no_more_are_open_than_were_asked_for(self, url: str, admin: asyncpg.Connection, schema: str) -> None:
        numbers = count()
        async with await PostgresStorage.builder().max_connections(3).build(f"{url}&application_name={schema}") as few:
            await asyncio.gather(*(few.claim_task(str(next(numbers)), "a") for _ in range(50)))
            text = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"

            assert await admin.fetchval(text, schema) <= 3
            assert few.pool_status().max == 3

    async def test_idle_ones_are_closed_but_the_fewest(self, url: str, admin: asyncpg.Connection, schema: str) -> None:
        builder = PostgresStorage.builder().idle_timeout(0.05).min_idle_connections(2)
        async with await builder.build(f"{url}&application_name={schema}") as storage:
            await asyncio.gather(*(storage.claim_task(str(number), "a") for number in range(50)))
            await until(lambda: storage.pool_status().idle <= 2)

            await storage.store_task(a_task())
            assert storage.pool_status().idle == 2

    async def test_the_status_adds_up_while_another_thread_opens_connections(self, url: str) -> None:
        async with await PostgresStorage.builder().build(url) as storage:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(ConnectionPools, "open_connections", lambda _: 1)
                patch.setattr(ConnectionPools, "active_connections", lambda _: 2)
                status = storage.pool_status()

        assert (status.active, status.idle) == (1, 0)

    async def test_many_loops_share_the_places(self, url: str) -> None:
        async with await PostgresStorage.builder().max_connections(2).build(url) as storage:

            def store(thread: int) -> None:
                async def store_some() -> None:
                    for number in range(5):
                        await storage.store_task(a_task(f"{thread}-{number}"))

                asyncio.run(store_some())

            await asyncio.wait_for(asyncio.gather(*(asyncio.to_thread(store, thread) for thread in range(6))), 60)

            assert len(await storage.get_pending_tasks()) == 30

    async def test_a_storage_that_was_dropped_leaves_no_connection(
        self, url: str, admin: asyncpg.Connection, schema: str
    ) -> None:
        storage = await PostgresStorage.open(f"{url}&application_name={schema}")
        with pytest.warns(ResourceWarning, match="without close"):
            del storage
        await none_are_left(admin, schema)

    @pytest.mark.parametrize("steps", range(1, 13))
    async def test_a_close_that_is_cancelled_leaves_no_connection(
        self, url: str, admin: asyncpg.Connection, schema: str, steps: int
    ) -> None:
        storage = await PostgresStorage.open(f"{url}&application_name={schema}")
        await asyncio.gather(*(storage.claim_task(str(number), "a") for number in range(3)))

        closing = elsewhere(storage.close())
        for _ in range(steps):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait((closing,))

        await none_are_left(admin, schema)

    async def test_one_that_comes_free_as_who_waits_for_it_gives_up_is_lent_again(self, url: str) -> None:
        async with await PostgresStorage.builder().max_connections(1).build(url) as storage:
            pool = storage._engine._loop_engine().pool
            connection = await pool.acquire(float("inf"))
            waiting = elsewhere(pool.acquire(float("inf")))
            await until(lambda: pool.waiting > 0)

            pool.release(connection)
            waiting.cancel()

            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert storage.pool_status().active == 0

    async def test_one_that_comes_free_as_the_time_to_wait_is_over_is_used(self, url: str) -> None:
        async with await PostgresStorage.builder().max_connections(1).build(url) as storage:
            pool = storage._engine._loop_engine().pool
            connection = await pool.acquire(float("inf"))
            deadline = time.monotonic() + 0.01

            def come_free_at_the_deadline() -> None:
                # In the next round of the loop, before what the time that is over by then sets off.
                asyncio.get_running_loop().call_soon(pool.release, connection)
                block_until(lambda: time.monotonic() > deadline)

            asyncio.get_running_loop().call_soon(come_free_at_the_deadline)
            assert await pool.acquire(deadline) is connection
            pool.release(connection)

            assert storage.pool_status().active == 0
