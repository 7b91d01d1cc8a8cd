"""Facts about the schemas of one database, each a tenant's, over one pool of connections."""

import asyncio
import gc
from contextlib import closing, suppress

import asyncpg
import pytest
import pytest_asyncio

from polling import until
from postgres.poolers import new_pooler
from postgres.servers import Server
from swarm_persistence import (
    AgentModel,
    DatabaseError,
    MigrationError,
    PoolError,
    PostgresStorage,
    StorageError,
    TaskModel,
    TaskStatus,
    Worker,
)
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.notifications import Notifications, WriteMarks
from swarm_persistence.engines.sql.postgres.pool import FairQueue
from swarm_persistence.engines.watches import Watches
from swarm_persistence.schema.tables import TASKS
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, an_agent, ids

CLIENTS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


@pytest_asyncio.fixture
async def tenants(storage: PostgresStorage, schema: str) -> list[PostgresStorage]:
    """Give five schemas of one storage, which are open."""
    tenants = [storage.schema(f"{schema}_tenant_{number}") for number in range(5)]
    for tenant in tenants:
        await tenant.list_agents()
    return tenants


async def until_woken_by_others(tenants: list[PostgresStorage]) -> None:
    """Wait until the storage's listener is told of what others commit to any of these schemas."""
    port = tenants[0]._engine._loop_engine()
    channels = {tenant._engine._loop_engine()._channel for tenant in tenants}
    await until(lambda: channels <= (port.notifications._channels or set()))


