"""Every verb of the storage with some arguments, and a filled storage to run them on."""

from collections.abc import Awaitable, Callable
from typing import Any

from swarm_persistence import (
    AgentModel,
    AgentStatus,
    EventModel,
    MessageModel,
    MetricModel,
    QueryBuilder,
    SqliteStorage,
    TaskModel,
    TaskPriority,
    TaskStatus,
)
from swarm_persistence.testing.records import MOMENT, a_message, a_metric, a_task, after, an_agent, an_event

Verb = Callable[[SqliteStorage], Awaitable[Any]]


async def fill(storage: SqliteStorage) -> None:
    """Store a few hundred records of each model."""
    statuses, priorities = list(TaskStatus), list(TaskPriority)
    numbers = range(300)
    await storage.store_many(
        an_agent(f"agent-{n}", status=list(AgentStatus)[n % 7], created_at=after(n)) for n in numbers
    )
    await storage.store_many(
        a_task(
            f"task-{n}",
            status=statuses[n % 6],
            priority=priorities[n % 4],
            assigned_to=f"agent-{n % 9}" if n % 6 else None,
            created_at=after(n),
        )
        for n in numbers
    )
    await storage.store_many(
        an_event(f"event-{n}", agent_id=f"agent-{n % 9}", event_type=f"type-{n % 5}", timestamp=after(n))
        for n in numbers
    )
    await storage.store_many(
        a_message(
            f"message-{n}",
            from_agent=f"agent-{n % 9}",
            to_agent=f"agent-{n % 4}",
            read=n % 3 == 0,
            timestamp=after(n),
        )
        for n in numbers
    )
    await storage.store_many(
        a_metric(f"metric-{n}", agent_id=f"agent-{n % 9}", metric_type=f"type-{n % 5}", timestamp=after(n))
        for n in numbers
    )


async def _update_agent(storage: SqliteStorage) -> None:
    await storage.update_agent(an_agent("agent-1", version=1))


async def _update_task(storage: SqliteStorage) -> None:
    await storage.update_task(a_task("task-1", version=1))


async def _transaction(storage: SqliteStorage) -> None:
    async with storage.transaction():
        await storage.store_agent(an_agent("new"))
        async with storage.transaction():
            await storage.store_task(a_task("new"))


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
    "repository_save": lambda storage: storage.repository(AgentModel).save(an_agent("agent-1", version=1)),
    "repository_update": lambda storage: storage.repository(MessageModel).update(a_message("message-1")),
    "repository_delete": lambda storage: storage.repository(TaskModel).delete("task-1"),
}

MAINTENANCE: dict[str, Verb] = {
    "transaction": _transaction,
    "vacuum": lambda storage: storage.vacuum(),
    "checkpoint": lambda storage: storage.checkpoint(),
}

VERBS: dict[str, Verb] = {**READS, **WHOLE_TABLE_READS, **WRITES, **MAINTENANCE}
