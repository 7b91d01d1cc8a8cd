"""Runs the operations of a calling thread in that thread, unless another thread uses what they need."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from types import coroutine
from typing import Any

from swarm_persistence.engines.calling_thread import CallingThreadLoop
from swarm_persistence.engines.sql.sqlite.batches import Batch, Recipient, held_lock, time_out
from swarm_persistence.engines.sql.sqlite.operations import Operation
from swarm_persistence.engines.sql.sqlite.wake_chain import WakeChain
from swarm_persistence.engines.sql.statements import Statement

_LONGEST_BLOCK_SECONDS = 0.02
"""How long a thread blocks on another one before it waits in its event loop instead, where timers run."""


class ThreadSubmitter(Recipient):
    """Sends the operations of one calling thread to one receiver; the counterpart of an event loop's `Submitter`."""

    def __init__(
        self,
        loop: CallingThreadLoop,
        run: Callable[[Operation, float], bool],
        pass_on: Callable[[Batch], None],
        send: Callable[[Batch], None],
        *,
        timeout: float,
        explain: Callable[[], str],
        wake_chain: WakeChain | None = None,
    ) -> None:
        """Take the receiver's functions.

        `run` takes an operation and its deadline, and runs it in the calling thread if possible; it returns whether it
        ran. If not, `pass_on` takes it as a batch. `send` passes a batch to another thread. `explain` returns why
        operations wait. The threads of a large group are woken in `wake_chain`, or without one, all at once.
        """
        self.loop: asyncio.AbstractEventLoop = loop
        self._thread = loop
        self._run = run
        self._pass_on = pass_on
        self._send = send
        self._timeout = timeout
        self._explain = explain
        self.wake_chain = wake_chain
        self._in_flight: dict[Batch, None] = {}
        self._waiter = held_lock()

    @property
    def waiting(self) -> int:
        """Return how many operations no thread runs yet."""
        return sum(batch.waits_for_writer and not batch.taken.locked() for batch in list(self._in_flight))

    def submit(
        self, kind: Callable[..., Operation], compile: Callable[[Any], Sequence[Statement]], argument: Any
    ) -> Awaitable[Any]:
        """Run an operation of the statements that `compile` returns; return an awaitable of its result.

        It is done already, unless the operation must wait for another thread or process; then it is a future.
        """
        operation = kind(None, compile(argument))
        deadline = (now := time.monotonic()) + self._timeout
        chain = self.wake_chain
        # While a chain is active, the operation is gathered for the next group.
        if (chain is None or chain.woken is None) and self._run(operation, deadline):
            return _outcome(operation)
        future = operation.future_in(self.loop)
        self.block_on(self._dispatch(Batch(self, [operation], now, deadline), self._pass_on))
        return future

    def send_alone(self, operation: Operation) -> Batch:
        """Send an operation in a batch of its own; `block_on` or `leave` must follow."""
        batch = Batch(self, [operation], now := time.monotonic(), now + self._timeout)
        return self._dispatch(batch, self._send)

    def send_to(self, send: Callable[[Batch], None], operation: Operation) -> Batch:
        """Send an operation to an open transaction, which has a time limit of its own; `block_on` must follow."""
        batch = Batch(self, [operation], time.monotonic(), float("inf"), waits_for_writer=False)
        return self._dispatch(batch, send)

    def flush(self) -> None:
        """Do nothing: operations are sent at once."""

    def answer_soon(self, operation: Operation) -> None:
        """Settle an operation that ran in this thread."""
        operation.settle()

    def block_on(self, batch: Batch) -> None:
        """Block briefly on a batch; if it is not done then, let the caller await it."""
        waiter, chain = batch.waiter, self.wake_chain
        assert waiter is not None
        if waiter.acquire(blocking=False) or self._thread.block(waiter, _LONGEST_BLOCK_SECONDS):
            if chain is not None and chain.woken is waiter:
                chain.pass_on()
            self.settle(batch)
        else:
            self.leave(batch)
            if chain is not None:
                chain.break_off()  # it may be this thread's turn, now or later

    def leave(self, batch: Batch) -> None:
        """Let the caller await a batch."""
        batch.waiter = None
        self._waiter = held_lock()
        if batch.is_done:  # a thread that has just seen the waiter does not call the loop
            self.settle(batch)
            return
        (operation,) = batch.operations
        future = operation.future_in(self.loop)
        future.add_done_callback(lambda future: self._abandon(batch) if future.cancelled() else None)
        if batch.waits_for_writer:
            timer = self.loop.call_later(batch.deadline - time.monotonic(), self._time_out, batch)
            future.add_done_callback(lambda _: timer.cancel())

    def settle(self, batch: Batch) -> None:
        """Give the outcome of a batch to its caller, once; that of an abandoned batch in any thread."""
        try:
            del self._in_flight[batch]
        except KeyError:
            return
        for operation in batch.operations:
            operation.settle()

    def _dispatch(self, batch: Batch, send: Callable[[Batch], None]) -> Batch:
        batch.waiter = self._waiter
        self._in_flight[batch] = None
        send(batch)
        return batch

    def _abandon(self, batch: Batch) -> None:
        """Let the thread that runs a batch settle it, as this one may never wait again."""
        batch.is_abandoned = True
        if batch.is_done:
            self.settle(batch)

    def _time_out(self, batch: Batch) -> None:
        if batch.taken.acquire(blocking=False):
            time_out(batch, self._explain, self._timeout)


@coroutine
def _outcome(operation: Operation) -> Generator[None, None, Any]:
    """Return what gives the outcome of an operation that has run, without waiting."""
    return operation.result if operation.error is None else operation.raise_error()
    yield
