"""The writes of a worker: while one is in flight, another one records what has come in, if that is enough."""

import asyncio
import weakref
from typing import Any

import pytest

from polling import until
from swarm_persistence import Storage, TaskModel
from worker.workers import a_worker, completed, soon, store

FEWEST_BESIDE = 64


class HeldWrites:
    """Holds the first write of a worker until `may_go` is set, before or after it is done; knows all of them."""

    def __init__(self, storage: Storage, monkeypatch: pytest.MonkeyPatch, *, until_done: bool = False) -> None:
        self.begun, self.may_go = asyncio.Event(), asyncio.Event()
        self.second_has_begun = asyncio.Event()
        self.sizes: list[int] = []
        self.limits: list[int] = []
        self.in_flight = self.most_in_flight = 0
        self._complete_and_claim = storage.complete_and_claim
        self._until_done = until_done
        monkeypatch.setattr(storage, "complete_and_claim", self)

    async def __call__(self, completions: Any, *arguments: Any, limit: int, **options: Any) -> Any:
        self.sizes.append(len(completions))
        self.limits.append(limit)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        is_first = len(self.sizes) == 1
        if not is_first:
            self.second_has_begun.set()
        try:
            if is_first and not self._until_done:
                await self._hold()
            done = await self._complete_and_claim(completions, *arguments, limit=limit, **options)
            if is_first and self._until_done:
                await self._hold()
            return done
        finally:
            self.in_flight -= 1

    async def _hold(self) -> None:
        self.begun.set()
        await soon(self.may_go)


class Handlers:
    """The handler of one task returns at once, those of the others when `may_go` is set."""

    def __init__(self, first: str, others: int) -> None:
        self.may_go, self.have_ended = asyncio.Event(), asyncio.Event()
        self._first = first
        self._running = others

    async def __call__(self, task: TaskModel) -> None:
        if task.id == self._first:
            return
        await self.may_go.wait()
        self._running -= 1
        if not self._running:
            self.have_ended.set()


@pytest.fixture(autouse=True)
def _none_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm_persistence.worker.pace.Pace.ahead", lambda *_: 0)


async def test_many_results_are_recorded_beside_a_write_in_flight(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"task-{number:03}" for number in range(FEWEST_BESIDE + 1)]
    writes, handlers = HeldWrites(storage, monkeypatch), Handlers(ids[0], FEWEST_BESIDE)
    await store(storage, *ids)
    async with a_worker(storage, {"work": handlers}, concurrency=len(ids)) as worker:
        await soon(writes.begun)
        handlers.may_go.set()
        await soon(writes.second_has_begun)
        assert (await completed(storage, *ids[1:])).keys() == set(ids[1:])
        writes.may_go.set()
        await completed(storage, *ids)
    assert worker.outcomes == {"completed": len(ids)}
    assert (writes.sizes, writes.most_in_flight) == ([1, FEWEST_BESIDE], 2)
    # The second one leaves the slot for which the first one may bring a task.
    assert writes.limits == [1, FEWEST_BESIDE]


async def test_few_results_wait_for_the_end_of_a_write_in_flight(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"task-{number:03}" for number in range(FEWEST_BESIDE)]
    writes, handlers = HeldWrites(storage, monkeypatch), Handlers(ids[0], FEWEST_BESIDE - 1)
    await store(storage, *ids)
    async with a_worker(storage, {"work": handlers}, concurrency=len(ids)) as worker:
        await soon(writes.begun)
        handlers.may_go.set()
        await soon(handlers.have_ended)
        for _ in range(20):
            await asyncio.sleep(0)
        writes.may_go.set()
        await completed(storage, *ids)
    assert worker.outcomes == {"completed": len(ids)}
    assert (writes.sizes, writes.most_in_flight) == ([1, FEWEST_BESIDE - 1], 1)


async def test_a_task_that_is_stored_while_a_claim_in_vain_is_in_flight_is_found_soon(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes, handlers = HeldWrites(storage, monkeypatch, until_done=True), Handlers("", 1)
    await store(storage, "a")
    async with a_worker(storage, {"work": handlers}, concurrency=2) as worker:
        run: Any = worker._run
        await until(lambda: run._claim_waits._waiting is not None)  # for a second task
        handlers.may_go.set()
        await soon(writes.begun)
        waiting = run._claim_waits._waiting
        await store(storage, "b")
        await asyncio.wait((waiting,), timeout=20)
        for _ in range(20):
            await asyncio.sleep(0)
        writes.may_go.set()
        await completed(storage, "a", "b")
    assert worker.outcomes == {"completed": 2}


async def test_a_result_that_waits_for_its_write_keeps_no_asyncio_task_alive(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = HeldWrites(storage, monkeypatch)
    handling: list[Any] = []

    async def quick(_: TaskModel) -> None:
        running = asyncio.current_task()
        assert running is not None
        handling.append(weakref.ref(running))

    await store(storage, "a")
    async with a_worker(storage, {"work": quick}):
        await soon(writes.begun)
        is_alive = handling[0]() is not None
        writes.may_go.set()
        await completed(storage, "a")
    assert not is_alive
