"""Facts about the end of programs, and of storages, whose server is away: none waits for `connection_timeout`."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from polling import until
from postgres.servers import Server, embedded_programs, new_server
from swarm_persistence import PoolError, PostgresStorage, TaskModel, TaskStatus, open_storage
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task

LONG = {"connection_timeout": "1000", "operation_timeout": "1000"}
"""A program that waits for one of them is still running when a test's limit ends it."""
LIMIT_SECONDS = 60
TASKS = """
import asyncio, pathlib

async def wait(task):
    while pathlib.Path(task.payload).exists():
        await asyncio.sleep(0.01)

handlers = {"wait": wait}
"""
CALLS: list[dict[str, Any]] = [
    {
        "method": "initialize",
        "id": 1,
        "params": {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
    },
    {"method": "notifications/initialized"},
    {"method": "tools/call", "id": 2, "params": {"name": "list_tasks", "arguments": {}}},
]


@pytest.fixture
def own_server() -> Iterator[Server]:
    """Give a server that the test stops."""
    with new_server(embedded_programs()) as server:
        yield server
        if server.is_running:
            server.resume()


class Command:
    """A command that runs in a process of its own; killed at the block's end."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        (directory / "my_tasks.py").write_text(TASKS)
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "swarm_persistence", *arguments],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *error: object) -> None:
        with self.process:
            self.process.kill()

    def has_said(self, words: str, *, in_errors: bool = False) -> str:
        """Wait for a line with these words, and return it."""
        stream: IO[str] | None = self.process.stderr if in_errors else self.process.stdout
        assert stream is not None
        for line in stream:
            if words in line:
                return line
        raise AssertionError(f"it ended without saying {words!r}")

    def call(self) -> None:
        """Call a tool of MCP."""
        assert self.process.stdin is not None
        for call in CALLS:
            self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **call}) + "\n")
        self.process.stdin.flush()
        self.has_said('"id":1')

    def end(self, *numbers: signal.Signals) -> tuple[int, str]:
        """Send a signal, and wait for the end; return the exit code and what was said on stderr."""
        for number in numbers or (signal.SIGTERM,):
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=LIMIT_SECONDS)
        return self.process.returncode, errors


@pytest.mark.parametrize("is_silent", [False, True], ids=["refuses", "silent"])
class TestPrograms:
    @staticmethod
    def leave(server: Server, *, is_silent: bool) -> None:
        if is_silent:
            server.pause()
        else:
            server.stop("immediate")

    def test_an_idle_worker_ends(self, own_server: Server, tmp_path: Path, is_silent: bool) -> None:
        options = ("--database", own_server.url(**LONG), "--drain", "1000")
        with Command(tmp_path, "worker", "my_tasks:handlers", *options) as worker:
            worker.has_said("up to 8 at once")
            self.leave(own_server, is_silent=is_silent)
            code, errors = worker.end()

        assert code == 0
        assert "could not be signed off within" in errors

    def test_a_worker_with_results_hands_them_back_at_the_second_signal(
        self, own_server: Server, tmp_path: Path, is_silent: bool
    ) -> None:
        lock = tmp_path / "lock"
        lock.touch()
        with open_storage(own_server.url()) as storage:
            storage.store_tasks([TaskModel.new("wait", str(lock))])
        options = ("--database", own_server.url(**LONG), "--drain", "1000")
        with Command(tmp_path, "worker", "my_tasks:handlers", *options) as worker:
            with open_storage(own_server.url()) as storage:
                next(task for task in storage.watch_tasks() if task.status is TaskStatus.RUNNING)
            self.leave(own_server, is_silent=is_silent)
            lock.unlink()
            worker.process.send_signal(signal.SIGTERM)
            worker.has_said("1 running task(s) may end and be recorded within 1000 s", in_errors=True)
            code, errors = worker.end()

        assert code == 0
        assert "hands its task(s) back: 1 running" in errors
        assert "another worker takes the task over once its lease has expired" in errors

    def test_a_web_server_ends_with_a_request_in_flight(
        self, own_server: Server, tmp_path: Path, is_silent: bool
    ) -> None:
        with Command(tmp_path, "serve", own_server.url(**LONG), "--port", "0") as serving:
            address = serving.has_said("page: ").split()[1]
            self.leave(own_server, is_silent=is_silent)
            failures: list[Exception] = []

            def ask() -> None:
                try:
                    httpx.get(f"{address}api/v1/tasks", timeout=LIMIT_SECONDS)
                except httpx.HTTPError as error:
                    failures.append(error)

            asking = threading.Thread(target=ask)
            asking.start()
            asking.join(0.3)  # the request is at whatever place then
            code, _ = serving.end()
            asking.join(LIMIT_SECONDS)

        assert code == 0
        assert len(failures) == 1

    @pytest.mark.parametrize("signals", [1, 2])
    def test_an_mcp_server_ends_with_a_call_in_flight(
        self, own_server: Server, tmp_path: Path, is_silent: bool, signals: int
    ) -> None:
        with Command(tmp_path, "mcp", own_server.url(**LONG)) as serving:
            serving.has_said("database: ", in_errors=True)
            self.leave(own_server, is_silent=is_silent)
            serving.call()
            code, _ = serving.end(*[signal.SIGTERM] * signals)

        assert code == 128 + signal.SIGTERM


class TestStorages:
    async def test_close_fails_the_calls_that_no_server_can_be_reached_for(self, own_server: Server) -> None:
        storage = await PostgresStorage.open(own_server.url(**LONG))
        own_server.stop("immediate")
        calls = [elsewhere(storage.list_agents()), elsewhere(storage.store_task(a_task()))]
        await asyncio.wait(calls, timeout=0.2)

        async with asyncio.timeout(LIMIT_SECONDS):
            await storage.close()

        for call in calls:
            with pytest.raises(PoolError, match=r"can be reached since .* UTC, and the storage was closed meanwhile"):
                await call

    def test_close_without_await_does_so_too(self, own_server: Server) -> None:
        storage = open_storage(own_server.url(**LONG))
        own_server.stop("immediate")
        failures: list[PoolError] = []

        def ask() -> None:
            try:
                storage.list_agents()
            except PoolError as error:
                failures.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        asking.join(0.3)
        closing = threading.Thread(target=storage.close, daemon=True)
        closing.start()
        closing.join(LIMIT_SECONDS)
        asking.join(LIMIT_SECONDS)

        assert not closing.is_alive()
        assert "the storage was closed meanwhile" in str(failures[0])

    async def test_a_cancelled_call_that_waits_for_a_server_is_over_at_once(self, own_server: Server) -> None:
        async with await PostgresStorage.open(own_server.url(**LONG)) as storage:
            own_server.stop("immediate")
            for call in (storage.list_agents(), storage.store_task(a_task()), storage.claim_next_task("a")):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(call, 0.1)

            await until(lambda: not storage._engine._loop_engine().pending)


class TestTexts:
    async def test_each_call_that_waited_is_told_that_no_server_can_be_reached_and_since_when(
        self, own_server: Server
    ) -> None:
        told = (
            rf"127\.0\.0\.1:{own_server.port}/postgres: no server can be reached since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d "
            r"UTC, and the call has waited for connection_timeout \(1 s\): .*nothing listens there"
        )
        async with await PostgresStorage.open(own_server.url(connection_timeout="1")) as storage:
            own_server.stop("immediate")
            calls = [
                elsewhere(call)
                for call in (
                    storage.begin_transaction(),
                    storage.begin_transaction(),  # waits for the first one, as the following writes do
                    storage.store_task(a_task()),
                    storage.claim_next_task("a"),
                    storage.list_agents(),
                    storage.get_task("a"),
                )
            ]
            for call in calls:
                with pytest.raises(PoolError, match=told):
                    await call

    async def test_a_write_behind_a_transaction_that_waits_for_a_connection_blames_no_open_one(
        self, own_server: Server
    ) -> None:
        url = own_server.url(connection_timeout="1", max_connections="1")
        async with await PostgresStorage.open(url) as storage:
            snapshot = await storage._engine.snapshot()
            calls = [elsewhere(call) for call in (storage.begin_transaction(), storage.store_task(a_task()))]
            with pytest.raises(PoolError, match="all 1 connections were in use for longer than"):
                await calls[0]
            with pytest.raises(
                PoolError, match=r"(earlier writes of this storage waited|all 1 connections were in use)"
            ):
                await calls[1]
            await snapshot.close()
