"""Releases tasks that a worker has claimed ahead and has no slot for, as other workers may have one."""

import asyncio
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from swarm_persistence.models import TaskModel
from swarm_persistence.storage import Storage
from swarm_persistence.worker.recording import Recorder
from swarm_persistence.worker.writes_in_flight import report_error


class PendingReleases:
    """The releases in flight in the worker's loop; each is retried until it succeeds or is given up."""

    def __init__(self, storage: Storage, fail: Callable[[Exception], None], ended: Callable[[], object]) -> None:
        """Take the callbacks for the error of a release, and for the end of one."""
        self._storage = storage
        self._fail = fail
        self._ended = ended
        self._recorders: dict[asyncio.Task[Any], list[Recorder]] = {}

    def __len__(self) -> int:
        return len(self._recorders)

    def begin(self, tasks: Iterable[TaskModel]) -> None:
        """Release tasks in the background."""
        recorders = [Recorder(self._storage, task, task) for task in tasks]
        releasing = asyncio.get_running_loop().create_task(_release(recorders))
        self._recorders[releasing] = recorders
        releasing.add_done_callback(self._end)

    def give_up(self) -> None:
        """Try each release in flight at most once more."""
        for recorder in chain.from_iterable(self._recorders.values()):
            recorder.give_up()

    def _end(self, releasing: "asyncio.Task[Any]") -> None:
        del self._recorders[releasing]
        report_error(releasing, self._fail)
        self._ended()


async def release_once(storage: Storage, tasks: Iterable[TaskModel]) -> None:
    """Release tasks with one try each, in any event loop."""
    recorders = [Recorder(storage, task, task) for task in tasks]
    for recorder in recorders:
        recorder.give_up()
    await _release(recorders)


async def _release(recorders: Iterable[Recorder]) -> None:
    await asyncio.gather(*(recorder.release() for recorder in recorders))
