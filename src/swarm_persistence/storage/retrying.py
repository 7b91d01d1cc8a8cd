"""The verb that retries a finished task."""

from swarm_persistence.clock import now
from swarm_persistence.errors import ConflictError
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.query.task_statuses import FINISHED
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.modifying import modify


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
