"""Facts about statements that stay prepared while the tables change under them."""

import asyncio

import asyncpg
import pytest

from swarm_persistence import CollisionError, PostgresStorage
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, an_agent, an_event, ids


async def use_all(storage: PostgresStorage, round: str) -> None:
    """Read and write in each way that prepares statements: single ones, and several in one transaction."""
    await storage.store_task(a_task(f"{round}-1"))
    await storage.store_tasks([a_task(f"{round}-2", dependencies=[f"{round}-1"]), a_task(f"{round}-3")])
    await storage.store_agent(an_agent(f"{round}-agent"))
    await storage.store_event(an_event(f"{round}-event"))
    await storage.store_tasks([a_task(f"{round}-more-{number}") for number in range(3)])  # for all to find one
    await storage.claim_task(f"{round}-1", "agent-1")
    task = await storage.claim_next_task("agent-1", lease=60)
    assert task is not None
    await storage.complete_task(task, "done")
    task = await storage.claim_next_task("agent-1", lease=60)
    assert task is not None
    await storage.fail_task(task, "in vain")
    await storage.get_task(f"{round}-3")
    await storage.get_pending_tasks()
    await storage.get_events_since(0)
    await storage.list_agents()
    await storage.delete_agent(f"{round}-agent")


async def use_everywhere(storage: PostgresStorage, round: str) -> None:
    """Let each of several connections prepare the statements."""
    await asyncio.gather(*(elsewhere(use_all(storage, f"{round}-{number}")) for number in range(8)))


async def change_types(admin: asyncpg.Connection, schema: str, type: str) -> None:
    """Give columns of each table another type, which the same values have room in."""
    for table, column in (("tasks", "error"), ("tasks", "assigned_to"), ("agents", "name"), ("events", "agent_id")):
        await admin.execute(f'ALTER TABLE {schema}.{table} ALTER COLUMN {column} TYPE {type} COLLATE "C"')


async def test_calls_go_on_when_a_columns_type_changes(
    storage: PostgresStorage, admin: asyncpg.Connection, schema: str
) -> None:
    await use_everywhere(storage, "before")
    for type in ("varchar", "varchar(100)", "text"):
        await change_types(admin, schema, type)
        await use_everywhere(storage, type)
        await use_everywhere(storage, f"{type}-again")


async def prepare_on_each_connection(storage: PostgresStorage) -> None:
    """Open several connections, and let each read the pending tasks and a task within a transaction."""
    pool = storage._engine._loop_engine().pool
    taken = [await pool.acquire(float("inf")) for _ in range(4)]
    for connection in taken:
        pool.release(connection)
        async with storage.transaction():
            await storage.get_task("1")
            await storage.get_pending_tasks()
        assert await pool.acquire(float("inf")) is connection
    for connection in taken:
        pool.release(connection)


async def test_a_callers_transaction_is_told_to_run_again_and_then_finds_no_outdated_plan(
    storage: PostgresStorage, admin: asyncpg.Connection, schema: str
) -> None:
    await prepare_on_each_connection(storage)
    await change_types(admin, schema, "varchar")

    async def transact() -> None:
        async with storage.transaction():
            await storage.store_agent(an_agent("never"))
            await storage.get_pending_tasks()

    with pytest.raises(CollisionError, match=r"a table has changed.*run_transaction"):
        await transact()

    assert "never" not in ids(await storage.list_agents())
    await prepare_on_each_connection(storage)


async def test_run_transaction_runs_it_again(storage: PostgresStorage, admin: asyncpg.Connection, schema: str) -> None:
    await storage.store_task(a_task("1"))
    await prepare_on_each_connection(storage)
    await change_types(admin, schema, "varchar")
    tries = 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        task = await storage.get_task("1")
        assert task is not None
        await storage.update_task(task)

    await storage.run_transaction(work)

    assert tries == 2
