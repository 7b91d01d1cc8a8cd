"""Batches of operations on their way to a thread, and of answers on their way back."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock

import msgspec

from swarm_persistence.engines.sql.sqlite.operations import Operation
from swarm_persistence.engines.sql.sqlite.wake_chain import FEWEST_CHAINED, WakeChain
from swarm_persistence.errors import PoolError, copy_error


class Batch(msgspec.Struct, eq=False):
    """Operations that are sent together, and the submitter that receives their answers."""

    submitter: "Recipient"
    operations: list[Operation]
    submitted_at: float
    deadline: float
    """When they time out, unless a thread has taken them by then."""
    waits_for_writer: bool = True
    """Whether an open transaction or another process can delay them."""
    taken: Lock = msgspec.field(default_factory=Lock)
    """Acquired, without waiting, by the thread that will run the batch or by the loop that gives it up."""
    is_done: bool = False
    waiter: "Lock | None" = None
    is_abandoned: bool = False
    """Whether its caller was interrupted, so that no loop takes the answer."""

    def wait(self, seconds: float) -> bool:
        """Block the loop until the batch is done; return `False` on timeout: the answer then comes as a callback."""
        self.waiter = waiter = held_lock()
        if self.is_done or waiter.acquire(timeout=seconds):
            return True
        self.waiter = None
        # A thread that has just seen the waiter does not call the loop.
        return self.is_done


class Recipient(ABC):
    """What takes the answers of batches that it has sent."""

    loop: asyncio.AbstractEventLoop
    wake_chain: WakeChain | None = None
    """In which its thread is woken, if it is a calling thread that writes."""
    _in_flight: dict[Batch, None]

    @property
    def running(self) -> int:
        """Return how many batches are being run."""
        # Those that are done include answers that a closed loop never takes.
        return sum(batch.taken.locked() and not batch.is_done for batch in list(self._in_flight))

    @abstractmethod
    def settle(self, batch: Batch) -> None:
        """Give the outcomes of a batch to the callers."""


def held_lock() -> Lock:
    """Return a lock on which a thread waits until another one releases it."""
    lock = Lock()
    lock.acquire()
    return lock


def time_out(batch: Batch, explain: Callable[[], str], timeout: float) -> None:
    """Settle a batch that has timed out, and was taken for that."""
    reason = f"{explain()} for longer than connection_timeout ({timeout:g} s)"
    for operation in batch.operations:
        operation.error = PoolError(reason)
    batch.submitter.settle(batch)


def answer(batches: Sequence[Batch]) -> None:
    """Deliver the answers of completed batches, with one call into each loop; runs in a thread."""
    done: dict[asyncio.AbstractEventLoop, list[Batch]] = {}
    is_large = len(batches) >= FEWEST_CHAINED
    chain: WakeChain | None = None
    chained: list[Lock] = []
    for batch in batches:
        batch.is_done = True  # before the waiter is looked for: `wait` does it in the opposite order
        if (waiter := batch.waiter) is not None:
            if is_large and (of_thread := batch.submitter.wake_chain) is not None:
                chain = of_thread  # the same for all threads
                chained.append(waiter)
            else:
                waiter.release()  # the loop blocks on it, and need not be called
        elif batch.is_abandoned:
            batch.submitter.settle(batch)
        else:
            done.setdefault(batch.submitter.loop, []).append(batch)
    if chain is not None:
        chain.wake(chained)
    if not done:
        return
    for loop, answered in done.items():
        try:
            loop.call_soon_threadsafe(_settle, answered)
        except RuntimeError:
            _discard(answered)


def refuse(batch: Batch, error: BaseException) -> None:
    """Fail a batch that no thread will run; one that was already taken is left alone."""
    if batch.taken.acquire(blocking=False):
        for operation in batch.operations:
            operation.error = copy_error(error)
        answer([batch])


def _settle(batches: list[Batch]) -> None:
    for batch in batches:
        batch.submitter.settle(batch)


def _discard(batches: list[Batch]) -> None:
    """Undo operations whose loop is closed: a transaction that was opened for it must not stay open."""
    for batch in batches:
        for operation in batch.operations:
            with suppress(RuntimeError):
                operation.discard()
