"""Limits over HTTP: how many tasks of a type may be claimed at once, and how often."""

from litestar import Response, Router, delete, get, put
from litestar.params import JSONBody
from msgspec import Struct

from swarm_persistence import NotFoundError, TaskLimit
from swarm_persistence.web.answers import answer, record_answer
from swarm_persistence.web.dependencies import InjectedStorage, RecordId


class NewLimit(Struct, kw_only=True, forbid_unknown_fields=True):
    """What is limited; at least one of it."""

    running: int | None = None
    """How many tasks are claimed at once, at most."""
    per_key: int | None = None
    """How many with the same `concurrency_key`, at most."""
    starts: int | None = None
    """How many are claimed within a period, at most."""
    per: float | None = None
    """How many seconds the period has."""


@get("/")
async def list_limits(storage: InjectedStorage) -> Response[list[TaskLimit]]:
    """Return all limits, sorted by task type, which is the `id`."""
    return answer(await storage.list_limits())


@get("/{id:str}")
async def show_limit(record_id: RecordId, storage: InjectedStorage) -> Response[TaskLimit]:
    """Return the limit of a task type."""
    limit = await storage.get_limit(record_id)
    if limit is None:
        raise NotFoundError(f"limit of task type {record_id!r}")
    return record_answer(limit)


@put("/{id:str}")
async def put_limit(data: JSONBody[NewLimit], record_id: RecordId, storage: InjectedStorage) -> Response[TaskLimit]:
    """Set the limit of a task type, in place of an earlier one. Every claim of the whole swarm observes it."""
    limit = await storage.set_limit(
        record_id, running=data.running, per_key=data.per_key, starts=data.starts, per=data.per
    )
    return record_answer(limit)


@delete("/{id:str}")
async def delete_limit(record_id: RecordId, storage: InjectedStorage) -> None:
    """Delete the limit of a task type, if there is one."""
    await storage.delete_limit(record_id)


ROUTER = Router("/limits", route_handlers=[list_limits, show_limit, put_limit, delete_limit], tags=["limits"])
