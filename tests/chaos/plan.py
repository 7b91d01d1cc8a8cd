"""The work of a trial: tasks that depend on each other at random, in a random order of storing."""

import random

from swarm_persistence import TaskModel, TaskPriority

MOST_DEPENDENCIES = 3
_PRIORITIES = tuple(TaskPriority)
_WINDOW = 300
"""How far back a task's dependencies lie at most: deep enough to matter, and wide enough to keep all workers busy."""


def random_tasks(count: int, rng: random.Random) -> list[TaskModel]:
    """Return tasks without a cycle. Many come before those that they depend on."""
    tasks = [
        TaskModel(
            id=f"task-{number:04d}",
            task_type=rng.choice(["fetch", "parse", "sum"]),
            payload={"number": number},
            priority=rng.choice(_PRIORITIES),
            dependencies=_dependencies(number, rng),
            # Each death of a worker costs the tasks that it held a retry.
            max_retries=1_000_000,
        )
        for number in range(count)
    ]
    rng.shuffle(tasks)
    return tasks


def _dependencies(number: int, rng: random.Random) -> list[str]:
    earlier = range(max(0, number - _WINDOW), number)
    wanted = min(rng.randint(0, MOST_DEPENDENCIES), len(earlier))
    return [f"task-{each:04d}" for each in rng.sample(earlier, wanted)]
