"""The limits of task types: how full each is, and what waits for it."""

import asyncio

from litestar import Response, get
from litestar.di import NamedDependency

from swarm_persistence import Storage
from swarm_persistence.storage.limit_usage import LimitUsage, usage_of
from swarm_persistence.web.access import Visit
from swarm_persistence.web.page.remembered import remembered_of
from swarm_persistence.web.page.rendering import render

_MOST_LIMITS = 100
_MOST_KEYS = 8
_POLL_SECONDS = 0.75
"""Commits to tasks are told; those to limits alone are not."""


@get("/limits", include_in_schema=False)
async def limits(storage: NamedDependency[Storage], visit: NamedDependency[Visit]) -> Response[str]:
    """List the limits by task type."""
    usages = await remembered_of(storage).get("limits", lambda: _usages(storage))
    found, more = usages.value
    return render(
        visit, "limits.html", again_in=max(usages.newer_in, 0.75), usages=found, more=more, most_keys=_MOST_KEYS
    )


async def _usages(storage: Storage) -> tuple[list[LimitUsage], int]:
    found = await storage.list_limits()
    usages = await asyncio.gather(*(usage_of(storage, each) for each in found[:_MOST_LIMITS]))
    return usages, max(len(found) - _MOST_LIMITS, 0)
