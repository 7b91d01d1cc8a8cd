"""The way from an event loop to a thread: what a tick collects is handed over once; it may wait for the answer."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from swarm_persistence.engines.sql.sqlite.batches import Batch
from swarm_persistence.engines.sql.sqlite.operations import Operation
from swarm_persistence.errors import PoolError

_FIRST_LOOK_SECONDS = 0.002
_LATER_LOOK_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 0.005
_BUSY_SHARE = 0.5
_IDLE_SECONDS = 0.0001
LONGEST_STAY_SECONDS = 0.0005
"""How long an event loop may stand still for an operation, where that is quicker than to let a thread do it."""
_MOST_SKIPPED = 256
_FEWEST_SKIPPED = 8
"""How many operations in turn the loop leaves to the threads after it has stood still for too long."""
_MOST_OPERATIONS = 8192
"""Operations of one loop on their way: some groups' worth. More of them wait before they are encoded, so that memory
does not grow with their number."""


_Make = Callable[["asyncio.Future[Any]", Any], Operation]


class Mailbox:
    """Collects the operations of one loop for one receiver."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        send: Callable[[Batch], None],
        timeout: float,
        explain: Callable[[], str],
        is_stuck: Callable[[], bool],
        *,
        run_here: Callable[[Operation], bool] | None = None,
    ) -> None:
        """Make a mailbox.

        `explain` says why operations wait, and `is_stuck` whether that is for something that the receiver's thread
        cannot speed up. `run_here` runs an operation in the loop's own thread, or tells that it cannot be done there.
        """
        self.loop = loop
        self._send = send
        self._timeout = timeout
        self._explain = explain
        self._is_stuck = is_stuck
        self._run_here = run_here
        self._has_run_here = False
        self._collected: list[Operation] = []
        self._outstanding: dict[Batch, None] = {}
        self._size = 0
        self._queue: deque[tuple[asyncio.Future[Any], _Make, Any]] = deque()
        self._was_single = False
        self._skipped = 0
        self._skipped_next = _FEWEST_SKIPPED
        self._is_busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._paused_seconds = 0.0
        self._cpu_seconds = 0.0
        self._looked_at = 0.0

    @property
    def is_full(self) -> bool:
        """Tell whether so many operations are on their way that the next ones should be put off."""
        return self._size >= _MOST_OPERATIONS

    def put_off(self, future: "asyncio.Future[Any]", make: "_Make", argument: Any) -> None:
        """Make an operation of these once there is room for it; first come, first served."""
        self._queue.append((future, make, argument))

    @property
    def waiting(self) -> int:
        """Return how many operations nobody runs yet."""
        sent = sum(len(batch.operations) for batch in list(self._outstanding) if not batch.is_taken)
        return len(self._queue) + len(self._collected) + sent

    @property
    def running(self) -> int:
        """Return how many batches are being run."""
        return sum(batch.is_taken for batch in list(self._outstanding))

    def collect(self, operation: Operation) -> None:
        """Take an operation; it leaves with the others of this tick."""
        self._size += 1
        if self._collected:
            self._collected.append(operation)
            return
        # One caller after the other: there is nothing to collect, and a way to save, or at least a tick.
        is_single = self._was_single and not self._outstanding and not self._has_run_here
        if is_single and not self._skipped and self._is_done_here(operation):
            self._has_run_here = True
            self.loop.call_soon(self._answer_here, operation)
        elif is_single and not self._is_busy:
            self.stay_for(self._dispatch([operation]))
        else:
            self._collected.append(operation)
            self.loop.call_soon(self.hand_over)

    def send_alone(self, operation: Operation) -> Batch:
        """Send an operation in a batch of its own, after what was collected before."""
        self.hand_over()
        self._size += 1
        return self._dispatch([operation])

    def is_waiting_for(self, batch: Batch) -> bool:
        """Tell whether the callers of a batch have no answer yet."""
        return batch in self._outstanding

    def settle(self, batch: Batch) -> None:
        """Give the outcomes of a batch to the callers; runs in the loop."""
        if batch not in self._outstanding:
            return  # the loop has waited for it, and settled it then
        del self._outstanding[batch]
        for operation in batch.operations:
            operation.settle()
        self._size -= len(batch.operations)
        if self._queue:
            self._admit()

    def _admit(self) -> None:
        while self._queue and not self.is_full:
            future, make, argument = self._queue.popleft()
            # Also one whose caller was cancelled: it is skipped by the receiver, and settled like all others.
            try:
                operation = make(future, argument)
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
            else:
                self.collect(operation)

    def hand_over(self) -> None:
        """Send what was collected."""
        operations, self._collected = self._collected, []
        if operations:
            self._was_single = len(operations) == 1
            self._dispatch(operations)

    def _is_done_here(self, operation: Operation) -> bool:
        """Run an operation in the loop's own thread, and tell whether that was possible.

        Most are done in a fraction of the time that the way to another thread and back takes. If one has taken longer,
        because the disk had to be asked, the next ones take that way for a while.
        """
        if self._run_here is None:
            return False
        start = time.monotonic()
        is_done = self._run_here(operation)
        if time.monotonic() - start > LONGEST_STAY_SECONDS:
            self._skipped = _MOST_SKIPPED
        return is_done

    def _answer_here(self, operation: Operation) -> None:
        # In a later tick, as if it had been away: a loop of awaits must let the other tasks run.
        self._has_run_here = False
        self._size -= 1
        operation.settle()

    def stay_for(self, batch: Batch) -> None:
        """Let the loop wait for the one batch that is on its way if it has nothing else to do at this moment.

        Most are done in less time than it takes to put the loop to sleep and to wake it. Who waits in vain leaves it be
        for a while, and for twice as long each time. The batch may be of another mailbox of this loop.
        """
        if self._skipped:
            self._skipped -= 1
        else:
            self.loop.call_soon(self._stay, batch)

    def _stay(self, batch: Batch) -> None:
        if not batch.mailbox.is_waiting_for(batch) or time.monotonic() - batch.submitted_at > _IDLE_SECONDS:
            return
        if batch.wait(LONGEST_STAY_SECONDS):
            self._skipped_next = _FEWEST_SKIPPED
            batch.mailbox.settle(batch)
        else:
            # One checkpoint among many quick commits, or a disk that is always slow: the latter is soon left alone.
            self._skipped = self._skipped_next
            self._skipped_next = min(2 * self._skipped_next, _MOST_SKIPPED)

    def _dispatch(self, operations: list[Operation]) -> Batch:
        batch = Batch(self, operations, self._timeout)
        self._outstanding[batch] = None
        if self._timer is None:
            self._look_again_in(_FIRST_LOOK_SECONDS)
        self._send(batch)
        if self._is_busy:
            self._let_run(batch)
        return batch

    def _look_again_in(self, seconds: float) -> None:
        self._cpu_seconds = time.thread_time()
        self._looked_at = time.monotonic()
        self._paused_seconds = 0.0
        # Not in the caller's context: a timer keeps it, and a transaction would seem to have a call that can join it.
        self._timer = self.loop.call_later(seconds, self._look, context=Context())

    def _look(self) -> None:
        """Give up batches whose time is over, and see whether the loop leaves the threads room to run."""
        self._timer = None
        now = time.monotonic()
        for batch in list(self._outstanding):
            if now < batch.deadline:
                break
            self._give_up(batch)
        own_seconds = now - self._looked_at - self._paused_seconds
        self._is_busy = time.thread_time() - self._cpu_seconds > _BUSY_SHARE * own_seconds
        oldest = next(iter(self._outstanding), None)
        if oldest is None:
            return
        if self._is_busy and now - oldest.submitted_at >= _FIRST_LOOK_SECONDS:
            self._let_run(oldest)
        is_new = self._is_busy or now - oldest.submitted_at < 10 * _FIRST_LOOK_SECONDS
        self._look_again_in(_FIRST_LOOK_SECONDS if is_new else _LATER_LOOK_SECONDS)

    def _let_run(self, batch: Batch) -> None:
        """Wait a moment, without the interpreter lock, until a batch is done.

        CPython hands the lock over when a waiter has waited undisturbed for the switch interval. A loop that is busy,
        and releases the lock for a moment at every tick, starves every thread beside it, unless it waits for real.
        """
        if self._is_stuck():
            return
        start = time.monotonic()
        if batch.wait(_LONGEST_PAUSE_SECONDS):
            self.settle(batch)
        else:
            self._is_busy = False  # It waits for something else than for us.
        self._paused_seconds += time.monotonic() - start

    def _give_up(self, batch: Batch) -> None:
        if batch.take():
            reason = f"{self._explain()} for longer than connection_timeout ({self._timeout:g} s)"
            for operation in batch.operations:
                operation.error = PoolError(reason)
            self.settle(batch)
