"""Starts real demos in processes of their own, and looks at what they leave."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import apsw

from swarm_persistence import AgentModel, BlockingStorage, EventModel, QueryBuilder, TaskModel, open_storage
from swarm_persistence.demo.vocabulary import COORDINATOR_ID, WORKER

COMMAND = [sys.executable, "-m", "swarm_persistence", "demo", "--workers", "2"]
TIMEOUT_SECONDS = 60


def run_demo(database: Path, limit: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a demo to its end."""
    command = [*COMMAND, "--database", str(database), "--limit", str(limit), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)


class RunningDemo:
    """A demo that is at work and kills no worker; in a process group as in a terminal. Killed at the block's end."""

    def __init__(self, database: Path, limit: int) -> None:
        command = [*COMMAND, "--database", str(database), "--limit", str(limit), "--no-kill"]
        # A test run in the background of a shell ignores Ctrl-C, and so would its children.
        ours = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
            )
        finally:
            signal.signal(signal.SIGINT, ours)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self.process:
            self.process.kill()

    def wait_for_first_quarter(self) -> None:
        """Return when a quarter of the tasks is done."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("2 workers: "):
                return
        raise AssertionError(f"the demo ended early: {self.process.communicate()}")

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the whole group."""
        os.killpg(self.process.pid, number)

    def stop_between_writes(self, database: Path) -> None:
        """Stop the demo, though not its workers, but not while it holds the write lock; its sign of life stays new."""
        while True:
            self.signal_group(signal.SIGSTOP)
            stopped = os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            assert stopped is not None
            assert stopped.si_code == os.CLD_STOPPED, "the demo has ended"
            if _is_kept_alive(database):
                return
            self.signal_group(signal.SIGCONT)

    def finish(self) -> tuple[int, str, str]:
        """Wait for the end, and return exit code, the rest of the output, and the errors."""
        output, errors = self.process.communicate(timeout=TIMEOUT_SECONDS)
        return self.process.returncode, output, errors


def worker_pids(database: Path) -> list[int]:
    """Return the processes of the workers that are registered."""
    with open_storage(database) as storage:
        return [agent.metadata["pid"] for agent in workers_of(storage)]


def workers_of(storage: BlockingStorage) -> list[AgentModel]:
    """Return the registered workers."""
    return [agent for agent in storage.list_agents() if agent.agent_type == WORKER]


def tasks_of(storage: BlockingStorage, *statuses: str) -> list[TaskModel]:
    """Return the tasks of these states."""
    return storage.repository(TaskModel).query(QueryBuilder(TaskModel).where_in("status", statuses))


def events_of(storage: BlockingStorage, event_type: str) -> list[EventModel]:
    """Return the events of this type."""
    return storage.repository(EventModel).query(QueryBuilder(EventModel).where_eq("event_type", event_type))


def wait_for_end(pid: int) -> None:
    """Return when the process has ended; fail if it does not."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready, _, _ = select.select([descriptor], [], [], TIMEOUT_SECONDS)
        assert ready, f"process {pid} goes on"
    finally:
        os.close(descriptor)


def _is_kept_alive(database: Path) -> bool:
    connection = apsw.Connection(str(database))
    try:
        connection.set_busy_timeout(1000)  # workers at work hold the lock for less
        connection.execute(
            "UPDATE agents SET heartbeat = heartbeat + 600000000 WHERE id = ?", (COORDINATOR_ID,)
        ).fetchall()
    except apsw.BusyError:
        return False
    finally:
        connection.close()
    return True
