"""Changes a stored record by a function, retrying after concurrent writes; retries a finished task so."""

from collections.abc import Callable
from typing import Any, TypeVar

from swarm_persistence.clock import now
from swarm_persistence.errors import ConflictError, InvalidQueryError
from swarm_persistence.models import AgentModel, DocumentModel, Model, TaskModel, TaskStatus
from swarm_persistence.query.task_statuses import FINISHED
from swarm_persistence.schema.tables import TASKS, Table
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.documents import id_of
from swarm_persistence.storage.rewriting import update

V = TypeVar("V", AgentModel, TaskModel, DocumentModel)


async def modify(core: StorageCore, table: Table[V], id: str, function: Callable[[V], V | None]) -> V:
    """Read a record, apply a function to it, write and return it; retry if the record has changed in between."""
    if not table.is_versioned:
        raise InvalidQueryError(f"{table.model.__name__} has no version; change it within a transaction")
    while True:
        record = await core._existing(table, id)
        version = record.version
        kept = _kept_of(record)
        changed = function(record)
        written = record if changed is None else changed
        if isinstance(written, Model) and (own := _id_of(written)) != id:
            raise InvalidQueryError(f"the function returned {table.label} {own!r}, expected {id!r}")
        try:
            await _update(core, table, written, version, kept)
        except ConflictError:
            stored: Any = await core._get(table, id)
            if stored is not None and stored.version == version:
                raise  # not because the record was stale
        else:
            return written


def _kept_of(record: Any) -> dict[str, Any]:
    """Return the claim fields of a task, and its trace."""
    if not isinstance(record, TaskModel):
        return {}
    return {
        name: getattr(record, name) for name in ("assigned_to", "status", "claim_count", "past_claims", "trace_parent")
    }


async def _update(core: StorageCore, table: Table[Any], written: Any, version: int, kept: dict[str, Any]) -> None:
    """Write a record, and set the claim fields of its object to the stored ones, whatever the function has set."""
    if not isinstance(written, TaskModel):
        await update(core, table, written)
        return
    has_kept_claim = (written.assigned_to, written.status) == (kept["assigned_to"], kept["status"])
    if has_kept_claim and written.version == version:
        await update(core, table, written, trace_parent=kept["trace_parent"])
        count = max(written.claim_count, kept["claim_count"])
        core._set_fields(written, claim_count=count, past_claims=kept["past_claims"])
        return

    async def update_and_read() -> None:
        await update(core, table, written, trace_parent=kept["trace_parent"])
        await core._refresh_claims(written)

    await core._as_one(update_and_read)  # a write in between would hide how the claim has ended


def _id_of(record: Model) -> str:
    # A document is written at the place of its collection and key, whatever id its object had before.
    return id_of(record) if isinstance(record, DocumentModel) else record.id


class RetryVerbs(StorageCore):
    """Retries of finished tasks, on request."""

    async def retry_task(self, id: str) -> TaskModel:
        """Make a finished task pending again, as if it had never run, and return it.

        Its holder, result, error and times are cleared, and its retry count is reset; `claim_count` continues, and its
        last claim is added to `past_claims`. It waits for a `run_at` in the future, and for its dependencies. If
        one of these has failed or was cancelled, it fails at once: retry that one first. Dependents that have failed
        because of it stay failed. If it was completed, its unfinished dependents wait for it again.

        Raises:
            NotFoundError: no task has this id.
            ConflictError: the task is not finished.

        """
        return await modify(self, TASKS, id, _begin_anew)


def _begin_anew(task: TaskModel) -> None:
    if task.status not in FINISHED:
        raise ConflictError(f"task {task.id!r} is {task.status}; only a task that is finished can be retried")
    task.status = TaskStatus.PENDING
    task.assigned_to = task.result = task.error = None
    task.started_at = task.completed_at = task.lease_expires_at = None
    task.progress = task.progress_text = None
    task.retry_count = 0
    task.updated_at = now()
