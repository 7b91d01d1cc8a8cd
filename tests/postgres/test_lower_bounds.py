"""Facts about claims that begin at a lower bound: they walk over little, and give the same tasks in the same order."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from postgres.test_claims import plan_of
from swarm_persistence import PostgresStorage, TaskModel, TaskPriority
from swarm_persistence.engines.sql.postgres import lower_bounds
from swarm_persistence.engines.sql.postgres.lower_bounds import LowerBounds
from swarm_persistence_conformance.records import a_task, after

TYPES = ("a", "b")

_FILLING = """
INSERT INTO {schema}.tasks (id, task_type, priority, status, payload, retry_count, max_retries, dependencies,
  created_at, updated_at, claim_count, fails_with_dependencies, version)
SELECT 'task-' || n, CASE WHEN n % 2 = 0 THEN 'a' ELSE 'b' END, 2, 'pending', '{}', 0, 3, '[]', now(), now(), 0, true, 1
FROM generate_series(1, 9000) AS n
"""
_END_MOST = """
UPDATE {schema}.tasks SET status = 'completed', version = 3 WHERE sequence <= 8000
"""


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each claim be followed by one that begins where it has ended."""
    monkeypatch.setattr(lower_bounds, "_MANY_ENTRIES", -1_000_000)


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record how many entries the claims that begin at the front have walked over."""
    counts: list[int] = []
    learn = LowerBounds.learn

    def record(self: LowerBounds, query: Any, rows: Any, walked: int) -> None:
        counts.append(walked)
        learn(self, query, rows, walked)

    monkeypatch.setattr(LowerBounds, "learn", record)
    return counts


@pytest.fixture
def bounded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the sequences of the rows that bounded claims have taken."""
    sequences: list[int] = []
    advance = LowerBounds.advance

    def record(self: LowerBounds, query: Any, rows: Any) -> None:
        sequences.extend(row["sequence"] for row in rows)
        advance(self, query, rows)

    monkeypatch.setattr(LowerBounds, "advance", record)
    return sequences


