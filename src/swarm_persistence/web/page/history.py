"""Events, messages and metrics."""

import asyncio
from typing import Any
from urllib.parse import unquote

import msgspec
from litestar import Response, get
from litestar.params import FromPath, FromQuery

from swarm_persistence import EventModel, MessageModel, MetricModel
from swarm_persistence.clock import now
from swarm_persistence.web.dependencies import AnyRequest, InjectedStorage, InjectedVisit
from swarm_persistence.web.page.cache import cache_of
from swarm_persistence.web.page.charts import RANGES, Buckets
from swarm_persistence.web.page.lists import listed
from swarm_persistence.web.page.rendering import render

_EVENT_FILTERS = ("event_type", "agent_id", "task_id", "group")
_MOST_CONVERSATIONS = 200
_MOST_MESSAGES = 100
_MOST_METRICS = 200
_FUNCTIONS = ("count", "avg", "min", "max", "p50", "p95", "p99")


class Conversation(msgspec.Struct):
    """The messages between two agents."""

    first: str
    second: str
    count: int = 0
    unread: int = 0


@get("/events", include_in_schema=False)
async def events(request: AnyRequest, storage: InjectedStorage, visit: InjectedVisit) -> Response[str]:
    """List events, the latest first."""
    return render(visit, "events.html", found=await listed(request, storage, EventModel, _EVENT_FILTERS, "-sequence"))


@get("/messages", include_in_schema=False)
async def messages(storage: InjectedStorage, visit: InjectedVisit) -> Response[str]:
    """List the conversations."""
    counts = await cache_of(storage).get(
        "conversations", lambda: storage.count_by(MessageModel, "from_agent", "to_agent", "read")
    )
    pairs: dict[tuple[str, str], Conversation] = {}
    for (sender, receiver, is_read), count in counts.value.items():
        first, second = sorted((sender, receiver))
        pair = pairs.setdefault((first, second), Conversation(first, second))
        pair.count += count
        pair.unread += 0 if is_read else count
    found = sorted(pairs.values(), key=lambda pair: (-pair.unread, -pair.count))
    return render(
        visit,
        "messages.html",
        again_in=counts.newer_in or None,
        conversations=found[:_MOST_CONVERSATIONS],
        more=max(len(found) - _MOST_CONVERSATIONS, 0),
    )


@get("/messages/{first:str}/{second:str}", include_in_schema=False)
async def conversation(
    storage: InjectedStorage, visit: InjectedVisit, first: FromPath[str], second: FromPath[str]
) -> Response[str]:
    """Show the latest messages between two agents, the oldest of them first."""
    one, other = unquote(first), unquote(second)
    found = await storage.get_messages_between(one, other, _MOST_MESSAGES)
    return render(visit, "conversation.html", first=one, second=other, messages=[*reversed(found)])


@get("/measurements", include_in_schema=False)
async def metrics(
    storage: InjectedStorage, visit: InjectedVisit, type: FromQuery[str] = "", range: FromQuery[str] = "1h"
) -> Response[str]:
    """List the types of metrics, and chart one of them."""
    counts = await cache_of(storage).get("metrics", lambda: storage.count_by(MetricModel, "metric_type", "unit"))
    name = range if range in RANGES else "1h"
    buckets = Buckets(name, now())
    series: dict[str, Any] = {}
    if type:
        by_bucket, by_agent = await asyncio.gather(
            storage.aggregate_metrics(type, buckets.start, buckets.end, buckets.width, functions=_FUNCTIONS),
            storage.aggregate_metrics(type, buckets.start, buckets.end, None, ("agent_id", "unit"), _FUNCTIONS),
        )
        values = {
            kind: {buckets.place(each.bucket): each.values[kind] for each in by_bucket if each.bucket is not None}
            for kind in ("p99", "p95", "p50")
        }
        series = {"chart": buckets.lines(values), "by_bucket": by_bucket, "by_agent": by_agent}
    return render(
        visit,
        "metrics.html",
        again_in=counts.newer_in or 10,
        types=sorted(counts.value.items(), key=lambda each: -each[1])[:_MOST_METRICS],
        type=type,
        range=name,
        ranges=RANGES,
        start=buckets.start,
        **{"chart": None, "by_bucket": [], "by_agent": [], **series},
    )
