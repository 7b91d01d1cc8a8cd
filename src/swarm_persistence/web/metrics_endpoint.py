"""The metrics for Prometheus at `/metrics`."""

from litestar import Response, get
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from swarm_persistence.telemetry import prometheus_text
from swarm_persistence.web.dependencies import InjectedStorage


@get("/metrics", include_in_schema=False)
async def metrics(storage: InjectedStorage) -> Response[str]:
    """Answer the metrics in Prometheus's text format."""
    return Response(await prometheus_text(storage), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})
