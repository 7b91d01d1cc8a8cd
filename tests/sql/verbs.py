"""Every verb of the storage with some arguments, and a filled storage to run them on."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from swarm_persistence import (
    AgentModel,
    AgentStatus,
    DocumentModel,
    EventModel,
    MessageModel,
    MetricModel,
    QueryBuilder,
    SqliteStorage,
    TaskLimit,
    TaskModel,
    TaskPriority,
    TaskStatus,
)
from swarm_persistence.clock import ManualClock, use_clock
from swarm_persistence.engines.steps import Save
from swarm_persistence_conformance.records import (
    MOMENT,
    a_document,
    a_message,
    a_metric,
    a_schedule,
    a_task,
    after,
    an_agent,
    an_event,
)

Verb = Callable[[SqliteStorage], Awaitable[Any]]


def _group(number: int) -> str | None:
    return f"tenant-{number % 20}" if number % 2 else None


async def fill(storage: SqliteStorage) -> None:
    """Store a few hundred records of each model."""
    statuses, priorities = list(TaskStatus), list(TaskPriority)
    numbers = range(300)
    await storage.store_many(
        an_agent(f"agent-{n}", status=list(AgentStatus)[n % 7], created_at=after(n), group=_group(n)) for n in numbers
    )
    await storage.store_many(
        a_task(
            f"task-{n}",
            status=statuses[n % 6],
            priority=priorities[n % 4],
            assigned_to=f"agent-{n % 9}" if n % 6 else None,
            created_at=after(n),
            group=_group(n),
        )
        for n in numbers
    )
    await storage.store_many(
        an_event(
            f"event-{n}",
            agent_id=f"agent-{n % 9}",
            event_type=f"type-{n % 5}",
            timestamp=after(n),
            group=_group(n),
        )
        for n in numbers
    )
    await storage.store_many(
        a_message(
            f"message-{n}",
            from_agent=f"agent-{n % 9}",
            to_agent=f"agent-{n % 4}",
            read=n % 3 == 0,
            timestamp=after(n),
            group=_group(n),
        )
        for n in numbers
    )
    await storage.store_many(
        a_metric(
            f"metric-{n}",
            agent_id=f"agent-{n % 9}",
            metric_type=f"type-{n % 5}",
            timestamp=after(n),
            group=_group(n),
        )
        for n in numbers
    )
    await storage.store_many(a_schedule(f"schedule-{n}", next_at=after(3600 + n), paused=n % 4 == 0) for n in numbers)
    await storage.put_documents(
        a_document(f"note-{n}", collection=("notes", f"agent-{n % 9}"), label=f"run-{n % 50}") for n in numbers
    )


def _stored_document() -> DocumentModel:
    return a_document("note-1", collection=("notes", "agent-1"))


async def _update_document(storage: SqliteStorage) -> None:
    await storage.update_document(a_document("note-1", label="run-1", version=1))


async def _update_agent(storage: SqliteStorage) -> None:
    await storage.update_agent(an_agent("agent-1", version=1))


async def _update_task(storage: SqliteStorage) -> None:
    await storage.update_task(a_task("task-1", version=1))


async def _transaction(storage: SqliteStorage) -> None:
    async with storage.transaction():
        await storage.store_agent(an_agent("new"))
        async with storage.transaction():
            await storage.store_task(a_task("new"))


async def _held(storage: SqliteStorage) -> TaskModel:
    assert await storage.claim_task("task-0", "agent-1")
    task = await storage.get_task("task-0")
    assert task is not None
    return task


async def _extend_and_release(storage: SqliteStorage) -> None:
    task = await _held(storage)
    await storage.extend_lease(task)
    await storage.release_task(task)


async def _complete_task(storage: SqliteStorage) -> None:
    await storage.complete_task(await _held(storage), {"sum": 3})


async def _complete_and_claim(storage: SqliteStorage) -> None:
    tasks = await storage.claim_next_tasks("agent-1", limit=2)
    await storage.complete_and_claim([(task, task.id) for task in tasks], "agent-1", limit=2)


async def _fail_task(storage: SqliteStorage) -> None:
    await storage.fail_task(await _held(storage), "no disk", retry_in=0)


async def _fail_task_for_good(storage: SqliteStorage) -> None:
    """Fail a task without retries, which another one waits for."""
    await storage.store_task(a_task("last", status=TaskStatus.RUNNING, assigned_to="agent-1", max_retries=0))
    await storage.store_task(a_task("dependent", dependencies=["last"]))
    task = await storage.get_task("last")
    assert task is not None
    await storage.fail_task(task, "no disk")


async def _retry_task(storage: SqliteStorage) -> None:
    await storage.cancel_task("task-1")
    await storage.retry_task("task-1")


async def _requeue_expired_tasks(storage: SqliteStorage) -> None:
    clock = ManualClock(MOMENT)
    with use_clock(clock):
        await storage.claim_next_task("agent-1")
        clock.advance(61)
        await storage.requeue_expired_tasks()


async def _fire_due_schedules(storage: SqliteStorage) -> None:
    with use_clock(ManualClock(after(3601))):
        await storage.fire_due_schedules()


async def _watch_schedules(storage: SqliteStorage) -> None:
    watch = storage.watch_schedules()
    await watch.wait(0)
    watch.close()


async def _claim_of_keys(storage: SqliteStorage) -> None:
    # `set_limit` also looks for tasks that are claimed, to which no index leads.
    limit = TaskLimit(id="keyed", running=9, per_key=1, starts=9, per_seconds=60)
    await storage._executor().write([Save(limit)])  # in the transaction, if there is one
    await storage.store_tasks([a_task(f"a-{n}", task_type="keyed", concurrency_key="a") for n in range(60)])
    await storage.store_task(a_task("b", task_type="keyed", concurrency_key="b"))
    for _ in range(2):
        await storage.claim_next_task("agent-1", task_types=["keyed"])


async def _watch(records: AsyncGenerator[Any, None]) -> None:
    async with aclosing(records), asyncio.timeout(60):
        await anext(records)


async def _read_group(storage: SqliteStorage) -> None:
    for model in (AgentModel, TaskModel, EventModel, MessageModel, MetricModel):
        query = QueryBuilder[Any](model).where_eq("group", "tenant-1").where_tag("run", "1")
        await storage.repository(model).query(query)


async def _read_json(storage: SqliteStorage) -> None:
    tasks = storage.repository(TaskModel)
    for operator, value in (("eq", "a"), ("ne", 1), ("gt", 2**60), ("eq", True), ("ne", False)):
        await tasks.query(QueryBuilder(TaskModel).where_json("payload", ["of", "it"], operator, value))  # type: ignore[arg-type]


READS: dict[str, Verb] = {
    "get_agent": lambda storage: storage.get_agent("agent-1"),
    "list_agents": lambda storage: storage.list_agents(),
    "list_agents_by_status": lambda storage: storage.list_agents_by_status("active"),
    "get_task": lambda storage: storage.get_task("task-1"),
    "get_pending_tasks": lambda storage: storage.get_pending_tasks(),
    "get_tasks_by_agent": lambda storage: storage.get_tasks_by_agent("agent-1"),
    "get_events_by_agent": lambda storage: storage.get_events_by_agent("agent-1", 10),
    "get_events_by_type": lambda storage: storage.get_events_by_type("type-1", 10),
    "get_events_since": lambda storage: storage.get_events_since(after(200)),
    "get_messages_between": lambda storage: storage.get_messages_between("agent-1", "agent-2", 10),
    "get_unread_messages": lambda storage: storage.get_unread_messages("agent-1"),
    "get_metrics_by_agent": lambda storage: storage.get_metrics_by_agent("agent-1", "type-1"),
    "get_aggregated_metrics": lambda storage: storage.get_aggregated_metrics("type-1", MOMENT, after(250)),
    "get_ready_tasks": lambda storage: storage.get_ready_tasks(10),
    "get_blocked_tasks": lambda storage: storage.get_blocked_tasks(),
    "read_events": lambda storage: storage.read_events(20, 10, types=["type-1"]),
    "watch_events": lambda storage: _watch(storage.watch_events(20)),
    "watch_messages": lambda storage: _watch(storage.watch_messages("agent-1")),
    "watch_tasks": lambda storage: _watch(storage.watch_tasks()),
    "watch_tasks_of_group": lambda storage: _watch(storage.watch_tasks(group="tenant-3")),
    "get_document": lambda storage: storage.get_document(("notes", "agent-1"), "note-1"),
    "get_documents": lambda storage: storage.get_documents(("notes", "agent-1"), ["note-1", "note-10"]),
    "list_documents": lambda storage: storage.list_documents(("notes", "agent-1"), after="note-1", limit=10),
    "list_documents_below": lambda storage: storage.list_documents(("notes",), below=True, desc=True, limit=10),
    "list_documents_by_arrival": lambda storage: storage.list_documents(("notes", "agent-1"), by_arrival=True, limit=9),
    "list_documents_of_label": lambda storage: storage.list_documents(("notes",), below=True, label="run-1"),
    "list_document_keys": lambda storage: storage.list_document_keys(("notes", "agent-1"), desc=True, limit=1),
    "list_collections": lambda storage: storage.list_collections(("notes",)),
    "watch_documents": lambda storage: _watch(storage.watch_documents(("notes",), below=True)),
    "repository_query_of_a_group": _read_group,
    "repository_find_by_id": lambda storage: storage.repository(EventModel).find_by_id("event-1"),
}

WHOLE_TABLE_READS: dict[str, Verb] = {
    "repository_find_all": lambda storage: storage.repository(MetricModel).find_all(),
    "repository_count": lambda storage: storage.repository(MessageModel).count(),
    "repository_query": lambda storage: storage.repository(TaskModel).query(
        QueryBuilder(TaskModel)
        .where_in("task_type", ["a", "b"])
        .where_like("id", "task%")
        .where_ne("status", "failed")
        .where_not_null("started_at")
        .order_by("updated_at", desc=True)
        .limit(5)
        .offset(2)
    ),
    "repository_query_of_json": _read_json,
}

WRITES: dict[str, Verb] = {
    "store_agent": lambda storage: storage.store_agent(an_agent("new")),
    "update_agent": _update_agent,
    "update_agent_by_force": lambda storage: storage.update_agent(an_agent("agent-1"), force=True),
    "delete_agent": lambda storage: storage.delete_agent("agent-1"),
    "store_task": lambda storage: storage.store_task(a_task("new")),
    "update_task": _update_task,
    "claim_task": lambda storage: storage.claim_task("task-0", "agent-1"),
    "store_event": lambda storage: storage.store_event(an_event("new")),
    "store_message": lambda storage: storage.store_message(a_message("new")),
    "mark_message_read": lambda storage: storage.mark_message_read("message-1"),
    "store_metric": lambda storage: storage.store_metric(a_metric("new")),
    "store_many": lambda storage: storage.store_many([an_agent("new"), an_event("a"), an_event("b")]),
    "put_documents": lambda storage: storage.put_documents([a_document("new"), _stored_document()]),
    "put_documents_if_absent": lambda storage: storage.put_documents([], if_absent=[_stored_document()]),
    "put_new_documents": lambda storage: storage.put_documents([a_document("new")], if_absent=[a_document("newer")]),
    "update_document": _update_document,
    "take_document": lambda storage: storage.take_document(("notes", "agent-1"), "note-1"),
    "delete_documents": lambda storage: storage.delete_documents(("notes", "agent-1"), after="note-2"),
    "touch_documents": lambda storage: storage.touch_documents(
        ("notes", "agent-1"), label="run-1", expires_at=after(9)
    ),
    "copy_documents": lambda storage: storage.copy_documents(("notes", "agent-1"), ("copy",)),
    "repository_save": lambda storage: storage.repository(AgentModel).save(an_agent("agent-1", version=1)),
    "repository_save_task": lambda storage: storage.repository(TaskModel).save(a_task("task-1", version=1)),
    "repository_update": lambda storage: storage.repository(MessageModel).update(a_message("message-1")),
    "repository_delete": lambda storage: storage.repository(TaskModel).delete("task-1"),
}

COORDINATION: dict[str, Verb] = {
    "store_task_with_dependencies": lambda storage: storage.store_task(
        a_task("new", dependencies=["task-1", "task-3", "unknown"], run_at=after(1), idempotency_key="once")
    ),
    "store_event_once": lambda storage: storage.store_event(an_event("new", idempotency_key="once")),
    "claim_next_task": lambda storage: storage.claim_next_task("agent-1"),
    "claim_next_tasks_of_types": lambda storage: storage.claim_next_tasks("agent-1", limit=3, task_types=["a", "b"]),
    "claim_of_keys": _claim_of_keys,
    "claim_with_ageing": lambda storage: storage.claim_next_task("agent-1", task_types=["type-1"], ageing=60),
    "extend_and_release": _extend_and_release,
    "fail_task": _fail_task,
    "complete_task": _complete_task,
    "complete_and_claim": _complete_and_claim,
    "fail_task_for_good": _fail_task_for_good,
    "cancel_task": lambda storage: storage.cancel_task("task-1"),
    "retry_task": _retry_task,
    "requeue_expired_tasks": _requeue_expired_tasks,
    "store_schedule": lambda storage: storage.store_schedule(a_schedule("new")),
    "list_schedules": lambda storage: storage.list_schedules(),
    "pause_schedule": lambda storage: storage.pause_schedule("schedule-1"),
    "fire_due_schedules": _fire_due_schedules,
    "watch_schedules": _watch_schedules,
    "heartbeat": lambda storage: storage.heartbeat("agent-1"),
    "append_events": lambda storage: storage.append_events([an_event("another")]),
    "mark_messages_read": lambda storage: storage.mark_messages_read(
        "agent-1", up_to=a_message("message-1", to_agent="agent-1")
    ),
    "acknowledge_message": lambda storage: storage.acknowledge_message("message-1", "done"),
}

MAINTENANCE: dict[str, Verb] = {
    "transaction": _transaction,
    "vacuum": lambda storage: storage.vacuum(),
    "checkpoint": lambda storage: storage.checkpoint(),
}

HOUSEKEEPING: dict[str, Verb] = {
    "delete_where": lambda storage: storage.delete_where(QueryBuilder(TaskModel).where_eq("status", "failed")),
    "erase": lambda storage: storage.erase("tenant-1", collections=[("notes", "agent-1")]),
    "prune": lambda storage: storage.prune(after(200)),
    "count_by": lambda storage: storage.count_by(TaskModel, "task_type", "status"),
    "get_task_throughput": lambda storage: storage.get_task_throughput(MOMENT, after(250), 60, by_type=True, limit=2),
    "get_waiting_tasks": lambda storage: storage.get_waiting_tasks(),
    "get_agent_liveness": lambda storage: storage.get_agent_liveness(5),
    "get_waiting_dependents": lambda storage: storage.get_waiting_dependents("task-1"),
    "aggregate_metrics": lambda storage: storage.aggregate_metrics("type-1", MOMENT, after(250)),
    "aggregate_metrics_by_bucket": lambda storage: storage.aggregate_metrics(
        "type-1", MOMENT, after(250), 60, ("unit", "agent_id"), ("avg", "count", "p95")
    ),
}

VERBS: dict[str, Verb] = {**READS, **WHOLE_TABLE_READS, **WRITES, **COORDINATION, **HOUSEKEEPING, **MAINTENANCE}
