"""The tool that gives an overview."""

import asyncio
from collections import defaultdict
from typing import Any

from swarm_persistence import EventModel, MessageModel, QueryBuilder, Storage, TaskModel
from swarm_persistence.mcp.tools.agents import list_agents


async def swarm_status(storage: Storage) -> dict[str, Any]:
    """Look at the whole swarm: tasks by type and status, the agents and when they were last heard of, messages."""
    unread = QueryBuilder(MessageModel).where_eq("read", False)
    counts, ready, agents, unread_count, event_count = await asyncio.gather(
        storage.count_by(TaskModel, "task_type", "status"),
        storage.get_ready_tasks(1),
        list_agents(storage),
        storage.repository(MessageModel).count(unread),
        storage.repository(EventModel).count(),
    )
    tasks: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (task_type, status), count in counts.items():
        tasks[task_type][status.value] = count
    return {
        "tasks": tasks,
        "next_ready_task": {"id": ready[0].id, "task_type": ready[0].task_type} if ready else None,
        **agents,
        "unread_messages": unread_count,
        "events": event_count,
    }
