"""Microsoft Agent Framework's checkpoints over documents; needs `pip install "swarm-persistence[agent-framework]"`.

A checkpoint is a document of the collection `("agent-framework", "checkpoints")`, its label the workflow's name, its
data what the framework's own storages write. Its time is a second document, of `("agent-framework", "times")`, so that
the latest checkpoint is found without reading the others.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import cast

try:
    from agent_framework import WorkflowCheckpoint, WorkflowCheckpointException

    # It has no public name; the framework's own database storages import it from here.
    from agent_framework._workflows._checkpoint_encoding import decode_checkpoint_value, encode_checkpoint_value
except ImportError as error:
    raise ImportError(
        'SwarmCheckpointStorage needs Agent Framework: pip install "swarm-persistence[agent-framework]"'
    ) from error

from swarm_persistence import DocumentModel, Storage

ROOT = "agent-framework"
_CHECKPOINTS = (ROOT, "checkpoints")
_TIMES = (ROOT, "times")


class SwarmCheckpointStorage:
    """Keeps checkpoints of workflows: `WorkflowBuilder(…, checkpoint_storage=SwarmCheckpointStorage(storage))`.

    What is not JSON is pickled, and only types of the framework, of the standard library's values, those registered by
    `agent_framework.register_checkpoint_type` and `allowed_checkpoint_types` ("module:qualname") are unpickled. A
    checkpoint with another type is refused when it is saved.
    """

    def __init__(self, storage: Storage, *, allowed_checkpoint_types: Iterable[str] = ()) -> None:
        self._storage = storage
        self._allowed = frozenset(allowed_checkpoint_types)

    async def save(self, checkpoint: WorkflowCheckpoint) -> str:
        """Store a checkpoint, or replace the one of its id, and return the id.

        Raises:
            WorkflowCheckpointException: the checkpoint could not be loaded again; nothing was written.

        """
        id, name = checkpoint.checkpoint_id, checkpoint.workflow_name
        try:
            _moment(checkpoint.timestamp)
            data = json.dumps(encode_checkpoint_value(checkpoint.to_dict())).encode()
            self._checkpoint(data)
        except WorkflowCheckpointException:
            raise
        except Exception as error:
            raise WorkflowCheckpointException(f"Checkpoint {id} cannot be stored: {error}") from error
        await self._storage.put_documents(
            [
                DocumentModel.new(_CHECKPOINTS, id, None, data, label=name),
                DocumentModel.new(_TIMES, id, checkpoint.timestamp, label=name),
            ]
        )
        return id

    async def load(self, checkpoint_id: str) -> WorkflowCheckpoint:
        """Return the checkpoint of this id.

        Raises:
            WorkflowCheckpointException: there is none, or it holds a type that is not allowed.

        """
        document = await self._storage.get_document(_CHECKPOINTS, checkpoint_id)
        if document is None:
            raise WorkflowCheckpointException(f"No checkpoint found with ID {checkpoint_id}")
        return self._checkpoint(document.data)

    async def list_checkpoints(self, *, workflow_name: str) -> list[WorkflowCheckpoint]:
        """Return the workflow's checkpoints in the order in which they were first saved."""
        found = await self._storage.list_documents(_CHECKPOINTS, label=workflow_name, by_arrival=True)
        return [self._checkpoint(document.data) for document in found]

    async def list_checkpoint_ids(self, *, workflow_name: str) -> list[str]:
        """Return the ids of the workflow's checkpoints in the order in which they were first saved."""
        return await self._storage.list_document_keys(_CHECKPOINTS, label=workflow_name, by_arrival=True)

    async def get_latest(self, *, workflow_name: str) -> WorkflowCheckpoint | None:
        """Return the workflow's checkpoint of the latest time, or `None`; of several, the one first saved last."""
        times = await self._storage.list_documents(_TIMES, label=workflow_name, by_arrival=True, desc=True)
        for latest in sorted(times, key=lambda time: _moment(time.value), reverse=True):
            document = await self._storage.get_document(_CHECKPOINTS, latest.key)
            if document is not None:  # else another process has deleted it meanwhile
                return self._checkpoint(document.data)
        return None

    async def delete(self, checkpoint_id: str) -> bool:
        """Delete the checkpoint of this id, and tell whether there was one."""
        async with self._storage.transaction():
            deleted = await self._storage.delete_documents(_CHECKPOINTS, keys=[checkpoint_id])
            await self._storage.delete_documents(_TIMES, keys=[checkpoint_id])
        return deleted > 0

    def _checkpoint(self, data: bytes | None) -> WorkflowCheckpoint:
        fields = decode_checkpoint_value(json.loads(cast(bytes, data)), allowed_types=self._allowed)
        return WorkflowCheckpoint.from_dict(fields)


def _moment(timestamp: str) -> datetime:
    """Return the time as an aware one; one without a zone is taken as UTC."""
    moment = datetime.fromisoformat(timestamp)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
