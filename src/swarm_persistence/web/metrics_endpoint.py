"""The metrics for Prometheus at `/metrics`."""

from litestar import Response, get
from litestar.di import NamedDependency
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from swarm_persistence import Storage
from swarm_persistence.telemetry import prometheus_text


@get("/metrics", include_in_schema=False)
async def metrics(storage: NamedDependency[Storage]) -> Response[str]:
    """Answer the metrics in Prometheus's text format."""
    return Response(await prometheus_text(storage), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})
