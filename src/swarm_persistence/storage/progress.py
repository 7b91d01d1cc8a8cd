"""The verb that reports the progress of a claimed task."""

from typing import Any

from swarm_persistence.engines.prepared import PreparedWrite
from swarm_persistence.engines.steps import Claim, Step
from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.models import TaskModel
from swarm_persistence.query.query import Query
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.schema.values import text as checked_text
from swarm_persistence.storage.core import TOUCHED
from swarm_persistence.storage.held_claims import held
from swarm_persistence.storage.leases import LeaseVerbs


class ProgressVerbs(LeaseVerbs):
    """The progress of a claimed task."""

    async def report_progress(self, task: TaskModel, progress: float, text: str | None = None) -> None:
        """Set the `progress` of a claimed task, from 0 to 1, and its text; it stays once the task has ended.

        It is cleared when the task is given back or retried. Pass the copy that the claim returned; it is updated in
        place.

        Raises:
            LeaseLostError: this claim of the task is over; nothing was written.
            InvalidQueryError: the progress is not a number from 0 to 1.

        """
        await self._change_held(task, _progressed, *progress_of(progress, text))


def progress_of(progress: Any, text: Any) -> tuple[float, str | None]:
    """Return a progress and its text, checked."""
    if isinstance(progress, bool) or not isinstance(progress, int | float) or not 0 <= progress <= 1:
        raise InvalidQueryError(f"progress is {shown(progress)}, expected a number from 0 to 1")
    return float(progress), None if text is None else checked_text(text, "task.progress_text")


@PreparedWrite
def _progressed(id: str, agent_id: str, number: int, progress: float, text: str | None) -> list[Step]:
    changes = {"progress": progress, "progress_text": text, **TOUCHED}
    return [Claim(Query(TASKS, held(id, agent_id, number), limit=1), changes)]
