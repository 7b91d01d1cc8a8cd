"""A trial: many tasks, workers that are killed all the time, three watchers of the log; and what is left of it."""

import asyncio
import random
from pathlib import Path
from typing import NamedTuple

from chaos.fleet import Fleet
from chaos.history import History
from chaos.plan import random_tasks
from chaos.watchers import OVER, Watcher
from swarm_persistence import EventModel, Storage, TaskModel, init_storage

_TASKS_PER_WRITE = 100


class Outcome(NamedTuple):
    """What a trial has left."""

    history: History
    watchers: list[Watcher]
    kills: int
    complaints: str
    """What the workers have written to their standard error."""


class Trial(NamedTuple):
    """How much is done. The database may be any that `init_storage` opens and that processes can share."""

    url: str
    seed: int
    tasks: int = 2_000
    processes: int = 6
    lease_seconds: float = 1.0
    events_between_kills: tuple[int, int] = (40, 120)
    timeout_seconds: float = 400.0

    async def run(self, directory: Path) -> Outcome:
        """Do it; raises if it does not come to an end, or if a worker ends without being killed."""
        rng = random.Random(self.seed)
        tasks = random_tasks(self.tasks, rng)
        watchers = [Watcher(self.url) for _ in range(3)]
        async with asyncio.timeout(self.timeout_seconds), await init_storage(self.url) as storage:
            with Fleet(self.url, self.processes, self.lease_seconds, directory, rng) as fleet:
                async with asyncio.TaskGroup() as group:
                    course = _Course(self, fleet, rng)
                    group.create_task(watchers[0].watch(course.see))
                    group.create_task(watchers[1].watch_from_half_time(course.half_time))
                    group.create_task(watchers[2].watch_in_many_visits())
                    group.create_task(_store(storage, tasks))
                    await course.all_completed.wait()
                    fleet.stop()
                    await storage.store_event(EventModel(event_type=OVER))
            stored = await storage.repository(TaskModel).find_all()
            events = await storage.read_events(limit=1_000_000)
        return Outcome(History(events, stored), watchers, fleet.kills, fleet.complaints())


class _Course:
    """Sees each event, and kills a worker after a random number of them, so that kills are spread over all the work."""

    def __init__(self, trial: Trial, fleet: Fleet, rng: random.Random) -> None:
        self.half_time = asyncio.Event()
        self.all_completed = asyncio.Event()
        self._trial = trial
        self._fleet = fleet
        self._random = rng
        self._completed = 0
        self._events_to_next_kill = rng.randint(*trial.events_between_kills)

    def see(self, event: EventModel) -> None:
        if self.all_completed.is_set():
            return
        self._completed += event.event_type == "completed"
        if self._completed >= self._trial.tasks // 2:
            self.half_time.set()
        if self._completed >= self._trial.tasks:
            self.all_completed.set()
        self._events_to_next_kill -= 1
        if self._events_to_next_kill == 0:
            self._fleet.kill_one()
            self._events_to_next_kill = self._random.randint(*self._trial.events_between_kills)


async def _store(storage: Storage, tasks: list[TaskModel]) -> None:
    """Store the tasks while the workers are at work already."""
    for start in range(0, len(tasks), _TASKS_PER_WRITE):
        await storage.store_tasks(tasks[start : start + _TASKS_PER_WRITE])
