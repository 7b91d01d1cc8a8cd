"""Sends the operations of an event loop to a thread, one batch per tick; runs a single one in the loop's own thread."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextvars import Context
from sys import getsizeof
from types import coroutine
from typing import Any

from swarm_persistence.engines.deferred_signals import DeferredSignals
from swarm_persistence.engines.sql.sqlite.batches import Batch, Recipient, time_out
from swarm_persistence.engines.sql.sqlite.operations import Operation
from swarm_persistence.engines.sql.sqlite.statements import MOST_PUT, PutStatement
from swarm_persistence.engines.sql.statements import MOST_BYTES_IN_LOOP, InsertStatement, Statement

_FIRST_CHECK_SECONDS = 0.002
_LATER_CHECK_SECONDS = 0.05
_LONGEST_YIELD_SECONDS = 0.005
_BUSY_SHARE = 0.5
_SHORTEST_MEASURED_SECONDS = 0.0005
_IDLE_SECONDS = 0.0001
FEWEST_SKIPPED = 8
"""How many operations the loop leaves to the threads after the first one that has taken it too long."""
MOST_SKIPPED = 256
"""The most consecutive operations that the loop leaves to the threads after one has taken it too long."""
_WITH_ROWS = (InsertStatement, PutStatement)
_LONGEST_SMALL = MOST_BYTES_IN_LOOP // 8
"""The most characters or bytes of a value that is small, whatever its characters take in memory."""
_MOST_OPERATIONS = 8192
"""The most operations of one loop in flight: enough for several groups. Further ones wait before they are encoded,
which bounds the memory."""


_Deferred = tuple[Callable[..., Operation], Callable[[Any], Sequence[Statement]], Any, "asyncio.Future[Any]"]


class Submitter(Recipient):
    """Collects the operations of one event loop for one receiver."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        send: Callable[[Batch], None],
        timeout: float,
        explain: Callable[[], str],
        is_stuck: Callable[[], bool],
        *,
        longest_stay: float,
        fewest_skipped: int = FEWEST_SKIPPED,
        lead: Callable[[Operation, float], bool] | None = None,
        run_here: Callable[[Operation], bool] | None = None,
    ) -> None:
        """Take the receiver's functions, and how long an operation may occupy the loop's own thread.

        `explain` returns why operations wait, and `is_stuck` whether they wait for something outside of the receiver's
        thread. A single caller's operation runs in the loop's own thread if possible: at once by `run_here`, or in the
        next tick by `lead`, which takes its deadline as well. Both return whether it ran. After one that took too long,
        the next `fewest_skipped` are sent.
        """
        self.loop = loop
        self._send = send
        self._timeout = timeout
        self._explain = explain
        self._is_stuck = is_stuck
        self.longest_stay = longest_stay
        self._lead = lead if longest_stay > 0 else None
        self._run_here = run_here if longest_stay > 0 else None
        self._signals = DeferredSignals()
        self._has_run_here = False
        """Whether an operation of this tick was run at once: later ones of the tick are collected."""
        self._collected: list[Operation] = []
        self._is_flush_due = False
        self._in_flight: dict[Batch, None] = {}
        self._size = 0
        self._deferred: deque[_Deferred] = deque()
        self._was_single = False
        self._skipped = 0
        self._fewest_skipped = self._skipped_next = fewest_skipped
        self._is_busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._yielded_seconds = 0.0
        self._cpu_seconds = 0.0
        self._checked_at = 0.0

    @property
    def waiting(self) -> int:
        """Return how many operations no thread runs yet."""
        sent = [batch for batch in list(self._in_flight) if batch.waits_for_writer and not batch.taken.locked()]
        unsent = 0 if self.loop.is_closed() else len(self._deferred) + len(self._collected)  # a closed loop sends none
        return unsent + sum(len(batch.operations) for batch in sent)

    def submit(
        self,
        kind: Callable[..., Operation],
        compile: Callable[[Any], Sequence[Statement]],
        argument: Any,
        deferred: "asyncio.Future[Any] | None" = None,
    ) -> Any:
        """Run or send an operation of the statements that `compile` returns; return an awaitable of its result.

        It is a future, unless the operation may run in the loop's own thread. While too many are in flight, the
        argument is compiled later, in the order of the calls. `deferred` is the future of a call that was deferred
        before.
        """
        if self._collected or self._size >= _MOST_OPERATIONS:
            future: asyncio.Future[Any] = deferred or self.loop.create_future()
            if self._size >= _MOST_OPERATIONS:
                self._deferred.append((kind, compile, argument, future))
                return future
            operation = kind(future, compile(argument))
            self._size += 1
            self._collected.append(operation)
            if not self._is_flush_due:
                self._flush_soon()  # the first of this tick was to run in this thread
            return future
        operation = kind(deferred, compile(argument))
        is_single = self._was_single and not self._in_flight and not self._has_run_here
        # In this tick, so that its caller need not wait for the next: whether the loop is busy makes no difference.
        if is_single and self._run_here is not None and deferred is None and self._is_done_here(operation):
            self._has_run_here = True
            return self._next_tick(operation)
        self._size += 1
        self._collected.append(operation)
        is_skipped = is_single and self._skipped > 0
        self._skipped -= is_skipped
        is_sent_soon = not is_single or self._is_busy
        is_sent = is_sent_soon or is_skipped or self._lead is None or deferred is not None
        if not is_sent and not are_large(operation.statements):
            return self._lead_next_tick(operation, time.monotonic())
        future = operation.future_in(self.loop)  # before it is sent: one that has failed forgets it
        if is_sent_soon:
            self._flush_soon()  # sent with the others of this tick
        else:
            # Callers run one after another: there is nothing to collect, and this saves at least a tick.
            self.flush()
        return future

    def send_alone(self, operation: Operation) -> Batch:
        """Send an operation in a batch of its own, after the operations collected before."""
        self.flush()
        self._size += 1
        return self._send_batch([operation])

    def send_to(self, send: Callable[[Batch], None], operation: Operation) -> Batch:
        """Send an operation to an open transaction, which holds the writer and has its own time limit; never blocks."""
        self._size += 1
        batch = Batch(self, [operation], time.monotonic(), float("inf"), waits_for_writer=False)
        return self._dispatch(batch, send)

    def flush(self) -> None:
        """Send the collected operations."""
        self._has_run_here = False  # also where the caller of the one that has run was cancelled
        operations, self._collected, self._is_flush_due = self._collected, [], False
        if operations:
            self._was_single = len(operations) == 1
            self._send_batch(operations)

    def _flush_soon(self) -> None:
        self._is_flush_due = True
        self.loop.call_soon(self.flush)

    def answer_soon(self, operation: Operation) -> None:
        """Settle an operation that ran in the loop's own thread."""
        # In a later tick, as if it had been sent: a loop of awaits must let the other tasks run.
        self.loop.call_soon(operation.settle)

    def leave(self, batch: Batch) -> None:
        """Do not wait for a batch that was sent alone."""

    def settle(self, batch: Batch) -> None:
        """Give the outcomes of a batch to the callers; runs in the loop."""
        if batch not in self._in_flight:
            return  # the loop has blocked on it, and settled it then
        del self._in_flight[batch]
        for operation in batch.operations:
            # What `settle` does for most: a call for each of hundreds would cost as much again.
            future = operation.future
            if operation.error is None and future is not None and not future.done():
                future.set_result(operation.result)
            else:
                operation.settle()
        self._size -= len(batch.operations)
        if self._deferred:
            self._admit()

    def block_on(self, batch: Batch) -> None:
        """Block briefly on a batch that was sent alone, if the busy loop would starve the thread that runs it."""
        if self._is_busy:
            self._yield_to(batch)

    def _admit(self) -> None:
        while self._deferred and self._size < _MOST_OPERATIONS:
            call = self._deferred.popleft()
            # Include those of cancelled callers: the receiver skips them, and they are settled like all others.
            try:
                self.submit(*call)
            except Exception as error:
                if not call[-1].done():
                    call[-1].set_exception(error)

    def _is_done_here(self, operation: Operation) -> bool:
        """Run an operation in the loop's own thread, and tell whether that was possible.

        Most are done in a fraction of the time that the way to another thread and back takes. If one has taken longer,
        because the disk had to be asked, the next ones take that way for a while.
        """
        if self._skipped or self._run_here is None:
            return False
        start = time.monotonic()
        is_done = self._run_here(operation)
        if time.monotonic() - start > self.longest_stay and operation.statements[0].is_short:
            self._back_off()
        return is_done

    @coroutine
    def _next_tick(self, operation: Operation) -> Generator[None, None, Any]:
        """Give the outcome of an operation that has run in this thread, in the next tick.

        Not at once: a loop of awaits must let the other tasks run. A future would take one tick more.
        """
        yield
        self._has_run_here = False
        return operation.result if operation.error is None else operation.raise_error()

    @coroutine
    def _lead_next_tick(self, operation: Operation, submitted_at: float) -> Generator[Any, None, Any]:
        """Run a single operation in the loop's own thread, in the next tick.

        A round trip to the writer's thread takes about as long as half a commit. The caller's own task runs it: that of
        a future would be woken a tick later.
        """
        try:
            yield
            is_done = self._is_led(operation, submitted_at)
        except BaseException:  # the caller was cancelled, or the handler of a signal has raised
            self._withdraw(operation)
            raise
        # Sent with others before this tick, it may have been answered by now.
        if not is_done and (operation in self._collected or self._is_in_flight(operation)):
            return (yield from operation.awaited(self.loop).__await__())
        return operation.result if operation.error is None else operation.raise_error()

    def _is_led(self, operation: Operation, submitted_at: float) -> bool:
        """Run an operation in this thread, if nothing has happened in the loop since; tell whether it is done."""
        start = time.monotonic()
        collected, lead = self._collected, self._lead
        if len(collected) != 1 or collected[0] is not operation or lead is None:
            return False  # it was sent, or will be in this tick, with what was submitted after it
        if self._in_flight or start - submitted_at > _IDLE_SECONDS:
            self.flush()
            return False
        collected.clear()
        self._signals.defer()
        is_done = lead(operation, start + self._timeout)
        if is_done:
            self._size -= 1
            if self._timer is not None:
                self._timer.cancel()  # nothing else is in flight; the commit would count as a busy loop's time
                self._timer = None
            if self._deferred:
                self._admit()
            if time.monotonic() - start > self.longest_stay:
                self._back_off()
            else:
                self._skipped_next = self._fewest_skipped
        else:
            self._send_batch([operation])
        self._signals.deliver()
        return is_done

    def _withdraw(self, operation: Operation) -> None:
        """Let an operation be, whose caller does not await it any more."""
        operation.future_in(self.loop).cancel()
        if operation in self._collected:
            self._collected.remove(operation)
            self._size -= 1
        elif self._is_in_flight(operation):
            return  # it is discarded once its outcome is known
        operation.discard()

    def _is_in_flight(self, operation: Operation) -> bool:
        return any(operation in batch.operations for batch in self._in_flight)

    def _back_off(self) -> None:
        """Send the next operations to the threads, after one took the loop too long; twice as many each time."""
        self._skipped = self._skipped_next
        self._skipped_next = min(2 * self._skipped_next, MOST_SKIPPED)

    def _send_batch(self, operations: list[Operation]) -> Batch:
        batch = self._dispatch(Batch(self, operations, now := time.monotonic(), now + self._timeout), self._send)
        self.block_on(batch)
        return batch

    def _dispatch(self, batch: Batch, send: Callable[[Batch], None]) -> Batch:
        self._in_flight[batch] = None
        self._watch_in_flight()
        send(batch)
        return batch

    def _watch_in_flight(self) -> None:
        if self._timer is None:
            self._check_in(_FIRST_CHECK_SECONDS)

    def _check_in(self, seconds: float) -> None:
        self._cpu_seconds = time.thread_time()
        self._checked_at = time.monotonic()
        self._yielded_seconds = 0.0
        # Not in the caller's context: a timer keeps it, and a transaction would seem to have a call that can join it.
        self._timer = self.loop.call_later(seconds, self._check, context=Context())

    def _check(self) -> None:
        """Give up batches that have timed out, and check whether the loop starves the threads."""
        self._timer = None
        now = time.monotonic()
        for batch in list(self._in_flight):
            if now >= batch.deadline and batch.taken.acquire(blocking=False):
                time_out(batch, self._explain, self._timeout)
        own_seconds = now - self._checked_at - self._yielded_seconds
        if own_seconds > _SHORTEST_MEASURED_SECONDS:
            self._is_busy = time.thread_time() - self._cpu_seconds > _BUSY_SHARE * own_seconds
        oldest = next(iter(self._in_flight), None)
        if oldest is None:
            return
        if self._is_busy and now - oldest.submitted_at >= _FIRST_CHECK_SECONDS:
            self._yield_to(oldest)
        is_new = self._is_busy or now - oldest.submitted_at < 10 * _FIRST_CHECK_SECONDS
        self._check_in(_FIRST_CHECK_SECONDS if is_new else _LATER_CHECK_SECONDS)

    def _yield_to(self, batch: Batch) -> None:
        """Block briefly, without the interpreter lock, until a batch is done.

        CPython hands the interpreter lock over once a thread has waited for it undisturbed for the switch interval. A
        busy loop that releases it for a moment at every tick starves all other threads, unless it really blocks.
        """
        if batch.waits_for_writer and self._is_stuck():
            return
        start = time.monotonic()
        if batch.wait(_LONGEST_YIELD_SECONDS):
            self.settle(batch)
        else:
            self._is_busy = False  # The loop is waiting for something other than our batches.
        self._yielded_seconds += time.monotonic() - start


def are_large(statements: Iterable[Statement]) -> bool:
    """Tell whether statements write too much for an event loop's own thread: many rows, or large values."""
    for statement in statements:
        # The rows themselves: `values` would be one call more for each write of a single caller.
        rows = statement.rows if isinstance(statement, _WITH_ROWS) else (statement.values,)
        if len(rows) > MOST_PUT:
            return True
        for row in rows:
            for value in row:
                # No other kinds can be large. Few are so long that their size in memory is worth a call.
                if (
                    (type(value) is str or type(value) is bytes)
                    and len(value) > _LONGEST_SMALL
                    and getsizeof(value) > MOST_BYTES_IN_LOOP
                ):
                    return True
    return False
