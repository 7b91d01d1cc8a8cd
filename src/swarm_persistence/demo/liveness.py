"""Detects whether the process of an agent is still alive."""

import os
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

from swarm_persistence.clock import now
from swarm_persistence.models import AgentModel, AgentStatus

HEARTBEAT_SECONDS = 0.5
LEASE_SECONDS = 2.0
"""How long a task stays claimed after its worker has died. Heartbeats extend it."""
SILENCE_SECONDS = 10.0
"""An agent without a heartbeat for this time counts as dead; if it wakes up, its claim is over."""


def process_metadata() -> dict[str, Any]:
    """Return the metadata of an agent in this process, by which other processes can check on it."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def is_alive(agent: AgentModel) -> bool:
    """Return whether the agent may still be working."""
    if agent.status is AgentStatus.SHUTDOWN or now() - agent.heartbeat > timedelta(seconds=SILENCE_SECONDS):
        return False
    host, pid = agent.metadata.get("host"), agent.metadata.get("pid")
    if host != socket.gethostname() or not isinstance(pid, int):
        return True
    # After a restart of its container, a process may have the same pid as its predecessor.
    return pid != os.getpid() and _is_running(pid)


def _is_running(pid: int) -> bool:
    if os.name != "posix":
        return True  # os.kill(pid, 0) only checks the process on POSIX; on Windows it would terminate it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    # An orphan in a container whose init process reaps no children.
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[:1] == [b"Z"]
