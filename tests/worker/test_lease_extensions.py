"""When a running task's lease is extended next: a third of it later, or sooner after an attempt that has failed."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from swarm_persistence import SqliteStorage, TaskModel, TaskStatus
from swarm_persistence.worker import task_runs
from swarm_persistence.worker.handler_control import HandlerControl
from swarm_persistence.worker.retry_policies import RetryPolicy
from swarm_persistence.worker.task_runs import MARKED_AFTER_SECONDS, TaskLimits, TaskRun
from swarm_persistence_conformance.waiting import LIMIT_SECONDS
from worker.test_faults import locked
from worker.workers import store

LEASE_SECONDS = 600.0
TASK_TIMEOUT_SECONDS = 100.0
CLAIMED_AT = 1000.0


class Owner:
    """Remembers when a run is due next."""

    def __init__(self) -> None:
        self.due_at = 0.0
        self.is_told = asyncio.Event()

    def expect(self, due_at: float) -> None:
        self.due_at = due_at
        self.is_told.set()

    def on_result(self, run: TaskRun, result: Any) -> None:
        raise AssertionError(f"{run.name} has ended with {result}")

    def on_handler_ended(self, run: TaskRun) -> None:
        """Take the end of the handler, which each test cancels."""

    def settled(self, run: TaskRun) -> None:
        """Take the end of the run."""

    def failed(self, run: TaskRun, error: BaseException) -> None:
        raise error


@pytest_asyncio.fixture
async def storage(path: Path) -> AsyncIterator[SqliteStorage]:
    async with await SqliteStorage.builder().connection_timeout(0.1).build(path) as storage:
        yield storage


async def wait(_: TaskModel) -> None:
    await asyncio.Event().wait()


async def a_run(
    storage: SqliteStorage, owner: Owner, *, is_marked: bool, task_timeout: float | None = None, waited: float = 0.0
) -> TaskRun:
    """Claim a task, and return its run; marked as running already, or not.

    By its clock, it was claimed at `CLAIMED_AT`, and has waited for a slot since.
    """
    await store(storage, "a")
    task = await storage.claim_next_task("agent-1", lease=LEASE_SECONDS)
    assert task is not None
    if is_marked:
        await storage.extend_lease(task, lease=LEASE_SECONDS, is_running=True)
        assert task.status is TaskStatus.RUNNING
    limits = TaskLimits(LEASE_SECONDS, task_timeout)
    control = HandlerControl(storage, task)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_runs, "time", SimpleNamespace(monotonic=lambda: CLAIMED_AT + waited))
        return TaskRun(
            storage,
            task,
            limits,
            handler_name="wait",
            policy=RetryPolicy(),
            control=control,
            owner=owner,
            claimed_at=CLAIMED_AT,
        )


@pytest.mark.parametrize("is_marked", [True, False])
async def test_a_task_is_extended_a_third_of_its_lease_after_its_claim(storage: SqliteStorage, is_marked: bool) -> None:
    """It may have waited for a slot since, or its claim for an answer."""
    run = await a_run(storage, Owner(), is_marked=is_marked, waited=LEASE_SECONDS / 3)

    assert run.due_at == CLAIMED_AT + LEASE_SECONDS / 3


async def test_a_task_is_marked_as_running_before_that(storage: SqliteStorage) -> None:
    run = await a_run(storage, Owner(), is_marked=False)

    assert run.due_at - run.started_at == MARKED_AFTER_SECONDS


async def test_a_timeout_may_come_first(storage: SqliteStorage) -> None:
    run = await a_run(storage, Owner(), is_marked=True, task_timeout=TASK_TIMEOUT_SECONDS)

    assert run.due_at - run.started_at == TASK_TIMEOUT_SECONDS


async def test_nothing_happens_before_it_is_due(storage: SqliteStorage) -> None:
    owner = Owner()
    run = await a_run(storage, owner, is_marked=True)
    before = run.task.lease_expires_at
    run.check_deadlines(run.due_at - 0.001)
    await asyncio.sleep(0)

    assert not owner.is_told.is_set()
    assert run.due_at == CLAIMED_AT + LEASE_SECONDS / 3
    assert run.task.lease_expires_at == before


async def test_the_next_extension_is_due_after_another_third(storage: SqliteStorage) -> None:
    owner = Owner()
    run = await a_run(storage, owner, is_marked=False)
    run.start(wait)
    begun = time.monotonic()
    run.check_deadlines(run.due_at)
    async with asyncio.timeout(LIMIT_SECONDS):
        await owner.is_told.wait()

    assert begun <= owner.due_at - LEASE_SECONDS / 3 <= time.monotonic()
    assert run.due_at == owner.due_at
    assert run.task.status is TaskStatus.RUNNING
    await run.stop()


async def test_an_extension_that_the_database_refuses_is_tried_again_sooner(storage: SqliteStorage, path: Path) -> None:
    owner = Owner()
    run = await a_run(storage, owner, is_marked=False)
    run.start(wait)
    lock = locked(path)
    begun = time.monotonic()
    run.check_deadlines(run.due_at)
    async with asyncio.timeout(LIMIT_SECONDS):
        await owner.is_told.wait()
    lock.close()

    assert begun <= owner.due_at - LEASE_SECONDS / 12 <= time.monotonic()
    assert run.task.status is TaskStatus.ASSIGNED
    await run.stop()


async def test_one_that_is_asked_for_twice_is_done_once_more_after_the_first(storage: SqliteStorage) -> None:
    owner = Owner()
    run = await a_run(storage, owner, is_marked=False)
    run.start(wait)
    run.check_claim()
    run.check_claim()
    version = run.task.version
    for _ in range(2):
        async with asyncio.timeout(LIMIT_SECONDS):
            await owner.is_told.wait()
        owner.is_told.clear()

    assert (await storage.get_task("a")).version == version + 2  # type: ignore[union-attr]
    await run.stop()
