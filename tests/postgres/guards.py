"""Removes the folder of a server once its owner leaves it or is killed; what still runs there is ended first.

As a program, it is a process beside the owner, and reads a line of its standard input, or its end: only the owner
holds the other end, which the system closes with the process.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STOP_SECONDS = 10.0
"""How long servers may take to stop before they are killed."""


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Remove a folder after the block, or once this process has died, whatever still runs there."""
    # A session of its own: what ends the run may be sent to its whole group of processes.
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(folder)], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield
    finally:
        guard.communicate(b"\n")  # A process that was forked meanwhile may keep the pipe open.
    if guard.returncode:
        raise RuntimeError(f"{folder} was not removed: see the guard's traceback above")


def _processes_in(folder: str) -> list[int]:
    """Return the processes that work in a folder or beneath, as a server does in that of its data."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # it has ended
            if f"{os.readlink(f'/proc/{name}/cwd')}/".startswith(f"{folder}/"):
                found.append(int(name))
    return found


def _signal(processes: list[int], *numbers: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            for number in numbers:
                os.kill(process, number)


def _end_all_in(folder: str) -> None:
    # PostgreSQL takes it for a shutdown that waits for no client, and cleans up the memory that it shares.
    _signal(_processes_in(folder), signal.SIGQUIT, signal.SIGCONT)
    end = time.monotonic() + STOP_SECONDS
    while running := _processes_in(folder):
        if time.monotonic() > end:
            _signal(running, signal.SIGKILL)
        time.sleep(0.02)


if __name__ == "__main__":
    sys.stdin.readline()
    _end_all_in(sys.argv[1])
    shutil.rmtree(sys.argv[1], ignore_errors=True)
