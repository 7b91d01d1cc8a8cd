"""Claims on PostgreSQL that are asked for at the same time: one statement makes them, and each stands for itself."""

import asyncio
from collections import Counter
from typing import Any

import asyncpg
import pytest

from swarm_persistence import DatabaseError, PostgresStorage, TaskPriority
from swarm_persistence.engines.sql.postgres.claim_statements import ClaimTogetherStatement
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence_conformance.records import a_task, after


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record how many rows each shared claim asks for."""
    sizes: list[int] = []
    run = ClaimTogetherStatement.run_on

    async def record(self: ClaimTogetherStatement, connection: Connection) -> Any:
        sizes.append(len(self.owners))
        return await run(self, connection)

    monkeypatch.setattr(ClaimTogetherStatement, "run_on", record)
    return sizes


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Hold each shared claim back once it is committed: it sets the first event, and waits for the second."""
    committed, go_on = asyncio.Event(), asyncio.Event()
    run = ClaimTogetherStatement.run_on

    async def wait(self: ClaimTogetherStatement, connection: Connection) -> Any:
        found = await run(self, connection)
        committed.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(ClaimTogetherStatement, "run_on", wait)
    return committed, go_on


async def store(storage: PostgresStorage, count: int, **fields: Any) -> None:
    await storage.store_tasks([a_task(f"task-{n}", created_at=after(n), **fields) for n in range(count)])


async def test_claims_at_once_get_the_tasks_in_their_order_each_for_its_agent_and_lease(
    storage: PostgresStorage, shared: list[int]
) -> None:
    await store(storage, 9)
    await storage.store_task(a_task("urgent", priority=TaskPriority.CRITICAL))

    tasks = await asyncio.gather(*(storage.claim_next_task(f"agent-{n}", lease=60 * (n + 1)) for n in range(10)))

    assert [task and task.id for task in tasks] == ["urgent", *(f"task-{n}" for n in range(9))]
    assert [task and task.assigned_to for task in tasks] == [f"agent-{n}" for n in range(10)]
    leases = [task.lease_expires_at - task.updated_at for task in tasks if task and task.lease_expires_at]
    assert [round(lease.total_seconds()) for lease in leases] == [60 * (n + 1) for n in range(10)]
    assert [await storage.get_task(task.id) for task in tasks if task] == tasks
    assert shared == [10]


async def test_claims_at_once_beyond_the_tasks_get_none(storage: PostgresStorage, shared: list[int]) -> None:
    await store(storage, 3)

    tasks = await asyncio.gather(*(storage.claim_next_task("agent-1") for _ in range(40)))

    assert [task.id for task in tasks if task] == ["task-0", "task-1", "task-2"]
    assert tasks[3:] == [None] * 37
    assert shared == [40, 37]  # what was passed over as another transaction held it might be free again


async def test_claims_at_once_of_several_tasks_get_as_many_as_each_asks_for(
    storage: PostgresStorage, shared: list[int]
) -> None:
    await store(storage, 8)

    tasks = await asyncio.gather(*(storage.claim_next_tasks(f"agent-{n}", limit=n + 1) for n in range(5)))

    assert [[task.id for task in each] for each in tasks] == [
        ["task-0"],
        ["task-1", "task-2"],
        ["task-3", "task-4", "task-5"],
        ["task-6", "task-7"],
        [],
    ]
    assert shared[0] == 15


async def test_claims_of_other_types_are_made_for_themselves(storage: PostgresStorage, shared: list[int]) -> None:
    await storage.store_tasks([a_task(f"task-{n}", task_type="abc"[n % 3], created_at=after(n)) for n in range(12)])
    types = [["a"], ["b"], ["c", "a"]]

    tasks = await asyncio.gather(*(storage.claim_next_task("agent-1", task_types=types[n % 3]) for n in range(6)))

    assert all(task and task.task_type in types[n % 3] for n, task in enumerate(tasks))
    assert len({task.id for task in tasks if task}) == 6
    assert shared == [2, 2, 2]


async def test_a_refused_value_fails_the_claim_that_brings_it_and_no_other(
    storage: PostgresStorage, schema: str, admin: asyncpg.Connection, shared: list[int]
) -> None:
    await store(storage, 4)
    await admin.execute(f"ALTER TABLE {schema}.tasks ADD CHECK (assigned_to <> 'agent-1')")

    results = await asyncio.gather(*(storage.claim_next_task(f"agent-{n}") for n in range(4)), return_exceptions=True)

    assert isinstance(results[1], DatabaseError)
    claimed = [task for task in results if task and not isinstance(task, BaseException)]
    assert [(task.id, task.assigned_to, task.claim_count) for task in claimed] == [
        ("task-0", "agent-0", 1),
        ("task-1", "agent-2", 1),
        ("task-2", "agent-3", 1),
    ]
    assert [task.id for task in await storage.get_ready_tasks()] == ["task-3"]
    assert shared == [4]


async def test_an_unreadable_task_is_passed_over_and_left_as_it_was(
    storage: PostgresStorage, schema: str, admin: asyncpg.Connection, shared: list[int]
) -> None:
    await store(storage, 6)
    await admin.execute(f"""UPDATE {schema}.tasks SET payload = '"\\ud800"' WHERE id = 'task-1'""")
    text = f"SELECT status, assigned_to, claim_count, started_at FROM {schema}.tasks WHERE id = 'task-1'"
    before = await admin.fetch(text)

    claims = [storage.claim_next_tasks(f"agent-{limit}", limit=limit) for limit in (1, 2, 1)]
    tasks = await asyncio.gather(*claims)

    found = [[(task.id, task.claim_count) for task in each] for each in tasks]
    assert found == [[("task-0", 1)], [("task-2", 1), ("task-4", 1)], [("task-3", 1)]]
    assert await admin.fetch(text) == before
    assert shared == [4]


