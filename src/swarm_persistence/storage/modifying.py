"""Changes a stored record by a function, however many other writes come in between."""

from collections.abc import Callable
from typing import Any, TypeVar

from swarm_persistence.errors import ConflictError, InvalidQueryError, NotFoundError
from swarm_persistence.models import AgentModel, DocumentModel, Model, TaskModel
from swarm_persistence.schema.tables import Table
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.rewriting import update

V = TypeVar("V", AgentModel, TaskModel, DocumentModel)


async def modify(core: StorageCore, table: Table[V], id: str, function: Callable[[V], V | None]) -> V:
    """Read a record, apply a function to it, write and return it; retry if the record has changed in between."""
    if not table.is_versioned:
        raise InvalidQueryError(f"{table.model.__name__} has no version; change it within a transaction")
    while True:
        record = await core._get(table, id)
        if record is None:
            raise NotFoundError(f"{table.label} {id!r}")
        version = record.version
        changed = function(record)
        written = record if changed is None else changed
        if isinstance(written, Model) and written.id != id:
            raise InvalidQueryError(f"the function returned {table.label} {written.id!r}, expected {id!r}")
        try:
            await update(core, table, written)
        except ConflictError:
            stored: Any = await core._get(table, id)
            if stored is not None and stored.version == version:
                raise  # not because the record was stale
        else:
            return written
