"""Starts the workers' processes, notices when one ends, and stops them."""

import asyncio
import os
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from typing import Any

from swarm_persistence.backends.targets import DATABASE_VARIABLE
from swarm_persistence.demo.kill_target import KillTarget
from swarm_persistence.models.identifiers import new_id

_GRACE_SECONDS = 8.0
"""Many times the duration of the longest task."""


class WorkerProcess:
    """The process of one worker. `ended` resolves to the last line of its standard error once it has exited."""

    def __init__(self, agent_id: str, name: str, process: Process) -> None:
        self.agent_id = agent_id
        self.name = name
        self.process = process
        self.ended = asyncio.create_task(self._last_error_line())

    async def _last_error_line(self) -> str:
        # Not communicate(): from Python 3.12 on, that closes the standard input, and so ends the worker.
        errors = await self.process.stderr.read() if self.process.stderr else b""
        await self.process.wait()
        lines = errors.decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return said[-1] if said else f"ended with exit code {self.process.returncode}"


class Fleet:
    """The running workers of one coordinator."""

    def __init__(self, target: str) -> None:
        # Passed in the environment: other users can read a command line, and a URL may contain a password.
        self._environment = {**os.environ, DATABASE_VARIABLE: target}
        self.workers: list[WorkerProcess] = []

    async def start(self, name: str, kill_target: KillTarget | None = None) -> None:
        """Start a worker. If it claims the kill target, it holds that task until a worker has been killed."""
        agent_id = new_id()
        command = [sys.executable, "-m", "swarm_persistence.demo.worker", "--agent-id", agent_id, "--name", name]
        if kill_target is not None:
            command += ["--kill-target", kill_target.task_id, "--run", kill_target.run]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=DEVNULL, stderr=PIPE, env=self._environment, **_own_group()
        )
        self.workers.append(WorkerProcess(agent_id, name, process))

    def take_ended(self) -> list[WorkerProcess]:
        """Return and forget the workers that have exited since the last call."""
        ended = [worker for worker in self.workers if worker.ended.done()]
        self.workers = [worker for worker in self.workers if worker not in ended]
        return ended

    async def kill(self, worker: WorkerProcess) -> None:
        """Kill a worker, and return once it is dead; it is not replaced."""
        with suppress(ProcessLookupError):  # it may have exited just now
            worker.process.kill()
        await worker.ended
        self.workers.remove(worker)

    async def stop(self, urgent: asyncio.Event) -> list[WorkerProcess]:
        """Let the workers finish their tasks, and kill the slow ones; return those whose exit code is not 0."""
        for worker in self.workers:
            if worker.process.stdin is not None:
                worker.process.stdin.close()
        hurry: asyncio.Future[Any] = asyncio.create_task(urgent.wait())
        all_ended: asyncio.Future[Any] = asyncio.gather(*(worker.ended for worker in self.workers))
        await asyncio.wait({all_ended, hurry}, timeout=_GRACE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        for worker in self.workers:
            if not worker.ended.done():
                worker.process.kill()
        await all_ended
        workers, self.workers = self.workers, []
        return [worker for worker in workers if worker.process.returncode]


def _own_group() -> dict[str, Any]:
    """Keep the terminal's Ctrl-C from the workers: the coordinator receives it and stops them cleanly."""
    if os.name == "posix":
        return {"process_group": 0}
    return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined,unused-ignore]
