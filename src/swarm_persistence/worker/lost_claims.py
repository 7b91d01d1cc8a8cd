"""Notices claims that are over while their handlers still work, from the commit that has ended them."""

from collections.abc import Callable, Iterable

from swarm_persistence.models import TaskModel
from swarm_persistence.storage import Storage
from swarm_persistence.worker.task_runs import TaskRun


class LostClaimWatcher:
    """Watches commits to tasks from when it is made; the caller decides how often to call `check`."""

    def __init__(self, storage: Storage, runs: Callable[[], Iterable[TaskRun]]) -> None:
        self._storage = storage
        self._runs = runs
        self._commits = storage.watch_commits(TaskModel)

    async def check(self) -> None:
        """Wait for a commit, and let each run whose claim no longer holds check it at once."""
        await self._commits.wait()
        runs = list(self._runs())
        if not runs:
            return
        held = {id(task) for task in await self._storage.get_held_claims(run.task for run in runs)}
        for run in runs:
            if id(run.task) not in held:
                run.check_claim()

    def close(self) -> None:
        """Stop watching."""
        self._commits.close()