@asynccontextmanager
async def snapshot_of(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Keep a snapshot open, as another program's report does."""
    async with connection.transaction(isolation="repeatable_read"):
        await connection.fetchval("SELECT count(*) FROM pg_class")
        yield


@pytest.mark.parametrize("types", [("a",), TYPES])
async def test_claims_walk_once_over_what_a_snapshot_keeps(
    storage: PostgresStorage,
    schema: str,
    admin: asyncpg.Connection,
    rival: asyncpg.Connection,
    *,
    walked: list[int],
    bounded: list[int],
    types: tuple[str, ...],
) -> None:
    await admin.execute(_FILLING.replace("{schema}", schema))
    await admin.execute(f"VACUUM ANALYZE {schema}.tasks")
    async with snapshot_of(rival):
        await admin.execute(_END_MOST.replace("{schema}", schema))

        claimed = [await storage.claim_next_task("agent-1", task_types=types) for _ in range(6)]

    expected = [8001 + n for n in range(6)] if len(types) > 1 else [8002 + 2 * n for n in range(6)]
    assert [task and task.id for task in claimed] == [f"task-{number}" for number in expected]
    assert len(walked) == 1
    assert walked[0] > 3900
    assert bounded == expected[1:]


async def test_a_claim_that_walks_over_little_leaves_no_bounds(
    storage: PostgresStorage, schema: str, admin: asyncpg.Connection, walked: list[int], bounded: list[int]
) -> None:
    await admin.execute(_FILLING.replace("{schema}", schema))
    await admin.execute(f"VACUUM ANALYZE {schema}.tasks")

    await storage.claim_next_tasks("agent-1", limit=500, task_types=TYPES)
    await storage.claim_next_task("agent-1", task_types=TYPES)

    assert len(walked) == 2
    assert walked[0] <= 1002
    assert not bounded


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize("types", [("a",), TYPES, ("a", "b", "c", "d", "e")])
@pytest.mark.parametrize("statistics", ["none", "of an empty table", "of all"])
async def test_a_bounded_claim_reads_little_whatever_the_statistics_are_of(
    storage: PostgresStorage,
    schema: str,
    admin: asyncpg.Connection,
    *,
    statistics: str,
    types: tuple[str, ...],
    is_shared: bool,
) -> None:
    await admin.execute(f"ALTER TABLE {schema}.tasks SET (autovacuum_enabled = false)")
    if statistics == "of an empty table":
        await admin.execute(f"VACUUM ANALYZE {schema}.tasks")
    await admin.execute(_FILLING.replace("{schema}", schema))
    await admin.execute(_END_MOST.replace("{schema}", schema))
    await admin.execute(f"UPDATE {schema}.tasks SET version = 2 WHERE sequence > 8990")  # ready again
    if statistics == "of all":
        await admin.execute(f"ANALYZE {schema}.tasks")

    parts = await plan_of(admin, schema, types, 4, is_shared=is_shared, bounds=[0, 8001, 0, 0])

    reads = [part for part in parts if part.get("Relation Name") == "tasks" and part["Node Type"] != "ModifyTable"]
    assert {part["Node Type"] for part in reads} <= {"Index Scan", "Index Only Scan"}
    assert max(part["Actual Rows"] + part.get("Rows Removed by Filter", 0) for part in reads) <= 36
    by_type = [part for part in reads if part["Index Name"] not in ("tasks_pkey", "tasks_delayed")]
    assert {part["Index Name"] for part in by_type} == {"tasks_ready_by_type", "tasks_ready_again"}
    assert all("priority" in part["Index Cond"] and "sequence" in part["Index Cond"] for part in by_type)


async def test_what_becomes_ready_again_comes_before_what_was_stored_later(
    storage: PostgresStorage, other: PostgresStorage, always: None, bounded: list[int]
) -> None:
    await storage.store_tasks([a_task(f"task-{n}", task_type="a") for n in range(9)])
    claimed = await storage.claim_next_tasks("agent-1", limit=3, task_types=["a"])
    await storage.claim_next_tasks("agent-1", limit=1, task_types=["a"])

    await other.release_task(claimed[1])
    again = [await storage.claim_next_task("agent-1", task_types=["a"]) for _ in range(2)]

    assert [task and task.id for task in again] == ["task-1", "task-4"]
    assert len(bounded) == 3


async def test_what_was_stored_in_a_transaction_that_ends_late_is_not_lost(
    storage: PostgresStorage, other: PostgresStorage, always: None
) -> None:
    async with other.transaction():
        await other.store_task(a_task("late", task_type="a"))
        await storage.store_tasks([a_task(f"task-{n}", task_type="a") for n in range(3)])
        first = await storage.claim_next_tasks("agent-1", limit=2, task_types=["a"])

    rest = [await storage.claim_next_task("agent-1", task_types=["a"]) for _ in range(3)]

    assert [task.id for task in first] == ["task-0", "task-1"]
    assert {task.id for task in rest if task} == {"late", "task-2"}


async def test_a_claim_begins_at_the_front_after_a_while(
    storage: PostgresStorage, other: PostgresStorage, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lower_bounds, "_SHORTEST_SECONDS", 0.0)
    async with other.transaction():
        await other.store_task(a_task("late", task_type="a"))
        await storage.store_tasks([a_task(f"task-{n}", task_type="a") for n in range(3)])
        await storage.claim_next_task("agent-1", task_types=["a"])

    task = await storage.claim_next_task("agent-1", task_types=["a"])

    assert task is not None
    assert task.id == "late"


async def test_bounded_claims_give_each_task_once(
    storage: PostgresStorage, other: PostgresStorage, always: None, bounded: list[int]
) -> None:
    await storage.store_tasks([a_task(f"task-{n}", task_type="ab"[n % 2]) for n in range(300)])
    claimed: list[str] = []

    async def claim(storage: PostgresStorage, agent_id: str) -> None:
        while tasks := await storage.claim_next_tasks(agent_id, limit=3, task_types=TYPES):
            claimed.extend(task.id for task in tasks)

    await asyncio.gather(*(claim(each, f"agent-{n}") for n in range(4) for each in (storage, other)))

    assert sorted(claimed) == sorted(f"task-{n}" for n in range(300))
    assert bounded


@pytest.mark.parametrize("seed", range(6))
async def test_bounded_claims_give_the_tasks_that_others_would_give(
    server: Any, schema: str, monkeypatch: pytest.MonkeyPatch, bounded: list[int], seed: int
) -> None:
    given = []
    for many in (2000, -1_000_000):
        monkeypatch.setattr(lower_bounds, "_MANY_ENTRIES", many)
        async with await PostgresStorage.open(server.url(schema=f"{schema}_{abs(many)}")) as storage:
            given.append(await _given(storage, random.Random(seed)))

    assert given[0] == given[1]
    assert len(bounded) > 20


async def _given(storage: PostgresStorage, chance: random.Random) -> list[list[str]]:
    """Store, claim and give back tasks by chance, and return the ids that each claim has given."""
    given: list[list[str]] = []
    held: list[TaskModel] = []
    stored = 0
    for _ in range(120):
        match chance.randrange(8):
            case 0 | 1 | 2:
                for _ in range(chance.randrange(1, 4)):
                    await storage.store_task(_any_task(stored, chance))
                    stored += 1
            case 3 | 4 | 5:
                types = chance.choice([("a",), TYPES, ("a", "b", "c")])
                tasks = await storage.claim_next_tasks("agent-1", limit=chance.randrange(1, 4), task_types=types)
                given.append([task.id for task in tasks])
                held += tasks
            case 6 if held:
                await storage.complete_task(held.pop(chance.randrange(len(held))))
            case 7 if held:
                task = held.pop(chance.randrange(len(held)))
                await (
                    storage.release_task(task)
                    if chance.random() < 0.5
                    else storage.fail_task(task, "once more", retry_in=0)
                )
            case 7 if stored:
                waiting = await storage.get_task(f"task-{chance.randrange(stored)}")
                if waiting is not None and waiting.assigned_to is None:
                    waiting.priority = chance.choice([*TaskPriority])
                    await storage.update_task(waiting)
    return given


def _any_task(number: int, chance: random.Random) -> TaskModel:
    dependencies = [f"task-{chance.randrange(number)}"] if number and chance.random() < 0.3 else []
    return a_task(
        f"task-{number}",
        task_type=chance.choice("abc"),
        priority=chance.choice([*TaskPriority]),
        run_at=after(-1) if chance.random() < 0.2 else None,
        dependencies=dependencies,
        max_retries=50,
        fails_with_dependencies=False,
    )
