"""The application over a storage in memory, with a client; and a real server in a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from swarm_persistence import MemoryStorage, Storage
from swarm_persistence.web import swarm_app

URL = "http://127.0.0.1:8787"
TOKEN = "a token of enough letters"


@asynccontextmanager
async def client_of(storage: Storage | None = None, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application in this process."""
    async with storage or MemoryStorage() as opened:
        transport = httpx.ASGITransport(swarm_app(opened, **settings))
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            yield client


class ServerProcess:
    """A server in its own process; it has started once its address is known."""

    def __init__(self, arguments: list[str], directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "swarm_persistence", "serve", *arguments, "--port", "0"],
            cwd=directory,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = ""
        for line in self.process.stdout:
            if found := re.fullmatch(r"page: (http://.*)/\n", line):
                self.url = found[1]
                return
        raise AssertionError(f"the server did not start: {self.end()[1]}")

    def end(self, timeout: float = 30) -> tuple[int, str]:
        """Tell it to end, and return its exit code and what it wrote as errors."""
        self.process.terminate()
        try:
            errors = self.process.communicate(timeout=timeout)[1]
        finally:
            self.process.kill()
        return self.process.returncode, errors


@contextmanager
def server(directory: Path, *arguments: str) -> Iterator[ServerProcess]:
    """Yield a server; it must end well, and must not have complained."""
    started = ServerProcess([*arguments], directory)
    try:
        yield started
    finally:
        code, errors = started.end()
    assert (code, errors) == (0, "")
