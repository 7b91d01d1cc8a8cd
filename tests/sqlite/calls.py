"""Traces which functions of the package run, in all threads that are started while the trace is open."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any

import swarm_persistence
from polling import block_until

_PACKAGE = f"{Path(swarm_persistence.__file__).parent}/"
_WAITED_FOR = (SimpleQueue, type(threading.Lock()))
_COMPREHENSIONS = ("<listcomp>", "<dictcomp>", "<setcomp>")
"""Frames of their own up to Python 3.11; part of the function around them since."""
_GENERATED = {"<codec of ": "schema/codec.py", "<copying of ": "storage/core.py"}
"""The files that generate functions, by the beginnings of the names under which these are compiled."""


class CallTrace:
    """The functions that were called while `is_recording` was set, by the file that defines them."""

    def __init__(self) -> None:
        self.is_recording = False
        self._calls: set[tuple[str, str]] = set()
        self._is_waiting: dict[threading.Thread, bool] = {}

    def forget(self) -> None:
        """Start anew."""
        self._calls = set()

    @property
    def functions(self) -> dict[str, list[str]]:
        """Return the names of the functions of each file."""
        files = sorted({file for file, _ in self._calls})
        return {file: sorted(name for other, name in self._calls if other == file) for file in files}

    def wait_for_threads(self) -> None:
        """Wait until every other thread that was traced waits for something to do."""
        block_until(lambda: all(waits or not each.is_alive() for each, waits in list(self._is_waiting.items())))

    def _record(self, frame: FrameType, event: str, argument: Any) -> None:
        thread = threading.current_thread()
        if thread is not threading.main_thread():
            self._is_waiting[thread] = event == "c_call" and isinstance(argument.__self__, _WAITED_FOR)
        if event != "call" or not self.is_recording:
            return
        code = frame.f_code
        if not code.co_name.endswith(_COMPREHENSIONS) and (file := _file_of(code.co_filename)) is not None:
            self._calls.add((file, code.co_qualname))


def _file_of(filename: str) -> str | None:
    if filename.startswith(_PACKAGE):
        return filename.removeprefix(_PACKAGE)
    return next((file for beginning, file in _GENERATED.items() if filename.startswith(beginning)), None)


@contextmanager
def tracing_calls() -> Iterator[CallTrace]:
    """Trace the calls of this thread, and of those that are started within the block."""
    trace = CallTrace()
    threading.setprofile(trace._record)
    sys.setprofile(trace._record)
    try:
        yield trace
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
