"""Facts about what the library offers to the tests of an application."""

import os
import subprocess
import sys
from pathlib import Path

from swarm_persistence import MemoryStorage
from swarm_persistence.testing import ManualClock, use_clock

CONFTEST = """
from swarm_persistence.testing import use_clock

pytest_plugins = ["swarm_persistence.testing"]
"""
TESTS = """
import asyncio

from swarm_persistence import MemoryStorage, TaskModel
from swarm_persistence.clock import is_system_clock


def test_a_lease_runs_out(manual_clock):
    async def claim_twice():
        async with MemoryStorage() as storage:
            await storage.store_task(TaskModel.new("a", {}))
            await storage.claim_next_task("slow", lease=60)
            manual_clock.advance(61)
            return await storage.requeue_expired_tasks()

    assert len(asyncio.run(claim_twice()).requeued) == 1


def test_the_clock_is_the_machines_again():
    assert is_system_clock()
"""


async def test_the_clock_that_is_given_is_the_one_that_a_block_gets() -> None:
    async with MemoryStorage() as storage:
        with use_clock(ManualClock()) as clock:
            before = await storage.engine.time()
            clock.advance(60)

            assert await storage.engine.time() - before == 60_000_000


def test_the_fixture_stops_the_clock_for_one_test(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)

    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-W",
            "error",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            tmp_path,
            tmp_path,
        ],
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "2 passed" in run.stdout, run.stdout + run.stderr


def test_without_pytest_the_clocks_are_there() -> None:
    program = """
import sys
sys.modules["pytest"] = None
from swarm_persistence.testing import *
with use_clock(ManualClock()) as clock:
    clock.advance(60)
    print(clock.now())
"""

    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert run.stdout == "2026-01-01 00:01:00+00:00\n", run.stderr
