"""Metrics over HTTP: list, show, store, aggregate."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Response, Router, get
from litestar.params import FromQuery, QueryParameter

from swarm_persistence import InvalidQueryError, MetricModel, MetricSummary
from swarm_persistence.errors import shown
from swarm_persistence.web.answers import answer
from swarm_persistence.web.api.records import common_handlers
from swarm_persistence.web.dependencies import InjectedStorage

_FUNCTIONS = ["avg", "min", "max", "sum", "count", "p50", "p95", "p99"]
# Litestar's own conversion lets the overflow of a date escape as a ValueError.
_Moment = Annotated[str, QueryParameter(description="RFC 3339, or Unix seconds.", schema_extra={"format": "date-time"})]


@get("/aggregates")
async def aggregate(
    storage: InjectedStorage,
    metric_type: FromQuery[str],
    start: _Moment,
    end: _Moment,
    bucket: Annotated[float | None, QueryParameter(description="Seconds; without it, one for the whole time.")] = None,
    group_by: Annotated[list[str] | None, QueryParameter(description="agent_id, unit, or both.")] = None,
    function: Annotated[
        list[str] | None, QueryParameter(description="avg, min, max, sum, count, or percentiles such as p99.9.")
    ] = None,
) -> Response[list[MetricSummary]]:
    """Summarize the metrics of a type between two times, inclusive, for each bucket of time and each group."""
    since, until = _moment("start", start), _moment("end", end)
    summaries = await storage.aggregate_metrics(
        metric_type, since, until, bucket, group_by or (), function or _FUNCTIONS
    )
    return answer(summaries)


def _moment(name: str, text: str) -> datetime:
    try:
        return msgspec.convert(text, datetime, strict=False)
    except (msgspec.ValidationError, OverflowError, ValueError) as error:
        raise InvalidQueryError(f"{name} is {shown(text)}: {error}") from error


ROUTER = Router(
    "/metrics",
    route_handlers=[
        *common_handlers(MetricModel),
        aggregate,
    ],
    tags=["metrics"],
)
