"""Delivers SIGTERM and SIGINT to the workers of this process; restores the previous handlers after the last one."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

Receiver = Callable[[int], None]

_NUMBERS = (signal.SIGTERM, signal.SIGINT)
_receivers: list[Receiver] = []
_previous: dict[int, Any] = {}


def subscribe(receiver: Receiver) -> None:
    """Call `receiver` with each signal's number until `unsubscribe`. Does nothing outside of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return  # Python sets signal handlers in the main thread only
    if not _receivers:
        for number in _NUMBERS:
            # An ignored signal stays ignored, such as SIGINT of a shell's background job.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                _previous[number] = signal.signal(number, _deliver)
    _receivers.append(receiver)


def unsubscribe(receiver: Receiver) -> None:
    """Stop calling `receiver`."""
    if receiver not in _receivers:
        return
    _receivers.remove(receiver)
    if not _receivers:
        _restore_all()


def _restore_all() -> None:
    while _previous:
        _restore(_previous.popitem())


def _restore(previous: tuple[int, Any]) -> None:
    number, handler = previous
    # The program may have set a handler of its own since, which must stay.
    if signal.getsignal(number) is _deliver:
        signal.signal(number, handler)


def _deliver(number: int, _frame: FrameType | None) -> None:
    for receiver in tuple(_receivers):
        receiver(number)


def _reset_in_child() -> None:
    """Restore the handlers in a child that a task's handler has forked, so that `terminate()` ends it."""
    _receivers.clear()
    _restore_all()


if hasattr(os, "register_at_fork"):  # not in a browser
    os.register_at_fork(after_in_child=_reset_in_child)
