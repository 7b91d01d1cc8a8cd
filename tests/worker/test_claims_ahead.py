"""Tasks that a worker claims before it has a slot for them: it starts them soon, or hands them back."""

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from polling import until
from swarm_persistence import Storage, TaskModel, TaskStatus
from swarm_persistence.worker import worker_runs
from swarm_persistence.worker.pace import HORIZON_SECONDS, Pace
from worker.test_blocked_loops import LEASE, Elsewhere, register_the_other
from worker.workers import a_worker, completed, once, soon, store

MANY = [f"task-{number:03}" for number in range(200)]


@pytest.fixture
def far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every handler that has ended count as quick, however loaded the machine is."""
    monkeypatch.setattr("swarm_persistence.worker.pace.HORIZON_SECONDS", 1_000.0)
    monkeypatch.setattr("swarm_persistence.worker.pace.LONGEST_WAIT_SECONDS", 1_000.0)


class BlockingHandler:
    """A handler that returns at once, except for tasks of one id, which block until `may_go` is set."""

    def __init__(self, id: str) -> None:
        self.begun, self.may_go = asyncio.Event(), asyncio.Event()
        self.seen: list[str] = []
        self._id = id

    async def __call__(self, task: TaskModel) -> None:
        self.seen.append(task.id)
        if task.id == self._id:
            self.begun.set()
            await self.may_go.wait()


async def is_claimed_ahead(storage: Storage, id: str) -> None:
    """Wait until a task is claimed that the worker has no slot for."""
    await once(storage, lambda task: task.status is TaskStatus.ASSIGNED, id)


@pytest.mark.usefixtures("far_ahead")
async def test_quick_tasks_are_completed_and_claimed_many_in_one_write(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete_and_claim, writes = storage.complete_and_claim, []

    async def count(completions: Any, *arguments: Any, **options: Any) -> Any:
        writes.append(len(completions))
        return await complete_and_claim(completions, *arguments, **options)

    async def quick(_: TaskModel) -> None:
        pass

    monkeypatch.setattr(storage, "complete_and_claim", count)
    await store(storage, *MANY)
    async with a_worker(storage, {"work": quick}, concurrency=1) as worker:
        tasks = await completed(storage, *MANY)
    assert (sum(writes), worker.outcomes) == (len(MANY), {"completed": len(MANY)})
    assert max(writes) > 10
    assert {task.claim_count for task in tasks.values()} == {1}


@pytest.mark.usefixtures("far_ahead")
async def test_a_task_for_which_no_slot_comes_in_time_is_handed_back(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarm_persistence.worker.pace.LONGEST_WAIT_SECONDS", 0.05)
    handler = BlockingHandler("b")
    await store(storage, "a", "b", "c")
    async with a_worker(storage, {"work": handler}, concurrency=1) as worker:
        await soon(handler.begun)
        await once(storage, lambda task: task.status is TaskStatus.PENDING and task.claim_count == 1, "c")
        assert (await storage.claim_next_tasks("agent-2", limit=5))[0].id == "c"
        handler.may_go.set()
        await completed(storage, "b")
    assert (handler.seen, worker.outcomes) == (["a", "b"], {"completed": 2})


async def test_a_task_is_running_from_its_claim_on_if_a_slot_is_free(storage: Storage) -> None:
    seen = []

    async def look(task: TaskModel) -> None:
        stored = await storage.get_task(task.id)
        assert stored is not None
        seen.append((task.status, stored.status, stored.started_at is not None, stored.version - task.version))

    await store(storage, "a", "b")
    async with a_worker(storage, {"work": look}, concurrency=2):
        await completed(storage, "a", "b")
    assert seen == [(TaskStatus.RUNNING, TaskStatus.RUNNING, True, 0)] * 2


@pytest.mark.usefixtures("far_ahead")
async def test_a_task_that_was_claimed_ahead_is_running_once_its_handler_has_run_for_a_while(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarm_persistence.worker.task_runs.MARKED_AFTER_SECONDS", 0.01)
    handler = BlockingHandler("c")
    await store(storage, "a", "b", "c", "d")
    async with a_worker(storage, {"work": handler}, concurrency=1):
        await soon(handler.begun)
        running = await once(storage, lambda task: task.status is TaskStatus.RUNNING, "c")
        waiting = await once(storage, lambda task: task.status is not TaskStatus.RUNNING, "d")
        handler.may_go.set()
        await completed(storage, "c", "d")
    assert running["c"].assigned_to == "agent-1"
    assert waiting["d"].status in (TaskStatus.ASSIGNED, TaskStatus.PENDING)


@pytest.mark.usefixtures("far_ahead")
async def test_a_stop_hands_back_what_is_claimed_ahead(storage: Storage) -> None:
    handler = BlockingHandler("b")
    await store(storage, "a", "b", "c")
    async with a_worker(storage, {"work": handler}, concurrency=1) as worker:
        await soon(handler.begun)
        await is_claimed_ahead(storage, "c")
        worker.stop()
        await once(storage, lambda task: task.status is TaskStatus.PENDING, "c")
        handler.may_go.set()
    assert (handler.seen, worker.outcomes) == (["a", "b"], {"completed": 2, "given back": 1})


@pytest.mark.usefixtures("far_ahead")
async def test_a_task_that_is_cancelled_before_it_has_a_slot_is_not_started(storage: Storage) -> None:
    handler = BlockingHandler("b")
    await store(storage, "a", "b", "c")
    async with a_worker(storage, {"work": handler}, concurrency=1) as worker:
        await soon(handler.begun)
        await is_claimed_ahead(storage, "c")
        await storage.cancel_task("c")
        assert worker._run is not None
        run = worker._run
        await until(lambda: not run._ahead.tasks)
        handler.may_go.set()
        await completed(storage, "b")
    assert handler.seen == ["a", "b"]


@pytest.mark.usefixtures("far_ahead")
async def test_a_worker_whose_loop_is_blocked_leaves_to_others_what_it_has_not_begun(storage: Storage) -> None:
    async def others() -> None:
        async def finish(_: TaskModel) -> str:
            return "by another worker"

        async with a_worker(storage, {"work": finish}, "agent-2", lease=LEASE):
            await completed(storage, "c")

    async def block(task: TaskModel) -> None:
        if task.id == "b":
            await is_claimed_ahead(storage, "c")
            elsewhere = Elsewhere(others)
            elsewhere.block()
            elsewhere.join()

    await register_the_other(storage)
    await store(storage, "a", "b", "c")
    async with a_worker(storage, {"work": block}, concurrency=1, lease=LEASE) as worker:
        tasks = await completed(storage, "a", "b", "c")
    assert (tasks["c"].result, tasks["c"].claim_count) == ("by another worker", 2)
    assert worker.outcomes == {"completed": 2}


@pytest.mark.parametrize("ids", [["a"], ["a", "b", "c"]])
async def test_what_a_claim_has_claimed_is_not_begun_once_its_lease_may_have_passed(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, ids: list[str]
) -> None:
    """While the loop is blocked, or the process stopped, other workers take over the tasks of a claim in flight."""
    claim = storage.claim_next_tasks
    late: list[TaskModel] = []
    seen: list[tuple[str, int]] = []

    async def claim_late(*arguments: Any, **options: Any) -> Any:
        tasks = await claim(*arguments, **options)
        if not late:
            late.extend(tasks)
            threading.Event().wait(LEASE)  # blocks the loop
        return tasks

    async def note(task: TaskModel) -> None:
        seen.append((task.id, task.claim_count))

    monkeypatch.setattr(storage, "claim_next_tasks", claim_late)
    await store(storage, *ids)
    async with a_worker(storage, {"work": note}, concurrency=2, lease=LEASE) as worker:
        await completed(storage, *ids)
    assert len(late) == min(len(ids), 2)
    assert sorted(seen) == [(id, 1 + (id in [task.id for task in late])) for id in ids]
    assert worker.outcomes == {"completed": len(ids)}


def test_nothing_is_claimed_ahead_before_a_handler_has_ended() -> None:
    assert Pace().ahead(8) == 0


def test_as_many_are_claimed_ahead_as_quick_handlers_start_within_the_horizon() -> None:
    pace = Pace()
    for _ in range(20):
        pace.note(0.004)
    assert (pace.ahead(1), pace.ahead(8), pace.ahead(0)) == (1, 10, 0)


def test_several_slots_start_tasks_within_the_horizon_though_each_handler_takes_longer() -> None:
    pace = Pace()
    for _ in range(20):
        pace.note(0.02)
    assert (pace.ahead(3), pace.ahead(4), pace.ahead(8)) == (0, 1, 2)


def test_more_are_claimed_ahead_where_claims_take_longer_than_the_horizon_up_to_a_limit() -> None:
    pace = Pace()
    for _ in range(1_000):
        pace.note(0.004)
    for seconds, ahead in ((0.0001, 10), (0.0162, 32), (60.0, 50)):
        for _ in range(100):
            pace.note_claim(seconds)
        assert pace.ahead(8) == ahead
    pace.note(0.05)
    assert pace.ahead(8) == 0
    pace.reset()
    for _ in range(1_000):
        pace.note(0.004)
    assert pace.ahead(8) == 10


@pytest.mark.usefixtures("far_ahead")
async def test_a_worker_notes_how_long_the_claims_take_that_go_along_with_results(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete_and_claim, limits, noted = storage.complete_and_claim, [], []

    async def count(*arguments: Any, limit: int, **options: Any) -> Any:
        limits.append(limit)
        return await complete_and_claim(*arguments, limit=limit, **options)

    async def quick(_: TaskModel) -> None:
        pass

    monkeypatch.setattr(storage, "complete_and_claim", count)
    monkeypatch.setattr(Pace, "note_claim", lambda _, seconds: noted.append(seconds))
    await store(storage, *MANY)
    async with a_worker(storage, {"work": quick}, concurrency=1):
        await completed(storage, *MANY)
    assert len(noted) == sum(limit > 0 for limit in limits) > 0
    assert min(noted) > 0


async def test_slots_of_handlers_that_run_for_longer_than_the_horizon_count_for_no_claims_ahead(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots: list[int] = []

    class RecordingPace(Pace):
        def ahead(self, slots_ending_soon: int) -> int:
            slots.append(slots_ending_soon)
            return 0

    handlers = [BlockingHandler("a"), BlockingHandler("b")]
    types: dict[str, Callable[..., Any]] = {"first": handlers[0], "second": handlers[1]}
    async with a_worker(storage, types, concurrency=5) as worker:
        for id, task_type, handler in zip("ab", types, handlers, strict=True):
            await store(storage, id, task_type=task_type)
            await soon(handler.begun)
        run = worker._started()
        older, newer = run._running
        older.started_at, newer.started_at = 100.0, 100.2
        run._pace = RecordingPace()
        times = iter([100.2, 100.2 + HORIZON_SECONDS / 2, 100.2 + 2 * HORIZON_SECONDS])
        monkeypatch.setattr(worker_runs, "time", SimpleNamespace(monotonic=times.__next__))

        rooms = [run._room() for _ in range(3)]

        monkeypatch.undo()
        for handler in handlers:
            handler.may_go.set()
        await completed(storage, "a", "b")

    assert (slots[:3], rooms) == ([4, 4, 3], [3, 3, 3])


def test_a_handler_that_takes_longer_than_the_horizon_ends_the_claims_ahead_at_once() -> None:
    pace = Pace()
    for _ in range(20):
        pace.note(0.0001)
    assert pace.ahead(4) == 16
    pace.note(0.05)
    assert pace.ahead(4) == 0


def test_no_more_are_claimed_ahead_than_handlers_have_ended() -> None:
    pace = Pace()
    pace.note(0.0001)
    assert pace.ahead(50) == 1
    pace.reset()
    assert pace.ahead(50) == 0


def test_the_first_claims_ahead_have_few_different_limits() -> None:
    pace, limits = Pace(), set()
    for _ in range(1_100):
        pace.note(0.0001)
        limits.add(pace.ahead(50))
    assert limits == {1, 2, 4, 8, 16, 32, 64, 128, 256, 512}
