"""Defers the handlers of signals while a thread does what no exception may interrupt."""

import signal
import threading
from importlib import import_module
from typing import Any

_signal: Any = import_module("_signal")  # without the enums, which take `signal` 18 microseconds a call

_DEFERRED = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP") if hasattr(signal, name))
"""Their handlers may raise, as that of Ctrl-C does."""


class DeferredSignals:
    """The signals that the main thread received between `defer` and `deliver`; in other threads, there are none."""

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._received: list[tuple[int, Any]] = []

    def defer(self) -> None:
        """Record signals from now on, instead of calling their handlers; idempotent."""
        if self._handlers or threading.current_thread() is not threading.main_thread():
            return
        for number in _DEFERRED:
            handler = _signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = _signal.signal(number, self._receive)

    def deliver(self) -> None:
        """Call the handlers of the signals that were received; any of them may raise."""
        if self._handlers:
            self._restore()
        while self._received:
            number, frame = self._received.pop(0)
            handler = _signal.getsignal(number)
            if callable(handler):
                handler(number, frame)

    def _restore(self) -> None:
        try:
            while self._handlers:
                number, handler = self._handlers.popitem()
                if _signal.getsignal(number) == self._receive:  # else another one was installed meanwhile
                    _signal.signal(number, handler)
        finally:
            # A handler that is in place again may raise here at once.
            if self._handlers:
                self._restore()

    def _receive(self, number: int, frame: Any) -> None:
        self._received.append((number, frame))
