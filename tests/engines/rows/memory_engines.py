"""The memory engine with a clock that tests move, and callers of it in tasks and threads."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from swarm_persistence.engines.reads import Select
from swarm_persistence.engines.rows.memory.engine import MemoryEngine
from swarm_persistence.models import TaskModel
from swarm_persistence.query.query import Query
from swarm_persistence.schema.tables import TASKS

T = TypeVar("T")


class Time:
    """Stands in for the module `time` of the engine; it does not advance until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


def task(id: str) -> TaskModel:
    """Return a task of this id."""
    return TaskModel(id=id, task_type="t")


async def ids(reader: Any) -> list[str]:
    """Return the ids of the stored tasks."""
    return [stored.id for stored in await reader.read(Select(Query(TASKS)))]


async def assert_waiting(engine: MemoryEngine, number: int) -> None:
    """Let the task that was started last come to its wait."""
    await asyncio.sleep(0)
    assert engine.pool_status().waiting == number


def in_thread(call: Callable[[], Awaitable[T]]) -> "tuple[threading.Thread, list[T | BaseException]]":
    """Run a call in a thread and a loop of its own."""
    outcome: list[T | BaseException] = []

    def run() -> None:
        async def main() -> T:
            return await call()

        try:
            outcome.append(asyncio.run(main()))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome
