"""Prunes old records periodically, in one worker of the swarm at a time."""

from datetime import timedelta

from swarm_persistence.clock import now
from swarm_persistence.models import DocumentModel
from swarm_persistence.storage import Pruned, Storage

COLLECTION = ("swarm-persistence",)
KEY = "retention"
"""The key of the document that a pruning worker puts; until it has expired, no other worker prunes."""

_LONGEST_PAUSE_SECONDS = 3_600.0
_SHORTEST_PAUSE_SECONDS = 1.0


def pause_of(retention: float) -> float:
    """Return the seconds between prunings: an hour, or a tenth of a retention shorter than ten hours."""
    return max(_SHORTEST_PAUSE_SECONDS, min(_LONGEST_PAUSE_SECONDS, retention / 10))


async def prune_if_due(storage: Storage, retention: float, agent_id: str) -> Pruned | None:
    """Prune records older than the retention; `None` if another worker has started that within the pause."""
    expiry = now() + timedelta(seconds=pause_of(retention))
    turn = DocumentModel.new(COLLECTION, KEY, {"agent": agent_id}, expires_at=expiry)
    if (await storage.put_documents([], if_absent=[turn])).kept:
        return None
    return await storage.prune(retention)
