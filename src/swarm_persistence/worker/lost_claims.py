"""Notices claims that end while their handlers still run, by the commit that ended them."""

from collections.abc import Callable, Iterable

from swarm_persistence.models import TaskModel
from swarm_persistence.storage import Storage


class LostClaimWatcher:
    """Watches commits to tasks from its creation on; the caller decides how often to call `check`."""

    def __init__(
        self, storage: Storage, tasks: Callable[[], Iterable[TaskModel]], lost: Callable[[TaskModel], None]
    ) -> None:
        """Take the function that returns the claimed tasks, and the callback for those whose claims are over."""
        self._storage = storage
        self._tasks = tasks
        self._lost = lost
        self._commits = storage.watch_commits(TaskModel)

    async def check(self) -> None:
        """Wait for a commit, and report each task whose claim no longer holds."""
        await self._commits.wait()
        tasks = list(self._tasks())
        if not tasks:
            return
        held = {id(task) for task in await self._storage.get_held_claims(tasks)}
        for task in tasks:
            if id(task) not in held:
                self._lost(task)

    def close(self) -> None:
        """Stop watching."""
        self._commits.close()
