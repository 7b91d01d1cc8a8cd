"""Tells the workers of this process of SIGTERM and SIGINT; once the last one has gone, all is as it was before."""

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


def heed(receiver: Receiver) -> None:
    """Call `receiver` with each signal's number, until `ignore`. Does nothing outside of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return  # Python lets no other thread set them
    if not _receivers:
        for number in _NUMBERS:
            # A signal that is ignored stays so, as SIGINT in the background of a shell.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                _previous[number] = signal.signal(number, _tell)
    _receivers.append(receiver)


def ignore(receiver: Receiver) -> None:
    """Call `receiver` no more."""
    if receiver not in _receivers:
        return
    _receivers.remove(receiver)
    if not _receivers:
        _restore_all()


def _restore_all() -> None:
    while _previous:
        _restore(_previous.popitem())


def _restore(heeded: tuple[int, Any]) -> None:
    number, handler = heeded
    # Somebody may have set a handler of their own since; that one is theirs.
    if signal.getsignal(number) is _tell:
        signal.signal(number, handler)


def _tell(number: int, _frame: FrameType | None) -> None:
    for receiver in tuple(_receivers):
        receiver(number)


def _forget_in_child() -> None:
    """A process that a handler has forked is no worker, and `terminate()` must end it, whatever it waits for."""
    _receivers.clear()
    _restore_all()


if hasattr(os, "register_at_fork"):  # not in a browser
    os.register_at_fork(after_in_child=_forget_in_child)
