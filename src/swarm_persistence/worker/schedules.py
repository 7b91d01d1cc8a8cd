"""Stores the tasks of due schedules: every worker tries, and exactly one stores each task."""

import asyncio
import logging

from swarm_persistence.backoff import Backoff
from swarm_persistence.errors import ClosedError, StorageError
from swarm_persistence.storage import Storage
from swarm_persistence.storage.schedule_times import LATE_SECONDS
from swarm_persistence.worker.logs import worker_log

_LONGEST_WAIT_SECONDS = LATE_SECONDS / 2
"""The longest sleep: a resumed machine, or a changed clock, wakes no waiter, and `CatchUp.SKIP` skips late times."""

_log = logging.getLogger(__name__)


async def fire_schedules(storage: Storage, agent_id: str) -> None:
    """Store the tasks of due schedules, and sleep until the next one is due, forever; errors are retried with backoff.

    Raises:
        ClosedError: the storage was closed.

    """
    log = worker_log(_log, agent_id)
    backoff = Backoff()
    watch = storage.watch_schedules()
    try:
        while True:
            try:
                await storage.fire_due_schedules()
                await watch.wait(_LONGEST_WAIT_SECONDS)
            except ClosedError:
                raise
            except StorageError as error:
                pause = backoff.next()
                log.error("worker %r cannot fire schedules; the next attempt is in %.1f s: %s", agent_id, pause, error)
                await asyncio.sleep(pause)
            else:
                backoff.reset()
    finally:
        watch.close()
