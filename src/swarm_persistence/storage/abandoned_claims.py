"""Releases claims whose caller was cancelled before it got the result; no retry is counted.

The release runs in the background loop, since the caller's loop may be about to end, and is retried until it succeeds:
a claim without a lease would never expire.
"""

import asyncio
import atexit
import logging
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from swarm_persistence.background import HAS_THREADS, submit
from swarm_persistence.backoff import Backoff
from swarm_persistence.engines.interface import Engine
from swarm_persistence.engines.steps import Update
from swarm_persistence.errors import ClosedError, StorageError
from swarm_persistence.models import ClaimOutcome, TaskModel
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.storage.held_claims import claim_key, held, releasing

if TYPE_CHECKING:
    from concurrent.futures import Future

Held = Mapping[str, tuple[Condition, ...]]
"""By task id: the conditions under which the claim still holds."""


def held_by(tasks: Iterable[TaskModel]) -> Held:
    """Return the claims of these copies."""
    return {task.id: held(*claim_key(task)) for task in tasks}


_LONGEST_WAIT_SECONDS = 5.0
"""How long `close`, or interpreter exit, waits for releases."""

_unfinished: "set[Future[None]]" = set()

_log = logging.getLogger(__name__)


class AbandonedClaims:
    """The abandoned claims of one storage that are not released yet."""

    def __init__(self) -> None:
        self._outstanding: set[Future[None]] = set()

    def release(self, engine: Engine, held: Held) -> None:
        """Release claims in the background, with retries; from any thread."""
        if not held:
            return
        try:
            self.add(submit(_release(engine, held)))
        except StorageError as error:
            _log.error("%s, and cannot be released: %s", _named(held), error)

    def add(self, future: "Future[None]") -> None:
        """Make `settled` and interpreter exit wait for a future."""
        for outstanding in (self._outstanding, _unfinished):
            outstanding.add(future)
            future.add_done_callback(outstanding.discard)

    async def settled(self) -> None:
        """Wait until all claims are released, or the time limit is reached."""
        deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
        while (outstanding := list(self._outstanding)) and (rest := deadline - time.monotonic()) > 0:
            await asyncio.wait([asyncio.wrap_future(each) for each in outstanding], timeout=rest)
        if self._outstanding:
            _log.error(
                "%d claims of cancelled calls are not released yet; close no longer waits", len(self._outstanding)
            )


class UndeliveredClaim(msgspec.Struct, eq=False):
    """A claim whose result has not reached its caller yet."""

    claims: AbandonedClaims
    engine: Engine
    is_known: bool = False
    waiting: "Future[None] | None" = None

    def abandoned(self, results: list[Any] | None) -> None:
        """Release the claims, if any were made; from any thread."""
        if results is not None:
            self.claims.release(self.engine, held_by(results[-1]))
        self.is_known = True
        self._end_wait()

    def await_outcome(self) -> None:
        """Make `close` wait until the outcome is known."""
        if not self.is_known:
            from concurrent.futures import Future  # imported only when needed: browsers would load it needlessly

            self.waiting = Future()
            self.claims.add(self.waiting)
        if self.is_known:
            self._end_wait()  # another thread has just learned the outcome

    def _end_wait(self) -> None:
        if self.waiting is not None:
            from concurrent.futures import InvalidStateError

            with suppress(InvalidStateError):
                self.waiting.set_result(None)


async def _release(engine: Engine, held: Held) -> None:
    backoff = Backoff()
    while True:
        steps = [Update(Query(TASKS, conditions), releasing(ClaimOutcome.RELEASED)) for conditions in held.values()]
        try:
            await engine.write(steps)
            return
        except ClosedError:
            _log.error("%s, and the storage was closed before they could be released", _named(held))
            return
        except StorageError as error:
            _log.error("%s, and cannot be released yet: %s", _named(held), error)
        await asyncio.sleep(backoff.next())


def _finish() -> None:
    """Wait for the releases of storages that were never closed, before their daemon thread ends."""
    deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
    while _unfinished and (rest := deadline - time.monotonic()) > 0:
        from concurrent.futures import wait

        wait(list(_unfinished), timeout=rest)


if HAS_THREADS:
    atexit.register(_finish)
if hasattr(os, "register_at_fork"):  # not in a browser
    os.register_at_fork(after_in_child=_unfinished.clear)


def _named(held: Held) -> str:
    return f"task(s) {', '.join(map(repr, held))} were claimed by a call that was cancelled"
