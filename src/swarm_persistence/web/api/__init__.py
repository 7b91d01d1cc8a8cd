"""The HTTP API: a file for each noun, all below `/api/v1`."""

from litestar import Router
from litestar.di import Provide

from swarm_persistence.web.api import tasks
from swarm_persistence.web.api.parameters import record_id

ROUTERS = (
    Router(
        "/api/v1",
        route_handlers=[tasks.ROUTER],
        dependencies={"record_id": Provide(record_id, sync_to_thread=False)},
    ),
)
