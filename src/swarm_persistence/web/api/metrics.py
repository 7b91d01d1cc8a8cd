"""Metrics over HTTP: list, show, store, aggregate."""

from datetime import datetime
from typing import Annotated

from litestar import Response, Router, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from swarm_persistence import MetricModel, MetricSummary, Storage
from swarm_persistence.web.answers import answer
from swarm_persistence.web.api.records import count_handler, list_handler, show_handler, store_handler

_FUNCTIONS = ["avg", "min", "max", "sum", "count", "p50", "p95", "p99"]


@get("/aggregates")
async def aggregate(
    storage: NamedDependency[Storage],
    metric_type: FromQuery[str],
    start: FromQuery[datetime],
    end: FromQuery[datetime],
    bucket: Annotated[float | None, QueryParameter(description="Seconds; without it, one for the whole time.")] = None,
    group_by: Annotated[list[str] | None, QueryParameter(description="agent_id, unit, or both.")] = None,
    function: Annotated[
        list[str] | None, QueryParameter(description="avg, min, max, sum, count, or percentiles such as p99.9.")
    ] = None,
) -> Response[list[MetricSummary]]:
    """Summarize the metrics of a type between two times, inclusive, for each bucket of time and each group."""
    summaries = await storage.aggregate_metrics(metric_type, start, end, bucket, group_by or (), function or _FUNCTIONS)
    return answer(summaries)


ROUTER = Router(
    "/metrics",
    route_handlers=[
        list_handler(MetricModel),
        store_handler(MetricModel),
        count_handler(MetricModel),
        aggregate,
        show_handler(MetricModel),
    ],
    tags=["metrics"],
)
