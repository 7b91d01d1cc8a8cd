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


_FILLING = """
INSERT INTO {schema}.tasks (id, task_type, priority, status, payload, retry_count, max_retries, dependencies,
  created_at, updated_at, claim_count, fails_with_dependencies, version)
SELECT 'filled-' || n, 'type-1', n % 4, 'pending', '{}', 0, 3, '[]', now(), now(), 0, true, 1
FROM generate_series(1, 20000) AS n
"""


async def kept_plans(storage: PostgresStorage) -> list[str]:
    """Return the plans that the server keeps for what a connection changes tasks by, or would keep from now on."""
    plans: dict[str, str] = {}
    pool = storage._engine._loop_engine().pool
    connection = await pool.acquire(float("inf"))
    driver = connection.driver
    statements = await driver.fetch("""
        SELECT name, statement, cardinality(parameter_types) FROM pg_prepared_statements
        WHERE statement LIKE '%UPDATE%.tasks%' AND statement NOT LIKE '%pg_prepared%' ORDER BY prepare_time
    """)
    async with driver.transaction():
        await driver.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        for name, text, count in statements:  # the last one of a text is the one in use
            lines = await driver.fetch(f"EXPLAIN EXECUTE {name}({', '.join(['NULL'] * count)})")
            plans[text] = "\n".join(line for (line,) in lines)
    pool.release(connection)
    return [*plans.values()]


async def claim_and_complete(storage: PostgresStorage, count: int) -> None:
    for _ in range(count):
        for types in (None, ["type-1"], ["type-1", "type-2"]):
            for task in await storage.claim_next_tasks("agent-1", limit=1, task_types=types):
                await storage.complete_task(task)


@pytest.mark.parametrize("is_analyzed", [True, False])
async def test_a_table_that_has_grown_is_not_read_by_the_plans_of_a_small_one(
    url: str, admin: asyncpg.Connection, schema: str, is_analyzed: bool
) -> None:
    async with await PostgresStorage.builder().max_connections(1).build(url) as storage:
        await admin.execute(f"ALTER TABLE {schema}.tasks SET (autovacuum_enabled = false)")
        await storage.store_tasks([a_task(f"small-{number}", task_type="type-1") for number in range(9)])
        if is_analyzed:
            await admin.execute(f"VACUUM ANALYZE {schema}.tasks")
        await claim_and_complete(storage, 8)
        small = await kept_plans(storage)
        await admin.execute(_FILLING.replace("{schema}", schema))

        await claim_and_complete(storage, 2)

        assert [plan for plan in small if "Seq Scan" in plan]
        plans = await kept_plans(storage)
        assert len(plans) == 4
        others = [plan.replace("Seq Scan on task_limits", "") for plan in plans]  # it has a few rows only
        assert not [plan for plan in others if "Seq Scan" in plan or "Bitmap" in plan], plans
        # What is completed is locked in its order.
        assert len([plan for plan in plans if "Sort  (" in plan]) <= 1, plans
