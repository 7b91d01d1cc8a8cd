"""Claims on PostgreSQL: what they read and lock, shown on the server."""

import asyncio
import json
from datetime import datetime
from typing import Any

import asyncpg
import pytest

from polling import until
from postgres.conftest import a_lock_is_waited_for
from swarm_persistence import PostgresStorage, TaskModel, TaskPriority, TaskStatus
from swarm_persistence.clock import SystemClock, from_microseconds, use_clock
from swarm_persistence.engines.sql.postgres.claim_compiler import ClaimCompiler
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.statement_compiler import PostgresStatementCompiler
from swarm_persistence.engines.steps import Claim
from swarm_persistence.query.query import Condition, Order, Query, one_of
from swarm_persistence.query.text import quoted
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.storage.tasks import IS_DUE, IS_READY, MOST_URGENT_FIRST
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.records import a_task, after

_FILLING = """
INSERT INTO {schema}.tasks (id, task_type, priority, status, payload, retry_count, max_retries, dependencies,
  created_at, updated_at, claim_count, fails_with_dependencies, version)
SELECT 'task-' || n, CASE WHEN n <= 30000 THEN 'other' ELSE 'type-' || n % 7 END, n % 4, 'pending', '{}', 0, 3, '[]',
  '2026-01-01 12:00+00'::timestamptz + n * interval '1 second', now(), 0, true, 1
FROM generate_series(1, 30700) AS n
"""


async def plan_of(
    admin: asyncpg.Connection,
    schema: str,
    types: tuple[str, ...],
    limit: int,
    *,
    is_shared: bool = False,
    bounds: list[int] | None = None,
) -> list[dict[str, Any]]:
    """Return the parts of the generic plan of a claim, or of one for several callers, with the rows that each found."""
    fits = (one_of("task_type", types),) if types else ()
    changes = {"assigned_to": "agent-1"}
    claim = Claim(Query(TASKS, (*IS_READY, *fits), MOST_URGENT_FIRST, limit), changes)
    compiler = PostgresStatementCompiler(schema).sql
    due = Query(TASKS, IS_DUE, (Order("run_at"),), 500)
    text, values = (
        compiler.claim_together(claim, [changes] * limit, due, is_wide=False, bounds=bounds)
        if is_shared
        else compiler.claim_alone(claim, due, is_wide=False, bounds=bounds)
    )
    literals = ", ".join(map(_literal, values))
    async with admin.transaction():
        await admin.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await admin.execute(f"PREPARE claim AS {text}")
        (row,) = await admin.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE claim({literals})")
        await admin.execute("DEALLOCATE claim")
    return _parts(json.loads(row[0])[0]["Plan"])


def _literal(value: object) -> str:
    if isinstance(value, tuple):
        return f"'{{{','.join(map(str, value))}}}'"
    return "NULL" if value is None else f"'{value}'"


def _parts(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(part for inner in plan.get("Plans", ()) for part in _parts(inner))]


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("count", [2, 5, 50])
async def test_a_claim_of_several_types_walks_over_no_other_type(
    storage: PostgresStorage, schema: str, admin: asyncpg.Connection, count: int, limit: int
) -> None:
    await admin.execute(_FILLING.replace("{schema}", schema))
    await admin.execute(f"ANALYZE {schema}.tasks")

    parts = await plan_of(admin, schema, tuple(f"type-{n}" for n in range(count)), limit)

    # A null, which fills up the number of types, finds nothing.
    heads = [part for part in parts if part.get("Index Name") == "tasks_ready_by_type"]
    assert len(heads) >= count
    assert max(part["Actual Rows"] for part in heads) <= limit
    assert sum(part["Actual Rows"] for part in heads) < 7 + limit
    assert not [part for part in parts if part["Node Type"] in ("Sort", "Incremental Sort", "Seq Scan")], parts


@pytest.mark.parametrize("limit", [1, 3])
async def test_a_claim_takes_the_first_of_a_type_of_many_and_sorts_none(
    storage: PostgresStorage, schema: str, admin: asyncpg.Connection, limit: int
) -> None:
    await admin.execute(_FILLING.replace("{schema}", schema))
    await admin.execute(f"VACUUM ANALYZE {schema}.tasks")

    parts = await plan_of(admin, schema, ("other", "type-1"), limit)

    heads = [part["Actual Rows"] for part in parts if part.get("Index Name") == "tasks_ready_by_type"]
    assert len(heads) == 2
    assert sum(heads) <= limit + 1
    assert not [part for part in parts if part["Node Type"] in ("Sort", "Bitmap Heap Scan", "Seq Scan")], parts


