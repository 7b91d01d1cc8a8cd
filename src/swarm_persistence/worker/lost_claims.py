"""Notices claims that are over while their handlers still work, by the commit that has ended them."""

from collections.abc import Callable, Iterable
from typing import Any

from swarm_persistence.engines.interface import Engine
from swarm_persistence.engines.reads import Values
from swarm_persistence.query.query import Query, one_of
from swarm_persistence.query.task_statuses import IS_HELD
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.storage import Storage
from swarm_persistence.worker.task_runs import TaskRun


class LostClaimWatcher:
    """Watches the tasks from when it is made; whoever calls `look` again and again says how often is often enough."""

    def __init__(self, storage: Storage, runs: Callable[[], Iterable[TaskRun]]) -> None:
        self._storage = storage
        self._runs = runs
        engine: Engine = storage._engine
        self._watch = engine.watch((TASKS,))

    async def look(self) -> None:
        """Wait for a commit, and let each run look at its claim that does not seem to hold any more."""
        await self._watch.wait()
        runs = list(self._runs())
        if not runs:
            return
        held = Query(TASKS, (one_of("id", sorted({run.claim[0] for run in runs})), IS_HELD))
        rows: list[Any] = await self._storage._executor().read(Values(held, ("id", "assigned_to", "claim_count")))
        claims = {tuple(row) for row in rows}
        for run in runs:
            if run.claim not in claims:
                run.check_claim()

    def close(self) -> None:
        """Look no longer."""
        self._watch.close()
