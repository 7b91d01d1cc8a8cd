"""Waits until it is worth while to claim; a wait that claims nothing can be cancelled without losing a task."""

from swarm_persistence.engines.interface import Engine
from swarm_persistence.query.query import Query, one_of
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.storage import Storage
from swarm_persistence.storage.tasks import IS_MET, IS_NOT_DELAYED, IS_PENDING, MOST_URGENT_FIRST

_LONGEST_WAIT_SECONDS = 60.0
"""After so long without a commit, it looks all the same."""


class ReadyTaskWatcher:
    """Watches the tasks of some types from when it is made, so that no commit falls between a claim and a wait."""

    def __init__(self, storage: Storage, task_types: tuple[str, ...]) -> None:
        self._storage = storage
        fits = one_of("task_type", task_types)
        self._ready = Query(TASKS, (IS_PENDING, IS_MET, IS_NOT_DELAYED, fits), MOST_URGENT_FIRST)
        engine: Engine = storage._engine
        self._watch = engine.watch((TASKS,))

    async def wait(self) -> None:
        """Return once a claim may find what the one before has not."""
        while True:
            seconds = await self._storage._seconds_to_next_due(_LONGEST_WAIT_SECONDS)
            has_rung = await self._watch.wait(min(seconds, _LONGEST_WAIT_SECONDS))
            # What is due is known to be due by a claim only. Most commits make nothing ready, and a look costs no turn
            # to write.
            if not has_rung or await self._storage._is_any_ready(self._ready):
                return

    async def wait_for_commit(self, seconds: float) -> None:
        """Return once anything may have been written to a task, or the time is up."""
        await self._watch.wait(seconds)

    def close(self) -> None:
        """Look no longer."""
        self._watch.close()