async def test_a_claim_that_is_cancelled_after_its_commit_gives_its_task_back_and_the_others_keep_theirs(
    storage: PostgresStorage, held: tuple[asyncio.Event, asyncio.Event]
) -> None:
    committed, go_on = held
    await store(storage, 5)
    calls = [asyncio.create_task(storage.claim_next_task(f"agent-{n}")) for n in range(5)]
    await committed.wait()

    calls[2].cancel()
    await asyncio.wait((calls[2],))
    go_on.set()
    tasks = [await call for n, call in enumerate(calls) if n != 2]

    assert calls[2].cancelled()
    assert [task and task.id for task in tasks] == ["task-0", "task-1", "task-3", "task-4"]
    await storage._abandoned_claims.settled()
    assert [(task.id, task.retry_count) for task in await storage.get_ready_tasks()] == [("task-2", 0)]


async def test_all_claims_of_a_statement_that_are_cancelled_give_their_tasks_back(
    storage: PostgresStorage, held: tuple[asyncio.Event, asyncio.Event]
) -> None:
    committed, go_on = held
    await store(storage, 4)
    calls = [asyncio.create_task(storage.claim_next_task(f"agent-{n}")) for n in range(4)]
    await committed.wait()

    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    go_on.set()
    await storage._abandoned_claims.settled()

    assert [task.id for task in await storage.get_ready_tasks()] == [f"task-{n}" for n in range(4)]


async def test_a_claim_that_is_cancelled_before_it_is_sent_takes_nothing(
    storage: PostgresStorage, held: tuple[asyncio.Event, asyncio.Event], shared: list[int]
) -> None:
    committed, go_on = held
    await store(storage, 6)
    first = [asyncio.create_task(storage.claim_next_task("agent-1")) for _ in range(2)]
    await committed.wait()
    later = [asyncio.create_task(storage.claim_next_task("agent-2")) for _ in range(3)]
    await asyncio.sleep(0)

    later[0].cancel()
    await asyncio.wait((later[0],))
    go_on.set()
    tasks = [await call for call in (*first, *later[1:])]

    assert [task and task.id for task in tasks] == [f"task-{n}" for n in range(4)]
    await storage._abandoned_claims.settled()
    assert [(task.id, task.claim_count) for task in await storage.get_ready_tasks()] == [("task-4", 0), ("task-5", 0)]


async def test_claims_at_once_let_all_that_is_due_be_ready_before_they_take_what_is_less_urgent(
    storage: PostgresStorage,
) -> None:
    await store(storage, 5, priority=TaskPriority.LOW)
    await storage.store_tasks([a_task(f"due-{n}", run_at=after(-1), priority=TaskPriority.HIGH) for n in range(7)])

    tasks = await asyncio.gather(*(storage.claim_next_task("agent-1") for _ in range(9)))

    assert [task and task.id for task in tasks] == [*(f"due-{n}" for n in range(7)), "task-0", "task-1"]


async def test_two_storages_that_claim_at_once_never_get_the_same_task(
    storage: PostgresStorage, other: PostgresStorage
) -> None:
    await store(storage, 400)
    found: Counter[str] = Counter()

    async def work(each: PostgresStorage, name: str) -> None:
        while (task := await each.claim_next_task(name)) is not None:
            found[task.id] += 1
            await each.complete_task(task)

    await asyncio.gather(*(work(each, f"agent-{n}") for n in range(12) for each in (storage, other)))

    assert len(found) == 400
    assert set(found.values()) == {1}


async def test_claims_within_a_transaction_are_its_own(storage: PostgresStorage, shared: list[int]) -> None:
    await store(storage, 4)

    transaction = await storage.begin_transaction()
    tasks = await asyncio.gather(*(storage.claim_next_task("agent-1") for _ in range(3)))
    await transaction.rollback()

    assert [task and task.id for task in tasks] == ["task-0", "task-1", "task-2"]
    assert len(await storage.get_ready_tasks()) == 4
    assert shared == []


async def test_many_that_wait_for_a_task_look_for_it_together(storage: PostgresStorage, statements: list[str]) -> None:
    watches = [storage.watch_ready_tasks() for _ in range(30)]
    waits = [asyncio.create_task(watch.wait(40 + n / 2)) for n, watch in enumerate(watches)]

    await storage.store_task(a_task("task-1"))

    assert await asyncio.gather(*waits) == [True] * 30
    reads = [text for text in statements if text.startswith("SELECT")]
    # When the next one is due, and whether any is ready; again if they wake as the notifications begin.
    assert len(reads) < len(watches) / 2
    for watch in watches:
        watch.close()


async def test_a_read_that_is_shared_outlives_the_callers_that_give_up(
    storage: PostgresStorage, statements: list[str]
) -> None:
    await storage.store_task(a_task("task-1"))
    watch = storage.watch_ready_tasks()
    looks = [asyncio.create_task(watch.is_any_ready()) for _ in range(4)]
    await asyncio.sleep(0)

    looks[0].cancel()
    looks[2].cancel()
    found = await asyncio.gather(*looks, return_exceptions=True)

    assert [type(each) for each in found] == [asyncio.CancelledError, bool, asyncio.CancelledError, bool]
    assert len([text for text in statements if text.startswith("SELECT")]) == 1
    watch.close()
