"""Tells whether the process of an agent still lives."""

import os
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

from swarm_persistence.clock import now
from swarm_persistence.models import AgentModel, AgentStatus

HEARTBEAT_SECONDS = 0.5
LEASE_SECONDS = 2.0
"""How long a task stays with a worker that has died; the others wait for no more than that. Renewed by heartbeats."""
SILENCE_SECONDS = 10.0
"""An agent that was silent for so long counts as dead; should it wake up, its claim is over."""


def whereabouts() -> dict[str, Any]:
    """Return what an agent of this process keeps in its metadata, so that others can look for it."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def is_alive(agent: AgentModel) -> bool:
    """Tell whether the agent may still be working."""
    if agent.status is AgentStatus.SHUTDOWN or now() - agent.heartbeat > timedelta(seconds=SILENCE_SECONDS):
        return False
    host, pid = agent.metadata.get("host"), agent.metadata.get("pid")
    if host != socket.gethostname() or not isinstance(pid, int):
        return True
    # After a restart of its container, a process may have the number of its own predecessor.
    return pid != os.getpid() and _is_running(pid)


def _is_running(pid: int) -> bool:
    if os.name != "posix":
        return True  # os.kill(pid, 0) is a harmless question on POSIX only
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    # An orphan in a container whose first process reaps nobody.
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[:1] == [b"Z"]
