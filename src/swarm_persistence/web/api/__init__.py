"""The HTTP API: a file for each noun, all below `/api/v1`."""

from litestar import Router
from litestar.di import Provide

from swarm_persistence.web.api import (
    agents,
    documents,
    events,
    groups,
    limits,
    messages,
    metrics,
    pruning,
    schedules,
    tasks,
)
from swarm_persistence.web.api.parameters import record_id
from swarm_persistence.web.idempotency import idempotent_request

ROUTERS = (
    Router(
        "/api/v1",
        route_handlers=[
            agents.ROUTER,
            tasks.ROUTER,
            events.ROUTER,
            messages.ROUTER,
            metrics.ROUTER,
            documents.ROUTER,
            schedules.ROUTER,
            limits.ROUTER,
            groups.ROUTER,
            pruning.ROUTER,
        ],
        dependencies={
            "record_id": Provide(record_id, sync_to_thread=False),
            "idempotent": Provide(idempotent_request),
        },
    ),
)
