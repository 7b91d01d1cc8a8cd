"""The verb that releases the claims of a process that has exited."""

from typing import Any

from swarm_persistence.engines.reads import Values
from swarm_persistence.engines.steps import Step, Update
from swarm_persistence.models import ClaimOutcome
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.query.task_statuses import IS_HELD
from swarm_persistence.schema.tables import PAST_CLAIMS, TASKS
from swarm_persistence.schema.values import identifier, past_claims_of
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.held_claims import releasing

_MOST_FREE_CLAIMS = 3
"""Claims of a task that were released as those of processes that had exited; a further one is left to its lease.

A task that crashes the process of each worker would otherwise be claimed forever.
"""


class TakeoverVerbs(StorageCore):
    """Releases the tasks of an agent whose process has exited."""

    async def release_tasks_of(self, agent_id: str) -> list[str]:
        """Release the tasks that the agent holds, and return their ids; no retry is counted.

        Call it only if the process that claimed them has certainly exited. A task that has outlived several of its
        holders stays claimed until its lease expires, which counts a retry.
        """
        held = (Condition("assigned_to", "=", identifier(agent_id, "task.assigned_to")), IS_HELD)
        executor = self._executor()
        rows: list[Any] = await executor.read(Values(Query(TASKS, held), ("id", "claim_count", PAST_CLAIMS)))
        claims = [(id, number) for id, number, past in rows if _free_claims_in(past) < _MOST_FREE_CLAIMS]
        if not claims:
            return []
        steps: list[Step] = [
            Update(
                Query(TASKS, (Condition("id", "=", id), *held, Condition("claim_count", "=", number))),
                releasing(ClaimOutcome.AGENT_LOST),
            )
            for id, number in claims
        ]
        released = await executor.write(steps)
        ids = [str(id) for (id, _), count in zip(claims, released, strict=True) if count]
        if self.instrumentation is not None:
            self.instrumentation.requeued(len(ids))
        return ids


def _free_claims_in(past: Any) -> int:
    """Return how many of the past claims `release_tasks_of` has released; a claim that counts a retry has an error."""
    return sum(each.outcome is ClaimOutcome.AGENT_LOST and each.error is None for each in past_claims_of(past))