@pytest.fixture
def polls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Record whether each poll of a listener has found a write."""
    polls: list[bool] = []
    poll = Notifications._poll_for_missed

    async def record(self: Notifications, connection: Connection) -> bool:
        polls.append(await poll(self, connection))
        return polls[-1]

    monkeypatch.setattr(Notifications, "_poll_for_missed", record)
    return polls


async def until_nothing_is_found(polls: list[bool]) -> None:
    """Wait until the polls have found all that was written before."""
    begun = len(polls)
    await until(lambda: len(polls) >= begun + 2 and not polls[-1])


class TestConnections:
    async def test_tenants_that_wait_share_one_connection_to_listen_on(
        self, tenants: list[PostgresStorage], other: PostgresStorage
    ) -> None:
        waiting = [asyncio.create_task(tenant.claim_next_task("worker", wait=30)) for tenant in tenants]
        await until_woken_by_others(tenants)

        for number, tenant in enumerate(tenants):
            await other.schema(tenant.schema_name).store_task(a_task(f"task-{number}"))
        claimed = await asyncio.gather(*waiting)

        assert ids([task for task in claimed if task]) == [f"task-{number}" for number in range(5)]
        assert tenants[0]._engine._loop_engine().notifications is tenants[4]._engine._loop_engine().notifications

    async def test_idle_tenants_hold_two_connections(self, server: Server, schema: str, url: str) -> None:
        admin = await asyncpg.connect(server.url(database="template1"))
        try:
            before = await admin.fetchval(CLIENTS)

            async def are_two_more() -> bool:
                return bool(await admin.fetchval(CLIENTS) == before + 2)

            async with await PostgresStorage.open(f"{url}&idle_timeout=0.1") as storage:
                tenants = [storage.schema(f"{schema}_{number}") for number in range(10)]
                waiting = [asyncio.create_task(tenant.claim_next_task("worker", wait=60)) for tenant in tenants]
                await asyncio.gather(*(tenant.list_agents() for tenant in tenants))
                await until_woken_by_others(tenants)
                await until(are_two_more)
                for each in waiting:
                    each.cancel()
                await asyncio.wait(waiting)
        finally:
            await admin.close()

    async def test_a_long_line_of_one_tenant_holds_up_no_other_one(self, url: str, schema: str) -> None:
        async with await PostgresStorage.open(f"{url}&max_connections=1") as storage:
            greedy, modest = storage.schema(f"{schema}_greedy"), storage.schema(f"{schema}_modest")
            await asyncio.gather(greedy.list_agents(), modest.list_agents())
            served: list[str] = []

            async def count(name: str, tenant: PostgresStorage) -> None:
                await tenant.repository(AgentModel).count()
                served.append(name)

            calls = [asyncio.create_task(count("greedy", greedy)) for _ in range(1000)]
            calls += [asyncio.create_task(count("modest", modest)) for _ in range(3)]
            await asyncio.gather(*calls)

        # The first call takes the connection; from then on, they take turns.
        assert [place for place, name in enumerate(served) if name == "modest"] == [2, 4, 6]

    async def test_a_transaction_that_calls_another_schema_needs_a_second_connection(
        self, url: str, schema: str
    ) -> None:
        async with await PostgresStorage.open(f"{url}&max_connections=1&connection_timeout=4") as storage:
            other = storage.schema(f"{schema}_other")
            await other.list_agents()
            async with storage.transaction():
                await storage.store_task(a_task())
                with pytest.raises(PoolError, match="max_connections"):
                    await other.list_agents()
            await other.store_task(a_task())

            assert ids(await other.get_pending_tasks()) == ids(await storage.get_pending_tasks()) == ["task-1"]

    async def test_lost_connections_are_lost_to_all_and_replaced(
        self, tenants: list[PostgresStorage], other: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        waiting = [asyncio.create_task(tenant.claim_next_task("worker", wait=30)) for tenant in tenants]
        await until_woken_by_others(tenants)
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND "
            "pid <> pg_backend_pid()"
        )
        for number, tenant in enumerate(tenants):
            await other.schema(tenant.schema_name).store_task(a_task(f"task-{number}"))

        claimed = await asyncio.gather(*waiting)

        assert ids([task for task in claimed if task]) == [f"task-{number}" for number in range(5)]


class TestWakeUps:
    async def test_a_write_of_which_nothing_told_wakes_the_watchers_of_its_schema_only(
        self, tenants: list[PostgresStorage], other: PostgresStorage, polls: list[bool], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Notifications, "send", lambda *_, **__: None)
        watches = [tenant._engine.watch((TASKS,)) for tenant in tenants]
        await until_woken_by_others(tenants)
        neighbours = [other.schema(tenant.schema_name) for tenant in tenants]
        for neighbour in neighbours:
            await neighbour.list_agents()
        await until_nothing_is_found(polls)
        await asyncio.gather(*(watch.wait(0) for watch in watches))

        for neighbour in neighbours[2:]:
            await neighbour.store_agent(an_agent())
        await neighbours[1].store_task(a_task())

        assert await watches[1].wait(30)
        assert [watch._is_notified for watch in watches] == [False] * 5

    async def test_a_write_that_others_have_overtaken_moves_the_marks_when_it_is_committed(
        self, storage: PostgresStorage, other: PostgresStorage, admin: asyncpg.Connection, schema: str
    ) -> None:
        marks, watches = WriteMarks(), Watches()
        marks.add(watches, schema)

        async def moved() -> bool:
            text, watched = marks.query()
            snapshot, *seen = (await admin.fetch(text))[0]
            return marks.changed_watches(watched, seen, snapshot) == [watches]

        with closing(watches.add((TASKS,))):
            assert await moved()
            async with storage.transaction():
                await storage.store_task(a_task("older"))
                assert not await moved()
                await elsewhere(other.store_task(a_task("newer")))
                assert [await moved(), await moved()] == [True, False]

            assert [await moved(), await moved()] == [True, False]


class TestOpening:
    async def test_a_schema_that_cannot_be_opened_fails_its_own_calls_and_opens_later(
        self, storage: PostgresStorage, schema: str, admin: asyncpg.Connection
    ) -> None:
        name = f"{schema}_newer"
        async with storage.schema(name) as newer:
            await newer.store_task(a_task())
        await admin.execute(f"INSERT INTO {name}.schema_migrations VALUES (999, 'of the future', now())")
        newer, neighbour = storage.schema(name), storage.schema(f"{schema}_neighbour")

        outcomes = await asyncio.gather(*(newer.list_agents() for _ in range(3)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [MigrationError] * 3
        assert len({id(outcome) for outcome in outcomes}) == 3
        with pytest.raises(MigrationError, match=name):
            async with newer:
                pass
        await neighbour.store_task(a_task())
        await admin.execute(f"DELETE FROM {name}.schema_migrations WHERE version = 999")

        assert ids(await storage.schema(name).get_pending_tasks()) == ["task-1"]

    async def test_what_must_exist_is_not_created(
        self, storage: PostgresStorage, url: str, schema: str, admin: asyncpg.Connection
    ) -> None:
        await storage.schema(f"{schema}_there").list_agents()
        async with await PostgresStorage.open(url, must_exist=True) as reader:
            assert await reader.schema(f"{schema}_there").list_agents() == []
            with pytest.raises(DatabaseError, match=f"no swarm in the schema '{schema}_missing'"):
                await reader.schema(f"{schema}_missing").list_agents()

        assert not await admin.fetchval("SELECT true FROM pg_namespace WHERE nspname = $1", f"{schema}_missing")

    async def test_a_dropped_schema_fails_its_own_calls_only(
        self, tenants: list[PostgresStorage], admin: asyncpg.Connection
    ) -> None:
        gone, *others = tenants
        for tenant in tenants:
            await tenant.store_task(a_task())
            await tenant.claim_next_task("worker")
        await admin.execute(f"DROP SCHEMA {gone.schema_name} CASCADE")

        calls = (gone.list_agents(), gone.store_task(a_task("2")), gone.claim_next_task("w"), gone.get_task("task-1"))
        for call in calls:
            with pytest.raises(DatabaseError, match="a table is missing") as caught:
                await call
            assert gone.schema_name in str(caught.value)
        with pytest.raises(StorageError):
            async with gone.transaction():
                await gone.store_task(a_task("3"))
        for tenant in others:
            await tenant.store_task(a_task("2"))
            assert ids(await tenant.get_pending_tasks()) == ["2"]

    async def test_a_storage_that_is_dropped_warns_once_for_all_of_its_schemas(self, url: str, schema: str) -> None:
        storage = await PostgresStorage.open(url)
        tenants = [storage.schema(f"{schema}_{number}") for number in range(3)]
        await tenants[0].list_agents()
        del storage
        gc.collect()
        assert await tenants[0].list_agents() == []  # a tenant keeps the pool

        with pytest.warns(ResourceWarning) as caught:  # noqa: PT031 - both is one act
            del tenants
            gc.collect()

        assert [str(each.message) for each in caught] == [
            f"PostgresStorage('postgresql://{url.partition('@')[2].partition('?')[0]}') was dropped without close()"
        ]
        await asyncio.sleep(0)


class TestWork:
    async def test_a_worker_for_each_tenant_does_its_tasks_only(self, tenants: list[PostgresStorage]) -> None:
        for number, tenant in enumerate(tenants):
            await tenant.store_many([a_task(f"{number}-{each}", task_type="name") for each in range(10)])

        async with asyncio.TaskGroup() as group:
            for number, tenant in enumerate(tenants):
                group.create_task(work_off(tenant, number))

        for number, tenant in enumerate(tenants):
            tasks = await tenant.repository(TaskModel).find_all()
            assert {task.result for task in tasks} == {number}
            assert {task.status for task in tasks} == {TaskStatus.COMPLETED}
            assert sorted(ids(tasks)) == [f"{number}-{each}" for each in range(10)]

    async def test_tenants_share_a_pooler(self, server: Server, schema: str) -> None:
        async with new_pooler(server) as url, await PostgresStorage.open(f"{url}?schema={schema}") as storage:
            tenants = [storage.schema(f"{schema}_{number}") for number in range(4)]
            waiting = [asyncio.create_task(tenant.claim_next_task("worker", wait=30)) for tenant in tenants]
            for number, tenant in enumerate(tenants):
                async with tenant.transaction():
                    await tenant.store_task(a_task(f"task-{number}"))
            claimed = await asyncio.gather(*waiting)

            assert ids([task for task in claimed if task]) == [f"task-{number}" for number in range(4)]


async def work_off(tenant: PostgresStorage, number: int) -> None:
    """Run a worker until all tasks of a tenant are done."""

    async def handle(task: TaskModel) -> int:
        return number

    async def all_are_done() -> bool:
        return all(task.result is not None for task in await tenant.repository(TaskModel).find_all())

    async with Worker(tenant, an_agent(f"worker-{number}"), {"name": handle}, heeds_signals=False):
        await until(all_are_done, pause_seconds=0.02)


async def test_the_line_is_fair_among_schemas_and_in_order_within_each() -> None:
    loop = asyncio.get_running_loop()
    queue: FairQueue[str] = FairQueue()
    waiters = {name: loop.create_future() for name in ("a1", "a2", "a3", "a4", "b1", "b2", "c1")}
    for name, waiter in waiters.items():
        queue.add(name[0], waiter)
    waiters["a2"].cancel()
    queue.discard("b", waiters["b1"])
    names = {id(waiter): name for name, waiter in waiters.items()}

    order = []
    while (first := queue.pop()) is not None:
        order.append(names[id(first)])

    assert order == ["a1", "b2", "c1", "a3", "a4"]
    assert len(queue) == 0
    with suppress(asyncio.CancelledError):
        await waiters["a2"]
