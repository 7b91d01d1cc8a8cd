"""Facts about spans: of the engine's calls, and of tasks from the program that stores them to the worker."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from swarm_persistence import (
    AgentModel,
    ConflictError,
    DocumentModel,
    FailTask,
    InvalidQueryError,
    MemoryStorage,
    SnoozeTask,
    SqliteStorage,
    Storage,
    TaskModel,
    Worker,
    WorkerContext,
)
from swarm_persistence.blocking import open_storage
from swarm_persistence.telemetry import instrument, uninstrument
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.records import a_task, an_agent
from telemetry.recorded import Recorded, attributes, trace_parent

SYSTEMS = {"MemoryStorage": "memory", "SqliteStorage": "sqlite", "PostgresStorage": "postgresql"}


def a_worker(storage: Storage, **handlers: Any) -> Worker:
    return Worker(storage, AgentModel.new("worker-1", "worker", []), handlers, heeds_signals=False)


class TestCallsOfTheEngine:
    async def test_a_span_names_the_operation_the_table_and_the_rows(self, traced: Storage, recorded: Recorded) -> None:
        await traced.store_agent(an_agent("agent-1"))
        await traced.get_agent("agent-1")
        await traced.get_agent("agent-2")
        await traced.list_agents()

        stored, found, missing, listed = (
            recorded.span("INSERT agents"),
            *recorded.spans("SELECT agents"),
        )
        assert stored.kind is SpanKind.CLIENT
        assert attributes(stored) == {
            "db.system.name": SYSTEMS[type(traced).__name__],
            "db.namespace": traced.schema_name,
            "db.operation.name": "INSERT",
            "db.collection.name": "agents",
            "swarm_persistence.rows_written": 1,
        }
        rows = [attributes(span)["db.response.returned_rows"] for span in (found, missing, listed)]
        assert rows == [1, 0, 1]

    async def test_a_failed_call_names_its_error(self, traced: Storage, recorded: Recorded) -> None:
        await traced.store_agent(an_agent("agent-1"))
        recorded.clear()

        with pytest.raises(ConflictError):
            await traced.store_agent(an_agent("agent-1"))

        span = recorded.span("INSERT agents")
        assert (span.status.status_code, attributes(span)["error.type"]) == (StatusCode.ERROR, "ConflictError")
        (point,) = [
            point for point in recorded.points("db.client.operation.duration") if "error.type" in point.attributes
        ]
        assert point.count == 1

    async def test_a_transaction_is_traced_from_begin_to_commit(self, traced: Storage, recorded: Recorded) -> None:
        with recorded.tracer.start_as_current_span("caller") as caller:
            async with traced.transaction():
                await traced.store_agent(an_agent("agent-1"))
                await traced.get_agent("agent-1")

        assert recorded.names == ["BEGIN", "INSERT agents", "SELECT agents", "COMMIT", "caller"]
        parents = {span.parent.span_id for name in recorded.names[:-1] for span in recorded.spans(name) if span.parent}
        assert parents == {caller.get_span_context().span_id}

    async def test_what_is_undone_is_traced_too(self, traced: Storage, recorded: Recorded) -> None:
        async def undone() -> None:
            async with traced.transaction():
                async with traced.transaction():
                    await traced.store_agent(an_agent("agent-1"))
                with pytest.raises(ConflictError):
                    async with traced.transaction():
                        await traced.store_agent(an_agent("agent-1"))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await undone()

        assert recorded.names == [
            *("BEGIN", "SAVEPOINT", "INSERT agents", "RELEASE SAVEPOINT"),
            *("SAVEPOINT", "INSERT agents", "ROLLBACK TO SAVEPOINT", "ROLLBACK"),
        ]

    async def test_a_storage_that_is_no_longer_instrumented_makes_no_spans(
        self, traced: Storage, recorded: Recorded
    ) -> None:
        uninstrument(traced)

        await traced.store_task(a_task("task-1"))

        assert recorded.names == []
        assert (await traced.repository(TaskModel).find_all())[0].trace_parent is None

    async def test_a_storage_that_is_instrumented_twice_makes_each_span_once(
        self, traced: Storage, recorded: Recorded
    ) -> None:
        instrument(traced, tracer_provider=recorded.tracer_provider, meter_provider=recorded.meter_provider)

        await traced.store_agent(an_agent("agent-1"))

        assert recorded.names == ["INSERT agents"]

    async def test_the_storage_of_another_schema_is_traced_under_its_name(
        self, traced: Storage, recorded: Recorded
    ) -> None:
        async with traced.schema("acme") as other:
            recorded.clear()
            await other.store_task(a_task("task-1"))

            assert attributes(recorded.span("INSERT tasks"))["db.namespace"] == "acme"
            assert (await other.repository(TaskModel).find_all())[0].trace_parent == trace_parent(
                recorded.span("store analyze-data")
            )

    def test_the_blocking_form_is_traced_in_the_callers_span(self, recorded: Recorded, tmp_path: Path) -> None:
        with open_storage(tmp_path / "swarm.db") as storage:
            instrument(storage, tracer_provider=recorded.tracer_provider, meter_provider=recorded.meter_provider)
            with recorded.tracer.start_as_current_span("caller") as caller:
                storage.store_task(a_task("task-1"))
            claimed = storage.claim_next_task("agent-1")

        assert claimed is not None
        stored = recorded.span("store analyze-data")
        assert stored.parent is not None
        assert stored.parent.span_id == caller.get_span_context().span_id
        assert claimed.trace_parent == trace_parent(stored)
        assert attributes(recorded.span("claim analyze-data"))["messaging.client.id"] == "agent-1"

    def test_what_is_no_storage_is_refused(self) -> None:
        with pytest.raises(InvalidQueryError, match=r"storage is 'swarm\.db', expected a Storage"):
            instrument("swarm.db")  # type: ignore[arg-type]


class TestTasks:
    async def test_a_task_carries_the_span_in_which_it_was_stored(self, traced: Storage, recorded: Recorded) -> None:
        task = await traced.store_task(a_task("task-1"))

        span = recorded.span("store analyze-data")
        assert span.kind is SpanKind.PRODUCER
        assert attributes(span) == {
            "messaging.system": "swarm_persistence",
            "messaging.operation.name": "store",
            "messaging.operation.type": "send",
            "messaging.destination.name": "analyze-data",
            "messaging.message.id": "task-1",
        }
        assert task.trace_parent == trace_parent(span)
        assert await traced.get_task("task-1") == task
        insert = recorded.span("INSERT tasks")
        assert insert.parent is not None
        assert insert.parent.span_id == span.context.span_id

    async def test_a_span_that_the_caller_has_set_is_kept(self, traced: Storage, recorded: Recorded) -> None:
        given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

        await traced.store_task(a_task("task-1", trace_parent=given))

        stored = await traced.get_task("task-1")
        assert stored is not None
        assert stored.trace_parent == given

    async def test_a_task_that_could_not_be_stored_carries_none(self, traced: Storage) -> None:
        await traced.store_task(a_task("task-1"))
        again = a_task("task-1")

        with pytest.raises(ConflictError):
            await traced.store_task(again)

        assert again.trace_parent is None

    async def test_a_duplicate_of_a_key_is_not_sent_and_carries_no_span(
        self, traced: Storage, recorded: Recorded
    ) -> None:
        first, again = (TaskModel.new("step", 1, idempotency_key="page 7") for _ in range(2))
        await traced.store_task(first)

        found = await traced.store_task(again)

        assert found.id == first.id
        assert found.trace_parent == trace_parent(recorded.spans("store step")[0])
        assert again.trace_parent is None
        assert recorded.total("messaging.client.sent.messages") == 1

    async def test_tasks_of_one_write_share_a_span(self, traced: Storage, recorded: Recorded) -> None:
        tasks = [a_task("a"), a_task("b", dependencies=["a"]), a_task("c", task_type="other")]

        await traced.store_tasks(tasks)

        span = recorded.span("store")
        assert attributes(span)["messaging.batch.message_count"] == 3
        assert {task.trace_parent for task in tasks} == {trace_parent(span)}

    @pytest.mark.parametrize(
        ("end", "name"), [("complete_task", "complete"), ("release_task", "release"), ("fail_task", "retry")]
    )
    async def test_the_end_of_a_claim_is_linked_to_where_the_task_was_stored(
        self, traced: Storage, recorded: Recorded, end: str, name: str
    ) -> None:
        task = await traced.store_task(a_task("task-1"))
        claimed = await traced.claim_next_task("agent-1")

        await getattr(traced, end)(claimed, "because") if end == "fail_task" else await getattr(traced, end)(claimed)

        claim, settled = recorded.span("claim analyze-data"), recorded.span(f"{name} analyze-data")
        assert (claim.kind, settled.kind) == (SpanKind.CLIENT, SpanKind.CLIENT)
        kinds = [attributes(span)["messaging.operation.type"] for span in (claim, settled)]
        assert kinds == ["receive", "settle"]
        for span in (claim, settled):
            (link,) = span.links
            assert f"00-{link.context.trace_id:032x}-{link.context.span_id:016x}" == (task.trace_parent or "")[:-3]

    async def test_a_claim_that_finds_nothing_makes_no_span_of_a_message(
        self, traced: Storage, recorded: Recorded
    ) -> None:
        assert await traced.claim_next_task("agent-1") is None

        # The second asks, of two tables, whether a limit or a capability has kept a task from the agent.
        assert recorded.names == ["UPDATE tasks", "SELECT"]

    async def test_an_index_of_words_is_kept_and_searched_within_spans(
        self, traced: Storage, recorded: Recorded
    ) -> None:
        await traced.put_documents([DocumentModel.new(("notes",), "one", {"text": "some words"})])
        await traced.index_documents(("notes",))
        found = await traced.search_documents("words", ("notes",))

        assert len(found) == 1
        assert {"UPDATE documents", "SELECT documents"} <= {*recorded.names}


class TestWorker:
    async def test_a_handler_continues_the_trace_of_the_program_that_stored_its_task(
        self, traced: Storage, recorded: Recorded
    ) -> None:
        current = []

        async def handle(task: TaskModel, context: WorkerContext) -> None:
            current.append(trace.get_current_span().get_span_context())
            if task.payload:
                await context.storage.store_task(TaskModel.new("step", None))

        with recorded.tracer.start_as_current_span("caller") as caller:
            await traced.store_task(TaskModel.new("step", {"and": "more"}))
        async with a_worker(traced, step=handle) as worker:
            await worker.run_until_idle()

        first, second = recorded.spans("process step")
        assert (first.kind, second.kind) == (SpanKind.CONSUMER, SpanKind.CONSUMER)
        assert {context.trace_id for context in current} == {caller.get_span_context().trace_id}
        stored, stored_by_first = recorded.spans("store step")
        for child, parent in ((first, stored), (stored_by_first, first), (second, stored_by_first)):
            assert child.parent is not None
            assert child.parent.span_id == parent.context.span_id
        assert attributes(first)["messaging.client.id"] == worker._agent.id
        assert recorded.total("swarm_persistence.settled_tasks", {"messaging.operation.name": "complete"}) == 2

    async def test_a_blocking_handler_runs_in_the_span_too(self, traced: Storage, recorded: Recorded) -> None:
        def handle(task: TaskModel) -> int:
            return trace.get_current_span().get_span_context().span_id

        task = await traced.store_task(TaskModel.new("step", None))
        async with a_worker(traced, step=handle) as worker:
            await worker.run_until_idle()

        done = await traced.get_task(task.id)
        assert done is not None
        assert done.result == recorded.span("process step").context.span_id

    async def test_a_failed_handler_and_a_snoozed_one_are_told_apart(self, traced: Storage, recorded: Recorded) -> None:
        async def fail(_: TaskModel) -> None:
            raise FailTask("no such file")

        async def snooze(_: TaskModel) -> None:
            raise SnoozeTask(in_=600)

        await traced.store_tasks([TaskModel.new("fail", None), TaskModel.new("snooze", None)])
        async with a_worker(traced, fail=fail, snooze=snooze) as worker:
            await worker.run_until_idle()

        failed, snoozed = recorded.span("process fail"), recorded.span("process snooze")
        assert (failed.status.status_code, snoozed.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
        assert attributes(failed)["error.type"] == "FailTask"
        assert [event.name for event in failed.events] == ["exception"]
        assert {"fail fail", "release snooze"} <= {*recorded.names}


class TestMetrics:
    async def test_tasks_are_counted_as_they_are_sent_consumed_and_settled(
        self, traced: Storage, recorded: Recorded
    ) -> None:
        async def handle(_: TaskModel) -> None:
            await asyncio.sleep(0)

        await traced.store_tasks([TaskModel.new("step", None) for _ in range(5)])
        async with a_worker(traced, step=handle) as worker:
            await worker.run_until_idle()

        counts = [
            recorded.total(metric, {"messaging.destination.name": "step"})
            for metric in ("messaging.client.sent.messages", "messaging.client.consumed.messages")
        ]
        assert counts == [5, 5]
        assert recorded.total("swarm_persistence.settled_tasks", {"messaging.operation.name": "complete"}) == 5
        (duration,) = recorded.points("messaging.process.duration")
        assert duration.count == 5
        inserts = [
            point
            for point in recorded.points("db.client.operation.duration")
            if point.attributes["db.operation.name"] == "BATCH INSERT"
        ]
        assert [point.count for point in inserts] == [1]

    async def test_lost_leases_and_the_pool_are_counted(self, recorded: Recorded, clock: ManualClock) -> None:
        async with MemoryStorage() as storage:
            instrument(storage, tracer_provider=recorded.tracer_provider, meter_provider=recorded.meter_provider)
            await storage.store_tasks([a_task("task-1"), a_task("task-2")])
            await storage.claim_next_task("expires", lease=60)
            await storage.claim_next_task("exits", lease=600)
            clock.advance(61)
            await storage.requeue_expired_tasks()
            await storage.release_tasks_of("exits")

            assert recorded.total("swarm_persistence.lost_leases") == 2
            pools = {
                point.attributes["db.client.connection.pool.name"]
                for point in recorded.points("db.client.connection.max")
            }
            assert pools == {repr(storage)}

    async def test_the_programs_own_providers_are_the_default(self, tmp_path: Path) -> None:
        async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
            instrument(storage)  # the program has set none, so the spans go nowhere

            task = await storage.store_task(a_task("task-1"))

        assert task.trace_parent is None
