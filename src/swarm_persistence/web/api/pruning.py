"""Pruning over HTTP: delete old records that are finished or handled."""

from litestar import Response, Router, post
from litestar.params import JSONBody
from msgspec import Struct, field
from msgspec.structs import asdict

from swarm_persistence import Pruned, TaskStatus
from swarm_persistence.query.task_statuses import FINISHED
from swarm_persistence.web.answers import answer
from swarm_persistence.web.dependencies import InjectedStorage


class Pruning(Struct, kw_only=True, forbid_unknown_fields=True):
    """What is old, and of which kinds of records it is deleted."""

    older_than: float
    """Seconds before the present time of the database's clock."""
    tasks: bool = True
    events: bool = True
    messages: bool = True
    metrics: bool = True
    documents: bool = True
    agents: bool = True
    task_statuses: list[TaskStatus] = field(default_factory=lambda: [*FINISHED])
    dry_run: bool = True
    """Delete nothing, and tell how many records would be; false deletes."""


@post("/", status_code=200)
async def prune(data: JSONBody[Pruning], storage: InjectedStorage) -> Response[Pruned]:
    """Permanently delete old records that are finished or handled; only count them unless `dry_run` is false.

    These are finished tasks that no unfinished one waits for, events, messages that are read or acknowledged, metrics,
    documents that have expired, and agents in shutdown. It runs in short writes.
    """
    return answer(await storage.prune(**asdict(data)))


ROUTER = Router("/prune", route_handlers=[prune], tags=["maintenance"])
