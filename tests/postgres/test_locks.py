"""Facts about locks: none is on a table, those of ids are held until the commit, and nothing slips in between."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from postgres.conftest import blocked_by
from sql.verbs import COORDINATION, HOUSEKEEPING, READS, WHOLE_TABLE_READS, WRITES, fill
from swarm_persistence import DependencyCycleError, PostgresStorage, TaskModel, TaskStatus
from swarm_persistence.engines.sql.postgres.id_locks import MOST_IDS
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, ids, status_of
from swarm_persistence_conformance.waiting import LIMIT_SECONDS

NEEDS_NO_TRANSACTION = {**READS, **WHOLE_TABLE_READS, **WRITES, **COORDINATION, **HOUSEKEEPING}
WATCHES = {name for name in NEEDS_NO_TRANSACTION if name.startswith("watch_")}

MODES = """
SELECT DISTINCT mode, relname
FROM pg_locks
JOIN pg_class ON pg_class.oid = relation
WHERE locktype = 'relation' AND relnamespace = $1::text::regnamespace
"""
COMMON_ADVISORY = """
SELECT count(*)
FROM pg_locks
JOIN pg_class ON pg_class.oid = objid
WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND relnamespace = $1::text::regnamespace
"""


@pytest_asyncio.fixture
async def open_more(url: str) -> AsyncIterator[Callable[[], Awaitable[PostgresStorage]]]:
    """Give the way to further storages, as further processes would open them."""
    async with AsyncExitStack() as stack:

        async def open_one() -> PostgresStorage:
            return await stack.enter_async_context(await PostgresStorage.open(url))

        yield open_one


async def claimed(storage: PostgresStorage, id: str) -> TaskModel:
    """Claim a task, and return it."""
    assert await storage.claim_task(id, "agent-1")
    task = await storage.get_task(id)
    assert task is not None
    return task


class TestTables:
    """No statement locks a table more strongly than a write of a row does, nor one lock that stands for a table."""

    @pytest.mark.parametrize("verb", sorted(NEEDS_NO_TRANSACTION.keys() - WATCHES))
    async def test_no_verb_locks_a_table(
        self, storage: PostgresStorage, schema: str, admin: asyncpg.Connection, verb: str
    ) -> None:
        await fill(storage)  # type: ignore[arg-type]

        async with storage.transaction():
            await NEEDS_NO_TRANSACTION[verb](storage)  # type: ignore[arg-type]
            modes = {mode for mode, _ in await admin.fetch(MODES, schema)}
            common = await admin.fetchval(COMMON_ADVISORY, schema)

        assert modes <= {"AccessShareLock", "RowShareLock", "RowExclusiveLock"}
        assert common == 0

    async def test_a_vacuum_holds_up_neither_stores_with_unknown_dependencies_nor_claims(
        self, storage: PostgresStorage, rival: asyncpg.Connection
    ) -> None:
        await storage.store_task(a_task("ready"))
        await rival.execute("BEGIN; LOCK TABLE tasks, task_links IN SHARE UPDATE EXCLUSIVE MODE")  # as VACUUM does
        async with asyncio.timeout(LIMIT_SECONDS):
            await storage.store_task(a_task("waiting", dependencies=["unknown"]))
            task = await storage.claim_next_task("agent-1")
            assert task is not None
            await storage.complete_task(task)
        await rival.execute("ROLLBACK")

    async def test_a_transaction_that_named_an_unknown_dependency_holds_up_no_other_writer(
        self, storage: PostgresStorage, other: PostgresStorage
    ) -> None:
        await storage.store_many([a_task("first"), a_task("second", max_retries=0), a_task("third")])

        async def work() -> None:
            async with asyncio.timeout(LIMIT_SECONDS):
                await other.store_task(a_task("new"))
                await other.store_task(a_task("behind", dependencies=["unknown", "third"]))
                await other.store_tasks([a_task("a", dependencies=["b"]), a_task("b", dependencies=["more unknown"])])
                await other.complete_task(await claimed(other, "first"))
                await other.fail_task(await claimed(other, "second"), "broken")
                await other.cancel_task("third")
                assert ids(await other.claim_next_tasks("agent-1", limit=9)) == ["new"]

        async with storage.transaction():
            await storage.store_task(a_task("waiting", dependencies=["unknown"]))
            await elsewhere(work())

    async def test_a_transaction_that_ends_a_task_holds_up_none_that_ends_another_one(
        self, storage: PostgresStorage, other: PostgresStorage
    ) -> None:
        await storage.store_many([a_task(f"{n}", max_retries=0) for n in range(6)])

        async def work() -> None:
            async with asyncio.timeout(LIMIT_SECONDS):
                await other.complete_task(await claimed(other, "0"))
                await other.fail_task(await claimed(other, "1"), "broken")
                await other.cancel_task("2")

        async with storage.transaction():
            await storage.complete_task(await claimed(storage, "3"))
            await storage.fail_task(await claimed(storage, "4"), "broken")
            await storage.cancel_task("5")
            await elsewhere(work())


class TestDependencies:
    """A dependency that is not stored when a task names it, and ends before that task is committed."""

    @pytest.mark.parametrize("end", ["complete", "store completed", "rewrite"])
    async def test_one_that_is_completed_meanwhile_does_not_keep_the_task_waiting(
        self, storage: PostgresStorage, other: PostgresStorage, admin: asyncpg.Connection, end: str
    ) -> None:
        async def complete() -> None:
            if end == "store completed":
                await other.store_task(a_task("dependency", status=TaskStatus.COMPLETED))
                return
            await other.store_task(a_task("dependency"))
            task = await claimed(other, "dependency")
            if end == "complete":
                await other.complete_task(task)
            else:
                task.status = TaskStatus.COMPLETED
                await other.update_task(task)

        async with storage.transaction():
            await storage.store_task(a_task("dependent", dependencies=["dependency"]))
            completing = elsewhere(complete())
            await blocked_by(admin, completing)

        await completing
        assert ids(await storage.get_ready_tasks()) == ["dependent"]

    async def test_one_that_has_to_wait_holds_up_no_completion_of_another_task(
        self, storage: PostgresStorage, other: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        async with storage.transaction():
            await storage.store_task(a_task("dependent", dependencies=["0"]))

            async def complete() -> "list[asyncio.Task[None]]":
                await other.store_tasks([a_task(f"{number}") for number in range(20)])
                tasks = await other.claim_next_tasks("agent-1", limit=20)
                completing = [asyncio.ensure_future(other.complete_task(task)) for task in tasks]  # as one batch
                async with asyncio.timeout(LIMIT_SECONDS):
                    await asyncio.gather(*completing[1:])
                return completing

            completing = await elsewhere(complete())
            await blocked_by(admin, completing[0])

        await completing[0]
        assert ids(await storage.get_ready_tasks()) == ["dependent"]

    @pytest.mark.parametrize("end", ["fail", "cancel", "store failed"])
    async def test_one_that_fails_meanwhile_fails_the_task(
        self, storage: PostgresStorage, other: PostgresStorage, admin: asyncpg.Connection, end: str
    ) -> None:
        async def fail() -> None:
            if end == "store failed":
                await other.store_task(a_task("dependency", status=TaskStatus.FAILED))
                return
            await other.store_task(a_task("dependency", max_retries=0))
            if end == "cancel":
                await other.cancel_task("dependency")
            else:
                await other.fail_task(await claimed(other, "dependency"), "broken")

        async with storage.transaction():
            await storage.store_task(a_task("dependent", dependencies=["dependency"]))
            failing = elsewhere(fail())
            await blocked_by(admin, failing)

        await failing
        assert await status_of(storage, "dependent") is TaskStatus.FAILED

    @pytest.mark.parametrize("is_completed", [True, False])
    async def test_one_that_ends_in_an_open_transaction_is_waited_for(
        self, storage: PostgresStorage, other: PostgresStorage, admin: asyncpg.Connection, is_completed: bool
    ) -> None:
        async with storage.transaction():
            await storage.store_task(a_task("dependency", max_retries=0))
            task = await claimed(storage, "dependency")
            await (storage.complete_task(task) if is_completed else storage.fail_task(task, "broken"))
            storing = elsewhere(other.store_task(a_task("dependent", dependencies=["dependency"])))
            await blocked_by(admin, storing)

        await storing
        assert await status_of(storage, "dependent") is (TaskStatus.PENDING if is_completed else TaskStatus.FAILED)
        assert ids(await storage.get_ready_tasks()) == (["dependent"] if is_completed else [])

    async def test_a_worker_of_the_version_before_fails_the_task_as_well(
        self, storage: PostgresStorage, rival: asyncpg.Connection, admin: asyncpg.Connection
    ) -> None:
        await storage.store_task(a_task("dependency", max_retries=0))
        turn = "SELECT pg_advisory_xact_lock((1398231633::bigint << 32) | 'task_links'::regclass::oid::bigint)"

        async def fail() -> bool:
            await rival.execute(f"BEGIN; {turn}")
            has_dependents: bool = await rival.fetchval("SELECT EXISTS (SELECT FROM task_links)")
            await rival.execute("COMMIT")
            return has_dependents

        async with storage.transaction():
            await storage.store_task(a_task("dependent", dependencies=["dependency"]))
            failing = elsewhere(fail())
            await blocked_by(admin, failing)

        assert await failing

    async def test_tasks_that_name_each_other_at_once_do_not_wait_for_each_other_for_ever(
        self, storage: PostgresStorage, other: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        async with storage.transaction():
            await storage.store_task(a_task("a", dependencies=["b"]))
            storing = elsewhere(other.store_task(a_task("b", dependencies=["a"])))
            await blocked_by(admin, storing)

        with pytest.raises(DependencyCycleError):
            await storing
        assert ids(await storage.repository(TaskModel).find_all()) == ["a"]

    async def test_unknown_dependencies_in_crossing_orders_are_no_deadlock(
        self, storage: PostgresStorage, other: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        names = [f"unknown-{number}" for number in range(20)]
        before = await deadlocks(admin)

        async def store(each: PostgresStorage, dependencies: list[str]) -> None:
            for number in range(20):
                await each.store_task(a_task(f"{dependencies[0]} {number}", dependencies=dependencies))

        await asyncio.gather(store(storage, names), store(other, names[::-1]))

        assert len(await storage.get_blocked_tasks()) == 40
        assert await deadlocks(admin) == before

    async def test_a_cycle_through_many_processes_is_never_stored(
        self, storage: PostgresStorage, open_more: Callable[[], Awaitable[PostgresStorage]]
    ) -> None:
        storages = [storage, await open_more(), await open_more(), await open_more()]

        async def store(each: PostgresStorage, id: str, dependency: str) -> bool:
            try:
                await each.store_task(a_task(id, dependencies=[dependency]))
            except DependencyCycleError:
                return False
            return True

        for number in range(15):
            names = [f"{number}-{place}" for place in range(4)]
            outcomes = await asyncio.gather(
                *(store(each, names[place], names[(place + 1) % 4]) for place, each in enumerate(storages))
            )
            assert outcomes.count(False) == 1


async def deadlocks(admin: asyncpg.Connection) -> int:
    await admin.execute("SELECT pg_stat_clear_snapshot()")
    count: int = await admin.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return count


class TestMany:
    """The server's table of locks is bounded, and so is what one transaction takes of it."""

    async def test_a_transaction_that_ends_thousands_of_tasks_takes_a_bounded_number_of_locks(
        self, storage: PostgresStorage, other: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        async with storage.transaction():
            await storage.store_tasks(
                [a_task(f"{number}", status=TaskStatus.CANCELLED) for number in range(MOST_IDS + 500)]
            )
            await storage.store_tasks([a_task(f"late-{n}", status=TaskStatus.CANCELLED) for n in range(MOST_IDS + 5)])
            taken = await admin.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
            storing = elsewhere(other.store_task(a_task("dependent", dependencies=[f"{MOST_IDS + 499}"])))
            await blocked_by(admin, storing)

        await storing
        assert await status_of(storage, "dependent") is TaskStatus.FAILED
        assert taken <= MOST_IDS + 10

    async def test_thousands_of_tasks_with_dependencies_among_each_other_take_a_bounded_number_of_locks(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        async with storage.transaction():
            await storage.store_tasks(
                [a_task("0"), *(a_task(f"{n}", dependencies=[f"{n - 1}"]) for n in range(1, 3 * MOST_IDS))]
            )
            taken = await admin.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")

        assert taken <= MOST_IDS + 10
        assert ids(await storage.get_ready_tasks()) == ["0"]


HAMMER = """
import asyncio, random, sys
from swarm_persistence import PostgresStorage, TaskModel, TaskStatus

async def main(url, name, count):
    chance = random.Random(name)
    async with await PostgresStorage.open(url) as storage:
        async def store(number):
            # Any task may name any other one of its round: before, while or after it is stored and ended.
            names = chance.sample(range(8), 2)
            dependencies = [f"{number}-{other}" for other in names if other < int(name)]
            task = TaskModel(id=f"{number}-{name}", task_type="t", payload=1, dependencies=dependencies, max_retries=0)
            await storage.store_task(task)
            held = await storage.claim_next_task(name)
            if held is None:
                return
            if chance.random() < 0.1:
                await storage.fail_task(held, "broken")
            else:
                await storage.complete_task(held)
        for number in range(int(count)):
            await store(number)
        while (held := await storage.claim_next_task(name)) is not None:
            await storage.complete_task(held)

asyncio.run(main(*sys.argv[1:]))
"""


class TestHammer:
    async def test_no_task_waits_for_ever_for_one_that_has_ended(self, storage: PostgresStorage, url: str) -> None:
        workers = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", HAMMER, url, str(place), "60")
            for place in range(8)
        ]
        assert await asyncio.gather(*(worker.wait() for worker in workers)) == [0] * 8
        while (held := await storage.claim_next_task("last")) is not None:
            await storage.complete_task(held)

        tasks: list[Any] = await storage.repository(TaskModel).find_all()
        assert len(tasks) == 480
        assert {task.status for task in tasks} == {TaskStatus.COMPLETED, TaskStatus.FAILED}