@pytest.mark.parametrize("is_analyzed", [True, False])
async def test_a_claim_of_several_types_finds_each_row_by_its_number_when_statistics_know_of_no_ready_rows(
    storage: PostgresStorage, schema: str, admin: asyncpg.Connection, is_analyzed: bool
) -> None:
    await admin.execute(f"ALTER TABLE {schema}.tasks SET (autovacuum_enabled = false)")
    await admin.execute(_FILLING.replace("{schema}", schema))
    await admin.execute(f"UPDATE {schema}.tasks SET is_delayed = true, run_at = now() + interval '1 day'")
    if is_analyzed:
        await admin.execute(f"ANALYZE {schema}.tasks")
    await admin.execute(f"UPDATE {schema}.tasks SET is_delayed = false")

    parts = await plan_of(admin, schema, ("other", "type-1"), 1)

    reads = [part for part in parts if part.get("Index Name") and part["Index Name"] != "tasks_delayed"]
    by_number = [part for part in reads if part["Index Name"] == "tasks_pkey"]
    assert len(reads) == 4
    assert [part["Actual Rows"] for part in by_number] == [1, 1], parts


@pytest.mark.parametrize("limit", [1, 3])
async def test_a_claim_walks_over_no_blocked_or_delayed_tasks(
    storage: PostgresStorage, schema: str, admin: asyncpg.Connection, limit: int
) -> None:
    await admin.execute(_FILLING.replace("{schema}", schema))
    # All but the last ones, and all that come first; those that are delayed are not due.
    await admin.execute(f"""
        UPDATE {schema}.tasks SET unmet_dependencies = sequence % 2, is_delayed = sequence % 2 = 0, priority = 3,
          run_at = now() + interval '1 day'
        WHERE sequence <= 30000
    """)
    await admin.execute(f"VACUUM ANALYZE {schema}.tasks")

    parts = await plan_of(admin, schema, (), limit)

    found = {part.get("Index Name"): part["Actual Rows"] for part in parts if part.get("Index Name")}
    assert found == {"tasks_by_readiness": limit, "tasks_delayed": 0, "tasks_pkey": 1}
    assert not [part for part in parts if part["Node Type"] in ("Sort", "Seq Scan")], parts


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize("types", [(), ("other",), ("other", "type-1")])
@pytest.mark.parametrize("statistics", ["none", "of an empty table", "of few", "of all"])
async def test_a_claim_reads_no_more_tasks_than_it_takes_whatever_the_statistics_are_of(
    url: str, admin: asyncpg.Connection, statistics: str, types: tuple[str, ...], is_shared: bool
) -> None:
    schema = url.rpartition("=")[2]
    async with await PostgresStorage.open(url) as storage:
        await admin.execute(f"ALTER TABLE {schema}.tasks SET (autovacuum_enabled = false)")
        if statistics == "of few":
            await storage.store_tasks([a_task(f"done-{n}", status=TaskStatus.COMPLETED) for n in range(60)])
    if statistics in ("of an empty table", "of few"):
        await admin.execute(f"VACUUM ANALYZE {schema}.tasks")
    await admin.execute(_FILLING.replace("{schema}", schema))
    if statistics == "of all":
        await admin.execute(f"VACUUM ANALYZE {schema}.tasks")

    parts = await plan_of(admin, schema, types, 16, is_shared=is_shared)

    assert {part["Index Name"] for part in parts if "Index Name" in part} >= {"tasks_pkey", "tasks_delayed"}
    reads = [part for part in parts if part.get("Relation Name") == "tasks"]
    assert max(part["Actual Rows"] for part in reads) <= 17
    assert not [part for part in reads if "Seq Scan" in part["Node Type"] or "Bitmap" in part["Node Type"]], parts
    assert not [part for part in parts if "Sort" in part["Node Type"] and part["Actual Rows"] > 16], parts


