"""The tool that gives an overview."""

import asyncio
from typing import Any

from swarm_persistence import (
    EventModel,
    MessageModel,
    QueryBuilder,
    Storage,
    TaskModel,
    TaskStatus,
)
from swarm_persistence.mcp.tools.agents import list_agents


async def swarm_status(storage: Storage) -> dict[str, Any]:
    """Look at the whole swarm: tasks by status, the agents and when they were last heard of, unread messages."""
    tasks = storage.repository(TaskModel)
    unread = QueryBuilder(MessageModel).where_eq("read", False)
    counts, ready, agents, unread_count, event_count = await asyncio.gather(
        asyncio.gather(*(tasks.count(QueryBuilder(TaskModel).where_eq("status", each)) for each in TaskStatus)),
        storage.get_ready_tasks(1),
        list_agents(storage),
        storage.repository(MessageModel).count(unread),
        storage.repository(EventModel).count(),
    )
    return {
        "tasks": {status.value: count for status, count in zip(TaskStatus, counts, strict=True) if count},
        "next_ready_task": {"id": ready[0].id, "task_type": ready[0].task_type} if ready else None,
        **agents,
        "unread_messages": unread_count,
        "events": event_count,
    }
