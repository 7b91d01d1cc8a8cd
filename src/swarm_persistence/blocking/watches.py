"""The watches of commits, ready tasks and due schedules, and the changes of tasks, without `await`."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Generic, Protocol, TypeVar

from swarm_persistence.blocking.loop import Series
from swarm_persistence.engines.interface import Engine, Watch
from swarm_persistence.models import TaskModel
from swarm_persistence.storage import ScheduleWatch, TaskChanges
from swarm_persistence.storage.pickling import NotPicklable
from swarm_persistence.storage.ready_tasks import ReadyTaskWatch


class _Closable(Protocol):
    def close(self) -> None: ...


W = TypeVar("W", bound=_Closable)


class _BlockingWatch(NotPicklable, Generic[W]):
    """A watch that lives in the event loop in which it was created; one thread at a time may wait for it."""

    def __init__(self, engine: Engine, make: Callable[[], W]) -> None:
        async def made() -> W:
            return make()

        self._series = Series(engine)
        self._watch = self._series.run(made())

    def close(self) -> None:
        """Stop watching. A second call does nothing."""
        self._watch.close()
        self._series.close()


class BlockingCommitWatch(_BlockingWatch[Watch]):
    """Waits for commits; see `Storage.watch_commits`."""

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for a commit since the last return, and tell whether there was one; see `Watch.wait`."""
        return self._series.run(self._watch.wait(seconds))


class BlockingReadyTaskWatch(_BlockingWatch[ReadyTaskWatch]):
    """Waits for tasks that can be claimed; see `ReadyTaskWatch`."""

    def wait(self, within: float | timedelta) -> bool:
        """Wait until a claim may find a task that earlier claims did not; see `ReadyTaskWatch.wait`."""
        return self._series.run(self._watch.wait(within))

    def wait_to_claim(self, within: float | timedelta) -> bool:
        """Wait until the next claim is worthwhile; see `ReadyTaskWatch.wait_to_claim`."""
        return self._series.run(self._watch.wait_to_claim(within))

    def wait_for_commit(self, within: float | timedelta) -> bool:
        """Wait until any task may have been written; see `ReadyTaskWatch.wait_for_commit`."""
        return self._series.run(self._watch.wait_for_commit(within))

    def is_any_ready(self) -> bool:
        """Tell whether a claim could find a task now."""
        return self._series.run(self._watch.is_any_ready())

    def types(self, most: int) -> list[str]:
        """Return the types of the ready tasks, sorted; at most `most`."""
        return self._series.run(self._watch.types(most))


class BlockingScheduleWatch(_BlockingWatch[ScheduleWatch]):
    """Waits until a schedule is due; see `ScheduleWatch`."""

    def wait(self, within: float | timedelta) -> bool:
        """Wait until a schedule is due, and tell whether one is; see `ScheduleWatch.wait`."""
        return self._series.run(self._watch.wait(within))


class BlockingTaskChanges(Iterator[TaskModel]):
    """Yields tasks whenever they are written; see `TaskChanges`."""

    def __init__(self, changes: TaskChanges, series: Series) -> None:
        self._changes = changes
        self._series = series

    @property
    def cursor(self) -> str | None:
        """The cursor of the last task that was yielded; see `TaskChanges.cursor`."""
        return self._changes.cursor

    def __next__(self) -> TaskModel:
        task = self._series.run(self._take())
        if task is None:
            raise StopIteration
        return task

    def close(self) -> None:
        """Stop watching; idempotent."""
        self._series.run(self._changes.aclose())
        self._series.close()

    async def _take(self) -> TaskModel | None:
        return await anext(self._changes, None)
