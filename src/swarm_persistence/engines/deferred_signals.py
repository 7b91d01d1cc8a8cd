"""Defers signal handlers while a thread runs code that no exception may interrupt."""

import os
import signal
from importlib import import_module
from itertools import compress
from threading import get_ident, main_thread
from typing import Any

_signal: Any = import_module("_signal")  # without conversions to enums, 18 microseconds a call

_NAMES = "INT TERM HUP QUIT BREAK INFO ALRM VTALRM PROF XCPU USR1 USR2 CHLD CONT TSTP TTIN TTOU WINCH URG IO PWR"
_DEFERRED = tuple(int(getattr(signal, f"SIG{name}")) for name in _NAMES.split(" ") if hasattr(signal, f"SIG{name}"))
"""The signals that a program may handle; not those of faults, and not SIGPIPE and SIGXFSZ, which Python ignores.

Their handlers may raise, as that of Ctrl-C does, or call the storage, whose locks the interrupted call may hold.
"""


class DeferredSignals:
    """The signals that the main thread received between `defer` and `deliver`; in other threads, there are none."""

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._is_complete = False
        """Whether all handlers are replaced; `False` if one raised in between."""
        self._received: list[tuple[int, Any]] = []

    def defer(self) -> None:
        """Record signals from now on, instead of calling their handlers; idempotent."""
        if self._is_complete or get_ident() != _main_thread_ident:
            return
        # Iterated in C, as most signals have no handler, which is 0 or None: a call that does not wait spends much of
        # its time here.
        for number in compress(_DEFERRED, map(_signal.getsignal, _DEFERRED)):
            handler = _signal.getsignal(number)
            if handler != self._receive and callable(handler):
                _deferring[self] = None
                self._handlers[number] = handler  # first, as the handler of another signal may raise at any moment
                _signal.signal(number, self._receive)
        self._is_complete = True

    def deliver(self) -> None:
        """Put the handlers back, and call those of the signals that were received; any of them may raise."""
        self._is_complete = False
        if not self._handlers and not self._received:
            return
        try:
            while self._handlers:
                number = next(reversed(self._handlers))
                if _signal.getsignal(number) == self._receive:  # otherwise another handler was installed meanwhile
                    _signal.signal(number, self._handlers[number])
                self._handlers.pop(number, None)
        finally:
            # A handler that is in place again may raise here at once.
            if self._handlers:
                self.deliver()
            _deferring.pop(self, None)
        while self._received:
            number, frame = self._received.pop(0)
            handler = _signal.getsignal(number)
            if callable(handler):
                handler(number, frame)

    def _receive(self, number: int, frame: Any) -> None:
        self._received.append((number, frame))

    def _restore_in_child(self) -> None:
        self._received.clear()  # they were sent to the parent
        self.deliver()


_deferring: dict[DeferredSignals, None] = {}
"""The instances that have replaced handlers; handlers are restored in reverse order."""

_main_thread_ident = main_thread().ident
"""Of the only thread that runs handlers; compared instead of looked up, which takes two calls."""


def _restore_in_child() -> None:
    global _main_thread_ident  # noqa: PLW0603 - the child has another main thread, the one that forked
    _main_thread_ident = get_ident()
    while _deferring:
        _deferring.popitem()[0]._restore_in_child()


if hasattr(os, "register_at_fork"):
    # The child has only the thread that forked. If that was another one, none would ever restore the handlers.
    os.register_at_fork(after_in_child=_restore_in_child)
