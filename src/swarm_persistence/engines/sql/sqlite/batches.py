"""What travels from an event loop to a thread and back at once, and the way back: one call into each loop."""

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING

from swarm_persistence.engines.sql.sqlite.failures import again
from swarm_persistence.engines.sql.sqlite.operations import Operation

if TYPE_CHECKING:
    from swarm_persistence.engines.sql.sqlite.mailboxes import Mailbox


class Batch:
    """Operations that one tick of a loop has collected."""

    __slots__ = ("_awaited", "_ticket", "deadline", "done", "mailbox", "operations", "submitted_at")

    def __init__(self, mailbox: "Mailbox", operations: list[Operation], timeout: float) -> None:
        self.mailbox = mailbox
        self.operations = operations
        self.submitted_at = time.monotonic()
        self.deadline = self.submitted_at + timeout
        self.done = threading.Lock()
        self.done.acquire()
        self._ticket = [None]
        self._awaited: list[None] = []

    @property
    def is_taken(self) -> bool:
        """Tell whether somebody runs it, or has given it up."""
        return not self._ticket

    def take(self) -> bool:
        """Tell whether the caller is the first to ask: a thread that will run it, or a loop that gives it up."""
        try:
            self._ticket.pop()  # atomic
        except IndexError:
            return False
        return True

    def wait(self, seconds: float) -> bool:
        """Let the loop stand still until the batch is done; `False` if the time is up, and the loop will be called."""
        self._awaited.append(None)
        if self.done.acquire(timeout=seconds):
            return True
        # Just now somebody may have seen that the loop waits.
        return not self._withdraw() and self.done.acquire()

    def finish(self) -> bool:
        """Note that the batch is done, and tell whether the loop must be called."""
        must_call = not self._withdraw()
        self.done.release()
        return must_call

    def _withdraw(self) -> bool:
        try:
            self._awaited.pop()  # atomic
        except IndexError:
            return False
        return True


def refuse(batch: Batch, error: BaseException) -> None:
    """Answer a batch that nobody will run with an error; one that was taken already is left alone."""
    if batch.take():
        for operation in batch.operations:
            operation.error = again(error)
        post([batch])


def post(batches: Iterable[Batch]) -> None:
    """Answer batches that are done, with one call into each loop; runs in a thread."""
    to_answer = sorted((batch for batch in batches if batch.finish()), key=_id_of_loop)
    for _, group in groupby(to_answer, key=_id_of_loop):
        answered = list(group)
        try:
            answered[0].mailbox.loop.call_soon_threadsafe(_settle, answered)
        except RuntimeError:
            _settle_for_nobody(answered)


def _id_of_loop(batch: Batch) -> int:
    return id(batch.mailbox.loop)


def _settle(batches: list[Batch]) -> None:
    for batch in batches:
        batch.mailbox.settle(batch)


def _settle_for_nobody(batches: list[Batch]) -> None:
    """The loop is closed, and with it all that waited; a transaction that was opened for it must not stay open."""
    for batch in batches:
        for operation in batch.operations:
            with suppress(RuntimeError):
                operation.discard()
