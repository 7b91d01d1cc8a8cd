"""Facts about the changes of single rows that callers ask for at the same time: they share a statement, not a fate."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from polling import until
from postgres.conftest import a_lock_is_waited_for
from postgres.proxies import Proxy
from swarm_persistence import LeaseLostError, OutcomeUnknownError, PoolError, PostgresStorage, TaskModel, TaskStatus
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.row_updates import RowUpdatePlan
from swarm_persistence.storage.leases import brief_completion, completion
from swarm_persistence.worker import Worker
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_message, a_task, an_agent, ids


async def claimed(storage: PostgresStorage, count: int, **fields: Any) -> list[TaskModel]:
    """Store tasks and claim them."""
    await storage.store_tasks([a_task(f"task-{number}", **fields) for number in range(count)])
    return await storage.claim_next_tasks("agent-1", limit=count)


ENDS: dict[str, Callable[[PostgresStorage, TaskModel], Any]] = {
    "complete": lambda storage, task: storage.complete_task(task, task.id),
    "fail": lambda storage, task: storage.fail_task(task, "broken"),
    "fail for good": lambda storage, task: storage.fail_task(task, "broken"),
    "cancel": lambda storage, task: storage.cancel_task(task.id),
    "release": lambda storage, task: storage.release_task(task),
    "extend": lambda storage, task: storage.extend_lease(task),
}


class TestStatements:
    """One for all that are asked for at the same time."""

    async def test_completing_and_claiming_is_one_statement_for_the_completions_and_one_for_the_claims(
        self, storage: PostgresStorage, statements: list[str]
    ) -> None:
        tasks = await claimed(storage, 50)
        await storage.store_tasks([a_task(f"next-{number}") for number in range(50)])
        await storage.complete_and_claim([], "agent-1", limit=1)  # whose statement is prepared now
        statements.clear()

        done = await storage.complete_and_claim([(task, task.id) for task in tasks], "agent-1", limit=40)

        assert (len(statements), len(done.claimed), done.lost) == (2, 40, [])
        (completions,) = [each for each in statements if "meet_dependencies" in each]
        assert "payload" not in completions
        assert [await storage.get_task(task.id) for task in tasks] == tasks

    async def test_many_changes_are_a_statement_beside_one_in_flight_and_few_wait(
        self, storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, *rest = await claimed(storage, 129)
        run, sizes, may_go = RowUpdatePlan.run, [], asyncio.Event()

        async def held(plan: RowUpdatePlan, connection: Connection, updates: Any) -> Any:
            sizes.append(len(updates))
            if len(sizes) == 1:
                await may_go.wait()
            return await run(plan, connection, updates)

        monkeypatch.setattr(RowUpdatePlan, "run", held)
        completing = asyncio.create_task(storage.complete_task(first))
        await until(lambda: sizes)
        async with asyncio.timeout(20):
            few = asyncio.gather(*map(storage.complete_task, rest[:63]))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert sizes == [1]
            await asyncio.gather(*map(storage.complete_task, rest[63:]), few)
            assert not completing.done()
            may_go.set()
            await completing
        assert sizes == [1, 128]

    async def test_completions_are_compiled_once_and_make_no_steps_of_their_own(
        self, storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second, third, *rest = await claimed(storage, 10)
        await storage.complete_task(first)
        await storage.complete_and_claim([(third, None)], "agent-1", limit=0)
        for write in (completion, brief_completion):
            monkeypatch.setattr(write, "steps_of", lambda *_: pytest.fail("the steps were made anew"))

        await storage.complete_task(second)
        done = await storage.complete_and_claim([(task, None) for task in rest], "agent-1", limit=0)

        assert done.lost == []

    async def test_the_claims_of_a_completion_are_given_back_if_its_completions_fail(
        self, storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tasks = await claimed(storage, 2)
        await storage.store_tasks([a_task("next")])

        async def fail(*_: Any) -> Any:
            raise OutcomeUnknownError("the answer was lost")

        monkeypatch.setattr("swarm_persistence.engines.sql.postgres.row_updates.RowUpdatePlan.run", fail)
        with pytest.raises(OutcomeUnknownError):
            await storage.complete_and_claim([(task, 1) for task in tasks], "agent-1", limit=5)
        monkeypatch.undo()

        async with asyncio.timeout(20):
            while ids(await storage.get_pending_tasks()) != ["next"]:
                pass

    @pytest.mark.parametrize("end", ENDS)
    async def test_all_that_end_at_the_same_time_are_one_statement(
        self, storage: PostgresStorage, statements: list[str], end: str
    ) -> None:
        tasks = await claimed(storage, 50, max_retries=0 if end == "fail for good" else 3)
        statements.clear()

        await asyncio.gather(*(ENDS[end](storage, task) for task in tasks))

        assert len(statements) == 1
        stored = {task.id: task for task in await storage.repository(TaskModel).find_all()}
        if end == "cancel":
            assert {task.status for task in stored.values()} == {TaskStatus.CANCELLED}
        else:
            assert [stored[task.id] for task in tasks] == tasks

    async def test_those_that_others_wait_for_fail_with_them_and_the_rest_in_one_statement(
        self, storage: PostgresStorage, statements: list[str]
    ) -> None:
        tasks = await claimed(storage, 20, max_retries=0)
        await storage.store_task(a_task("next", dependencies=["task-3"]))
        await storage.store_task(a_task("after", dependencies=["task-9"], fails_with_dependencies=False))
        statements.clear()

        await asyncio.gather(*(storage.fail_task(task, "broken") for task in tasks))

        assert len([text for text in statements if "is_awaited" in text]) == 1
        stored = {task.id: task.status for task in await storage.repository(TaskModel).find_all()}
        assert stored.pop("after") is TaskStatus.PENDING
        assert set(stored.values()) == {TaskStatus.FAILED}

    async def test_one_that_ends_alone_is_one_statement(self, storage: PostgresStorage, statements: list[str]) -> None:
        (task,) = await claimed(storage, 1)
        await storage.store_task(a_task("next", dependencies=["task-0"]))
        statements.clear()

        await storage.complete_task(task)

        assert len(statements) == 1
        assert ids(await storage.get_ready_tasks()) == ["next"]

    async def test_heartbeats_and_marks_of_messages_are_one_statement_each(
        self, storage: PostgresStorage, statements: list[str]
    ) -> None:
        await storage.store_many([an_agent(str(number)) for number in range(20)])
        await storage.store_many([a_message(str(number)) for number in range(20)])
        statements.clear()

        await asyncio.gather(*(storage.heartbeat(str(number)) for number in range(20)))
        await asyncio.gather(*(storage.mark_message_read(str(number)) for number in range(20)))
        await asyncio.gather(*(storage.acknowledge_message(str(number)) for number in range(20)))

        assert [re.findall("UPDATE [^ ]+[.]([a-z]+)\n", text) for text in statements] == [
            ["agents"], ["messages"], ["messages"],
        ]  # fmt: skip

    async def test_two_changes_of_one_row_are_two_statements_in_their_order(
        self, storage: PostgresStorage, statements: list[str]
    ) -> None:
        (task,) = await claimed(storage, 1)
        copies = [copy for _ in range(3) if (copy := await storage.get_task(task.id)) is not None]
        statements.clear()

        await asyncio.gather(*(storage.extend_lease(copy, lease=60 * place) for place, copy in enumerate(copies, 1)))

        assert len(statements) == 3
        assert [copy.version for copy in copies] == [task.version + 1, task.version + 2, task.version + 3]

    async def test_handlers_that_end_at_the_same_time_are_recorded_in_one_statement(
        self, storage: PostgresStorage, statements: list[str]
    ) -> None:
        await storage.store_tasks([a_task(str(number), task_type="work") for number in range(8)])
        started, may_end = asyncio.Semaphore(0), asyncio.Event()

        async def work(task: TaskModel) -> str:
            started.release()
            await may_end.wait()
            return task.id

        async with Worker(storage, an_agent(), {"work": work}, concurrency=8, heeds_signals=False) as worker:
            for _ in range(8):
                await started.acquire()
            statements.clear()
            may_end.set()
            await until(lambda: worker.outcomes["completed"] == 8)

        assert len([text for text in statements if "meet_dependencies" in text]) == 1
        assert {task.id: task.result for task in await storage.repository(TaskModel).find_all()} == {
            str(number): str(number) for number in range(8)
        }

    async def test_within_a_transaction_each_is_its_own(self, storage: PostgresStorage, other: PostgresStorage) -> None:
        tasks = await claimed(storage, 4)
        async with storage.transaction():
            await asyncio.gather(*(storage.complete_task(task) for task in tasks[:2]))
            await elsewhere(other.complete_task(tasks[2]))
            assert (await other.get_task(tasks[0].id)).status is TaskStatus.ASSIGNED  # type: ignore[union-attr]


class TestLocks:
    """A row that another transaction holds keeps its own caller waiting, and no other one."""

    async def test_a_held_task_keeps_its_own_caller_waiting(
        self, storage: PostgresStorage, rival: asyncpg.Connection, admin: asyncpg.Connection
    ) -> None:
        tasks = await claimed(storage, 20)
        transaction = rival.transaction()
        await transaction.start()
        await rival.execute("SELECT FROM tasks WHERE id = 'task-7' FOR SHARE")

        calls = {task.id: elsewhere(storage.complete_task(task)) for task in tasks}
        held = calls.pop("task-7")
        await asyncio.gather(*calls.values())
        await a_lock_is_waited_for(admin)
        later = [elsewhere(storage.complete_task(task)) for task in await claimed_again(storage, 5)]
        await asyncio.gather(*later)

        assert not held.done()
        await transaction.rollback()
        await held

    async def test_a_held_dependent_keeps_the_callers_of_its_dependencies_waiting(
        self, storage: PostgresStorage, rival: asyncpg.Connection, admin: asyncpg.Connection
    ) -> None:
        tasks = await claimed(storage, 20)
        await storage.store_task(a_task("next", dependencies=["task-3", "task-4"]))
        transaction = rival.transaction()
        await transaction.start()
        await rival.execute("SELECT FROM tasks WHERE id = 'next' FOR UPDATE")

        calls = {task.id: elsewhere(storage.complete_task(task)) for task in tasks}
        held = [calls.pop("task-3"), calls.pop("task-4")]
        await asyncio.gather(*calls.values())
        await a_lock_is_waited_for(admin)

        assert not any(call.done() for call in held)
        await transaction.rollback()
        await asyncio.gather(*held)
        assert ids(await storage.get_ready_tasks()) == ["next"]

    async def test_a_close_waits_for_those_that_wait_for_a_row(
        self, url: str, storage: PostgresStorage, rival: asyncpg.Connection, admin: asyncpg.Connection
    ) -> None:
        tasks = await claimed(storage, 3)
        transaction = rival.transaction()
        await transaction.start()
        await rival.execute("SELECT FROM tasks WHERE id = 'task-1' FOR UPDATE")
        closing = await PostgresStorage.open(url)
        calls = [elsewhere(closing.complete_task(task)) for task in tasks]
        await asyncio.sleep(0)

        close = elsewhere(closing.close())
        await a_lock_is_waited_for(admin)
        await transaction.rollback()
        await close

        assert await asyncio.gather(*calls) == [None] * 3

    async def test_a_row_that_stays_held_fails_its_own_caller_only(
        self, url: str, storage: PostgresStorage, rival: asyncpg.Connection
    ) -> None:
        tasks = await claimed(storage, 5)
        transaction = rival.transaction()
        await transaction.start()
        await rival.execute("SELECT FROM tasks WHERE id = 'task-2' FOR UPDATE")

        builder = PostgresStorage.builder().connection_timeout(0.5).transaction_timeout(0.5)
        async with await builder.build(url) as impatient:
            outcomes = await asyncio.gather(*map(impatient.complete_task, tasks), return_exceptions=True)
        await transaction.rollback()

        assert [type(outcome) for outcome in outcomes] == [
            type(None), type(None), PoolError, type(None), type(None),
        ]  # fmt: skip


async def claimed_again(storage: PostgresStorage, count: int) -> list[TaskModel]:
    """Store more tasks and claim them."""
    await storage.store_tasks([a_task(f"later-{number}") for number in range(count)])
    return await storage.claim_next_tasks("agent-1", limit=count)


class TestLostAnswers:
    """What was sent, and not answered."""

    async def test_completions_that_were_done_are_told_as_unknown(
        self, impatient: PostgresStorage, storage: PostgresStorage, proxy: Proxy
    ) -> None:
        tasks = await claimed(impatient, 3)
        proxy.arming_words = proxy.fatal_words = b"what came of it"

        calls = (impatient.complete_task(task, "what came of it") for task in tasks)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)

        assert [type(outcome) for outcome in outcomes] == [OutcomeUnknownError] * 3
        assert {task.status for task in await storage.repository(TaskModel).find_all()} == {TaskStatus.COMPLETED}

    async def test_completions_that_were_not_done_are_done_by_another_try(
        self, storage: PostgresStorage, rival: asyncpg.Connection, admin: asyncpg.Connection
    ) -> None:
        tasks = await claimed(storage, 3)
        await storage.store_task(a_task("next", dependencies=["task-0", "task-1"]))
        transaction = rival.transaction()
        await transaction.start()
        await rival.execute("SELECT FROM tasks WHERE id = 'next' FOR UPDATE")
        calls = [elsewhere(storage.complete_task(task)) for task in tasks]
        await a_lock_is_waited_for(admin)

        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        await transaction.rollback()

        await asyncio.gather(*calls)
        assert ids(await storage.get_ready_tasks()) == ["next"]

    async def test_extensions_whose_answer_is_lost_are_done_again(
        self, impatient: PostgresStorage, storage: PostgresStorage, proxy: Proxy
    ) -> None:
        tasks = await claimed(impatient, 3)
        proxy.arming_words = proxy.fatal_words = b"lease_expires_at = coalesce(v"

        await asyncio.gather(*(impatient.extend_lease(task, lease=500) for task in tasks))

        stored = {task.id: task for task in await storage.repository(TaskModel).find_all()}
        assert [stored[task.id] for task in tasks] == tasks

    async def test_a_claim_that_is_over_is_told_as_such_without_a_loss(self, storage: PostgresStorage) -> None:
        tasks = await claimed(storage, 2)
        await storage.cancel_task("task-0")

        outcomes = await asyncio.gather(*map(storage.complete_task, tasks), return_exceptions=True)

        assert [type(outcome) for outcome in outcomes] == [LeaseLostError, type(None)]


CHANGES: dict[str, Callable[[PostgresStorage, TaskModel], Any]] = {
    **ENDS,
    "claim": lambda storage, _: storage.claim_task("task-9", "agent-2"),
    "update": lambda storage, task: storage.update_task(task),
}


@pytest.mark.parametrize("in_transaction", [True, False])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_of_a_task_finds_it_by_its_id_where_statistics_know_of_no_claimed_ones(
    storage: PostgresStorage,
    schema: str,
    admin: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    *,
    change: str,
    in_transaction: bool,
) -> None:
    await admin.execute(f"ALTER TABLE {schema}.tasks SET (autovacuum_enabled = false)")
    await storage.store_tasks([a_task(f"task-{number}", max_retries=0) for number in range(3000)])
    await admin.execute(f"VACUUM ANALYZE {schema}.tasks")
    if change == "claim":
        await admin.execute(f"UPDATE {schema}.tasks SET status = 'running' WHERE id <> 'task-9'")
        await admin.execute(f"VACUUM ANALYZE {schema}.tasks")
    task = (await storage.claim_next_tasks("agent-1", limit=1) or [a_task()])[0]
    run: list[str] = []
    call = Connection._call

    async def record(self: Connection, method: Any, text: str, *values: Any) -> Any:
        run.append(text)
        return await call(self, method, text, *values)

    monkeypatch.setattr(Connection, "_call", record)

    if in_transaction:
        async with storage.transaction():
            await CHANGES[change](storage, task)
    else:
        await CHANGES[change](storage, task)

    changes = [text for text in run if f'UPDATE "{schema}".tasks' in text and re.search(r"\bid = (\$|v)\d", text)]
    assert changes
    await admin.execute("SET plan_cache_mode = force_generic_plan")
    for text in changes:
        marks = max(map(int, re.findall(r"\$(\d+)", text)))
        await admin.execute(f"PREPARE change AS {text}")
        rows = await admin.fetch(f"EXPLAIN EXECUTE change({', '.join(['NULL'] * marks)})")
        await admin.execute("DEALLOCATE change")
        plan = "\n".join(row[0] for row in rows)
        assert {*re.findall(r"using (\w+) on tasks", plan)} <= {"tasks_id_key", "tasks_pkey"}, plan
        assert not re.search(r"(Seq|Bitmap Heap) Scan on tasks\b", plan), plan
