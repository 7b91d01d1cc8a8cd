"""Names the process of a worker, so that its next incarnation on the same machine can tell whether it is gone."""

import os
import platform
import sys
from pathlib import Path

_PROC = Path("/proc")


def own_process() -> str | None:
    """Return the name of this process; `None` where there are no processes, as in a browser."""
    if sys.platform in ("emscripten", "win32"):
        return None  # on Windows, to ask for a process by a signal would end it
    return "|".join((*_process_namespace(), str(os.getpid()), _started(os.getpid())))


def is_gone(process: object) -> bool:
    """Tell whether a named process has certainly ended; false if it may run elsewhere."""
    own = own_process()
    if not isinstance(process, str) or own is None or process.count("|") != own.count("|"):
        return False
    *namespace, pid, started = process.split("|")
    if tuple(namespace) != _process_namespace() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    # The process id may have been reused.
    return bool(started) and _started(int(pid)) != started


def _process_namespace() -> tuple[str, str, str]:
    """Return what a process id is unique in: the name of the host, its boot, and the PID namespace."""
    return platform.node(), _text(_PROC / "sys/kernel/random/boot_id"), _pid_namespace()


def _pid_namespace() -> str:
    try:
        return os.readlink(_PROC / "self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Return when a process was started, in ticks since the boot; empty if it has ended or that is unknown."""
    # The name of its program, in parentheses, may contain spaces.
    fields = _text(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    # A zombie has ended, and waits for its parent to ask how.
    return fields[19] if len(fields) > 19 and fields[0] not in ("Z", "X") else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
