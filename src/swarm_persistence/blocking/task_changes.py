"""The changes of tasks without `await`."""

from collections.abc import Iterator

from swarm_persistence.blocking.loop import Series
from swarm_persistence.models import TaskModel
from swarm_persistence.storage import TaskChanges


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
