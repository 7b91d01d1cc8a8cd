"""The first page: an overview of the swarm."""

import asyncio
from typing import Any

from litestar import Response, get
from litestar.params import FromQuery

from swarm_persistence import (
    AgentModel,
    EventModel,
    MessageModel,
    QueryBuilder,
    ScheduleModel,
    Storage,
    TaskModel,
    TaskStatus,
)
from swarm_persistence.clock import now
from swarm_persistence.query.task_statuses import FINISHED
from swarm_persistence.web.dependencies import InjectedStorage, InjectedVisit
from swarm_persistence.web.page.approvals import types_to_decide
from swarm_persistence.web.page.cache import cache_of
from swarm_persistence.web.page.charts import RANGES, Buckets, throughput_charts
from swarm_persistence.web.page.rendering import render

_MOST_AGENTS = 12
_MOST_TYPES = 12
_MOST_EVENTS = 8
_MOST_SCHEDULES = 5


@get("/", include_in_schema=False)
async def overview(storage: InjectedStorage, visit: InjectedVisit, range: FromQuery[str] = "1h") -> Response[str]:
    """Show tasks by status and type, the throughput, agents, and what waits."""
    name = range if range in RANGES else "1h"
    cache = cache_of(storage)
    planned = QueryBuilder(ScheduleModel).where_eq("paused", False).where_not_null("next_at").order_by("next_at")
    planned = planned.limit(_MOST_SCHEDULES)
    newest = QueryBuilder(EventModel).order_by("timestamp", desc=True).limit(_MOST_EVENTS)
    (counts, throughput, waiting, others), (agents, events, schedules, size) = await asyncio.gather(
        asyncio.gather(
            cache.get("task counts", lambda: storage.count_by(TaskModel, "task_type", "status")),
            cache.get(("throughput", name), lambda: _throughput(storage, name)),
            cache.get("waiting", storage.get_waiting_tasks),
            cache.get("other counts", lambda: _other_counts(storage)),
        ),
        asyncio.gather(
            storage.get_agent_liveness(_MOST_AGENTS),
            storage.repository(EventModel).query(newest),
            storage.repository(ScheduleModel).query(planned),
            storage.get_storage_size(),
        ),
    )
    types = _by_type(counts.value)
    unhandled = await types_to_decide(storage, (each.task_type for each in waiting.value))
    return render(
        visit,
        "overview.html",
        again_in=max(each.newer_in for each in (counts, throughput, waiting, others)) or 10,
        range=name,
        ranges=RANGES,
        totals={status: sum(each.get(status, 0) for each in types.values()) for status in TaskStatus},
        types=[*types.items()][:_MOST_TYPES],
        more_types=max(len(types) - _MOST_TYPES, 0),
        waiting=waiting.value[:_MOST_TYPES],
        unhandled=unhandled,
        undecided=sum(each.count for each in waiting.value if each.task_type in unhandled),
        planned=schedules,
        agents=agents,
        events=events,
        size=size,
        **throughput.value,
        **others.value,
    )


async def _throughput(storage: Storage, name: str) -> dict[str, Any]:
    buckets = Buckets(name, now())
    found = await storage.get_task_throughput(buckets.start, buckets.end, buckets.width)
    totals = {status: sum(each.counts.get(status, 0) for each in found.buckets) for status in FINISHED}
    return {
        "charts": throughput_charts(buckets, found),
        "buckets": found.buckets,
        "ended": totals,
        "since": found.since if found.since > buckets.start else None,
        "start": buckets.start,
        "per_second": sum(totals.values()) / buckets.seconds,
    }


async def _other_counts(storage: Storage) -> dict[str, Any]:
    agents, messages, events = await asyncio.gather(
        storage.count_by(AgentModel, "status"),
        storage.count_by(MessageModel, "read"),
        storage.repository(EventModel).count(),
    )
    return {
        "agent_count": sum(agents.values()),
        "message_count": sum(messages.values()),
        "unread_count": messages.get((False,), 0),
        "event_count": events,
    }


def _by_type(counts: dict[tuple[Any, ...], int]) -> dict[str, dict[TaskStatus, int]]:
    """Return the counts by type and status, the most frequent type first."""
    types: dict[str, dict[TaskStatus, int]] = {}
    for (task_type, status), count in counts.items():
        types.setdefault(task_type, {})[status] = count
    return dict(sorted(types.items(), key=lambda each: -sum(each[1].values())))
