"""Groups over HTTP: erase all records of one user or tenant."""

from litestar import Response, Router, post
from litestar.params import JSONBody
from msgspec import Struct

from swarm_persistence import Erased
from swarm_persistence.web.answers import answer
from swarm_persistence.web.dependencies import InjectedStorage, RecordId
from swarm_persistence.web.problems import HttpProblem


class DeletionConfirmation(Struct, kw_only=True, forbid_unknown_fields=True):
    """Confirms what is to be deleted."""

    confirm: str
    """The name of the group once more."""
    collections: list[list[str]] = []
    """Collections whose documents are deleted as well, with those below them: documents have no group."""
    dry_run: bool = False
    """Delete nothing, and tell how many records would be."""


@post("/{id:str}/erase", status_code=200)
async def erase_group(
    data: JSONBody[DeletionConfirmation], record_id: RecordId, storage: InjectedStorage
) -> Response[Erased]:
    """Permanently delete all records of a group and its schedules, and return how many; `confirm` repeats its name.

    With `dry_run`, count them only.
    It runs in short writes. After an interruption, call it again: it deletes what is left.
    """
    if data.confirm != record_id:
        raise HttpProblem(422, f"confirm is {data.confirm!r}, expected {record_id!r}, the group to erase")
    return answer(await storage.erase(record_id, collections=data.collections, dry_run=data.dry_run))


ROUTER = Router("/groups", route_handlers=[erase_group], tags=["groups"])
