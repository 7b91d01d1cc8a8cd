"""Whole tasks on a SQLite file: stored beforehand, claimed, handled by a handler that does nothing, and recorded.

Each worker imports its queue by itself, so that a process that measures one queue has imported no other.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from benchmarks.requirements import require

LONGEST_SECONDS = 120.0
_WARMING = 200


def rate_of(key: str, place: str, tasks: int, at_once: int) -> float:
    """Let a queue's worker do so many tasks; return how many it did a second, once it was warm."""
    work = WORKERS[key]
    asyncio.run(work(Path(place) / "warming.db", _WARMING, at_once))
    return tasks / asyncio.run(work(Path(place) / "tasks.db", tasks, at_once))


async def swarm(path: Path, tasks: int, at_once: int) -> float:
    """Let one `Worker` do the tasks; return the seconds until all are completed."""
    from swarm_persistence import AgentModel, QueryBuilder, SqliteStorage, TaskModel, TaskStatus
    from swarm_persistence.worker import Worker

    async with await SqliteStorage.open(path) as storage:
        await storage.store_many([TaskModel.new("measured", {"place": place}) for place in range(tasks)])
        left = tasks
        are_handled = asyncio.Event()

        async def handle(task: TaskModel) -> None:
            nonlocal left
            left -= 1
            if not left:
                are_handled.set()

        agent = AgentModel.new("worker", "measured", [])
        started = time.perf_counter()
        async with (
            asyncio.timeout(LONGEST_SECONDS),
            Worker(storage, agent, {"measured": handle}, concurrency=at_once, heeds_signals=False),
        ):
            await are_handled.wait()
        took = time.perf_counter() - started  # the end of the block waits for what is being recorded
        completed = QueryBuilder(TaskModel).where_eq("status", TaskStatus.COMPLETED)
        stored = await storage.repository(TaskModel).count(completed)
    require(stored == tasks, f"{stored} tasks are completed, and {tasks} were to be")
    return took


async def huey(path: Path, tasks: int, at_once: int) -> float:
    """Let huey's consumer do the tasks with so many threads; return the seconds until all are handled."""
    from huey import SqliteHuey  # type: ignore[import-untyped]

    queue = SqliteHuey("measured", filename=str(path), fsync=True)
    count = _Count(tasks)

    @queue.task()  # type: ignore[untyped-decorator]
    def handle(place: int) -> None:
        count.one_more()

    for place in range(tasks):
        handle(place)
    consumer = queue.create_consumer(workers=at_once, periodic=False, check_worker_health=False)
    consumer._set_signal_handlers = lambda: None
    started = time.perf_counter()
    consumer.start()
    try:
        await asyncio.to_thread(count.wait)
    finally:
        took = time.perf_counter() - started
        await asyncio.to_thread(consumer.stop, graceful=True)
        queue.storage.close()
    return took


async def persist_queue(path: Path, tasks: int, at_once: int) -> float:
    """Let so many threads get and acknowledge items; return the seconds until all are acknowledged."""
    import persistqueue
    from persistqueue.exceptions import Empty
    from persistqueue.serializers import json as json_serializer

    queue = persistqueue.SQLiteAckQueue(
        str(path.parent), db_file_name=path.name, multithreading=True, auto_commit=True, serializer=json_serializer
    )
    for place in range(tasks):
        queue.put({"place": place})

    def do_one() -> bool:
        try:
            queue.ack(queue.get(block=False))
        except Empty:
            return False
        return True

    took = await _in_threads(do_one, tasks, at_once)
    queue.close()
    return took


async def diskcache(path: Path, tasks: int, at_once: int) -> float:
    """Let so many threads pull items, which deletes them; return the seconds until none is left."""
    from diskcache import Cache  # type: ignore[import-untyped]

    cache = Cache(str(path), sqlite_synchronous=2)  # FULL, where its own default is NORMAL
    for place in range(tasks):
        cache.push({"place": place})

    def do_one() -> bool:
        key, _ = cache.pull()
        return key is not None

    took = await _in_threads(do_one, tasks, at_once)
    cache.close()
    return took


async def _in_threads(do_one: Callable[[], bool], tasks: int, at_once: int) -> float:
    """Let threads do one task after the other until there is none; return the seconds until all are done."""
    count = _Count(tasks)

    def work() -> None:
        while do_one():
            count.one_more()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(at_once)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    await asyncio.to_thread(count.wait)
    took = time.perf_counter() - started
    for thread in threads:
        await asyncio.to_thread(thread.join)
    return took


class _Count:
    """Counts down, in any thread."""

    def __init__(self, number: int) -> None:
        self._left = number
        self._lock = threading.Lock()
        self._are_done = threading.Event()

    def one_more(self) -> None:
        with self._lock:
            self._left -= 1
            if not self._left:
                self._are_done.set()

    def wait(self) -> None:
        require(self._are_done.wait(LONGEST_SECONDS), f"not all tasks were done in {LONGEST_SECONDS:.0f} s")


WORKERS: dict[str, Callable[[Path, int, int], Coroutine[Any, Any, float]]] = {
    "swarm": swarm,
    "huey": huey,
    "persist-queue": persist_queue,
    "diskcache": diskcache,
}