async def test_a_claim_of_several_types_gives_them_in_their_common_order(storage: PostgresStorage) -> None:
    types = ["a", "b", "c", "other"]
    priorities = [TaskPriority.LOW, TaskPriority.HIGH, TaskPriority.LOW, TaskPriority.CRITICAL]
    await storage.store_tasks(
        [
            a_task(f"task-{n}", task_type=types[n % 4], priority=priorities[n // 4], created_at=after(n))
            for n in range(16)
        ]
    )

    claimed = [
        *await storage.claim_next_tasks("agent-1", limit=3, task_types=["c", "a", "b", "missing"]),
        *[await storage.claim_next_task("agent-1", task_types=["b", "c", "a"]) for _ in range(6)],
    ]

    places = [12, 13, 14, 4, 5, 6, 0, 1, 2]
    assert [task and task.id for task in claimed] == [f"task-{place}" for place in places]


async def test_a_claim_of_several_types_locks_no_more_than_it_takes(
    storage: PostgresStorage, other: PostgresStorage
) -> None:
    await storage.store_tasks([a_task(f"task-{n}", task_type="ab"[n % 2], created_at=after(n)) for n in range(6)])

    async with storage.transaction():
        mine = await storage.claim_next_tasks("agent-1", limit=2, task_types=["a", "b"])
        theirs = await other.claim_next_tasks("agent-2", limit=9, task_types=["a", "b"])

    assert [task.id for task in mine] == ["task-0", "task-1"]
    assert [task.id for task in theirs] == ["task-2", "task-3", "task-4", "task-5"]


async def test_a_claim_of_several_types_leaves_what_was_claimed_while_it_waited(
    storage: PostgresStorage, schema: str, admin: asyncpg.Connection, rival: asyncpg.Connection
) -> None:
    await storage.store_tasks([a_task(f"task-{n}", task_type="ab"[n % 2], created_at=after(n)) for n in range(4)])
    query = Query(TASKS, (*IS_READY, Condition("task_type", "IN", ("a", "b"))), MOST_URGENT_FIRST, 2)
    text, values = PostgresStatementCompiler(schema).sql.claim(Claim(query, {"assigned_to": "agent-1"}))
    # A claim does not wait: it meets the same only between its look at a row and its lock.
    waiting = text.replace(" SKIP LOCKED", "")
    async with rival.transaction():
        await rival.execute("UPDATE tasks SET status = 'assigned' WHERE id = 'task-0'")
        claim = asyncio.create_task(admin.fetch(waiting, *values))
        await a_lock_is_waited_for(rival)

    assert sorted(row["id"] for row in await claim) == ["task-1", "task-2"]


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the statements that connections run, those of transactions included."""
    run: list[str] = []
    call, order = Connection._call, Connection.execute

    async def record_call(self: Connection, method: Any, text: str, values: Any) -> Any:
        run.append(text)
        return await call(self, method, text, values)

    async def record_order(self: Connection, text: str) -> None:
        run.append(text)
        await order(self, text)

    monkeypatch.setattr(Connection, "_call", record_call)
    monkeypatch.setattr(Connection, "execute", record_order)
    return run


# One that finds nothing also asks whether any ready task requires capabilities.
@pytest.mark.parametrize(("count", "expected"), [(0, 2), (1, 1)])
async def test_a_claim_that_finds_a_task_is_one_statement_if_nothing_is_due(
    storage: PostgresStorage, statements: list[str], count: int, expected: int
) -> None:
    await storage.store_tasks([a_task(f"task-{n}") for n in range(count)])
    statements.clear()

    tasks = await storage.claim_next_tasks("agent-1", limit=1)

    assert len(tasks) == count
    assert len([text for text in statements if ".tasks" in text]) == expected


async def test_what_is_due_is_considered_before_what_is_less_urgent(storage: PostgresStorage) -> None:
    await storage.store_task(a_task("ready", priority=TaskPriority.LOW))
    await storage.store_task(a_task("due", priority=TaskPriority.HIGH, run_at=after(-1)))

    claimed = [await storage.claim_next_task("agent-1") for _ in range(3)]

    assert [task and task.id for task in claimed] == ["due", "ready", None]


async def test_a_claim_finds_its_task_behind_any_number_of_due_tasks_of_other_types(storage: PostgresStorage) -> None:
    await storage.store_tasks([a_task(f"task-{n}", task_type="other", run_at=after(-60)) for n in range(4_000)])
    await storage.store_task(a_task("last", task_type="own", run_at=after(-1)))

    task = await storage.claim_next_task("agent-1", task_types=["own"])

    assert task is not None
    assert task.id == "last"


async def test_claims_at_once_find_all_that_is_due(storage: PostgresStorage, other: PostgresStorage) -> None:
    await storage.store_tasks([a_task(f"task-{n}", run_at=after(-1)) for n in range(40)])

    claims = [each.claim_next_task(f"agent-{n}") for n in range(20) for each in (storage, other)]
    claimed = await asyncio.gather(*claims)

    assert {task.id for task in claimed if task} == {f"task-{n}" for n in range(40)}


async def test_a_claim_waits_for_no_transaction_that_lets_tasks_be_ready(
    storage: PostgresStorage, other: PostgresStorage
) -> None:
    await storage.store_tasks([a_task(f"due-{n}", run_at=after(-1), priority=TaskPriority.HIGH) for n in range(3)])
    await storage.store_task(a_task("ready"))

    async with storage.transaction():
        mine = await storage.claim_next_task("agent-1")
        theirs = [await other.claim_next_task("agent-2") for _ in range(2)]

    assert mine is not None
    assert mine.id == "due-0"
    assert [task and task.id for task in theirs] == ["ready", None]


@pytest.mark.parametrize("run_at", [None, after(-1)])
async def test_a_claim_that_meets_an_unreadable_task_leaves_all_as_it_was(
    storage: PostgresStorage, schema: str, admin: asyncpg.Connection, run_at: datetime | None
) -> None:
    await storage.store_tasks([a_task(f"task-{n}", run_at=run_at, created_at=after(n)) for n in range(3)])
    await admin.execute(f"""UPDATE {schema}.tasks SET payload = '"\\ud800"', is_delayed = false WHERE id = 'task-1'""")
    names = ", ".join(map(quoted, (*TASKS.names, "unmet_dependencies", "is_delayed")))
    text = f"SELECT {names} FROM {schema}.tasks WHERE id = 'task-1'"
    before = await admin.fetchrow(text)

    tasks = await storage.claim_next_tasks("agent-1", limit=3)

    assert [(task.id, task.claim_count) for task in tasks] == [("task-0", 1), ("task-2", 1)]
    row = await admin.fetchrow(text)
    assert row == before


async def test_claims_go_on_with_what_one_of_them_has_let_be_ready(
    storage: PostgresStorage, admin: asyncpg.Connection, schema: str
) -> None:
    soon = (await storage._engine.time()) + 1_000_000
    await storage.store_tasks([a_task(f"{number}", run_at=from_microseconds(soon)) for number in range(3000)])

    async def is_due() -> bool:
        return await storage._engine.time() > soon

    await until(is_due)

    claimed = [await storage.claim_next_task("agent-1") for _ in range(20)]

    assert len({task.id for task in claimed if task is not None}) == 20
    assert await admin.fetchval(f"SELECT count(*) FROM {schema}.tasks WHERE is_delayed") >= 1000  # none, before


async def test_a_repeated_claim_is_compiled_once(storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    compile_claim = ClaimCompiler.claim_alone

    def record(self: ClaimCompiler, step: Claim[Any], *arguments: Any, **options: Any) -> Any:
        compiled.append(step.changes["assigned_to"])
        return compile_claim(self, step, *arguments, **options)

    monkeypatch.setattr(ClaimCompiler, "claim_alone", record)
    for agent_id in ("agent-1", "agent-1", "agent-2", "agent-2"):
        await storage.store_tasks([a_task(f"{agent_id} {n}", task_type="work") for n in range(2)])
        tasks = await storage.claim_next_tasks(agent_id, limit=10, task_types=["work"], lease=60)
        assert {task.assigned_to for task in tasks} == {agent_id}
        for task in tasks:
            await storage.repository(TaskModel).delete(task.id)

    assert compiled == ["agent-1", "agent-2"]


async def test_a_claim_that_is_repeated_goes_by_the_clock_of_the_test(storage: PostgresStorage) -> None:
    leases: list[datetime] = []
    for clock in (SystemClock(), ManualClock(after(0)), ManualClock(after(60)), SystemClock()):
        with use_clock(clock):
            await storage.store_task(a_task("1"))
            task = await storage.claim_next_task("agent-1", lease=60)
            assert task is not None
            assert task.lease_expires_at is not None
            leases.append(task.lease_expires_at)
            await storage.repository(TaskModel).delete("1")

    assert leases[1:3] == [after(60), after(120)]
    assert leases[0] < leases[3]
