"""Facts about watching without await: the generators of the blocking form, from threads, and how they end."""

import inspect
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from postgres.servers import Server
from swarm_persistence import BlockingStorage, ClosedError, TaskModel, TransactionError, open_storage
from swarm_persistence.blocking import watches
from swarm_persistence.engines.interface import Watch
from swarm_persistence.storage import ScheduleWatch
from swarm_persistence.storage.ready_tasks import ReadyTaskWatch
from swarm_persistence_conformance.records import MOMENT, a_message, a_schedule, a_task, an_agent, an_event, ids
from swarm_persistence_conformance.waiting import LIMIT_SECONDS

WATCHES: dict[str, tuple[Callable[[BlockingStorage], Iterator[Any]], Callable[[str], Any]]] = {
    "watch_events": (lambda storage: storage.watch_events(), an_event),
    "watch_messages": (lambda storage: storage.watch_messages("worker-001"), a_message),
    "watch_tasks": (lambda storage: storage.watch_tasks(), a_task),
}


WAITS: dict[str, tuple[Callable[[BlockingStorage], Any], Callable[[BlockingStorage], Any]]] = {
    "watch_commits": (lambda storage: storage.watch_commits(TaskModel), lambda storage: storage.store_task(a_task())),
    "watch_ready_tasks": (lambda storage: storage.watch_ready_tasks(), lambda storage: storage.store_task(a_task())),
    "watch_schedules": (
        lambda storage: storage.watch_schedules(),
        lambda storage: storage.store_schedule(a_schedule(next_at=MOMENT)),
    ),
}
"""The verbs that return what waits for a commit, and a write for which each waits."""


class Taker:
    """A thread that takes records from a watcher, and keeps what it raised."""

    def __init__(self, records: Iterator[Any], count: int) -> None:
        self.taken: list[Any] = []
        self.error: BaseException | None = None
        self.has_begun = threading.Event()
        self._records, self._count = records, count
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def finish(self) -> list[Any]:
        """Wait until it has taken all, and return them."""
        self._thread.join(LIMIT_SECONDS)
        assert not self._thread.is_alive()
        return self.taken

    def _take(self) -> None:
        try:
            while len(self.taken) < self._count:
                self.taken.append(next(self._records))
                self.has_begun.set()
        except BaseException as error:
            self.error = error


@pytest.mark.parametrize("verb", WATCHES)
def test_the_past_comes_first_then_what_other_threads_store(storage: BlockingStorage, verb: str) -> None:
    watch, make = WATCHES[verb]
    storage.store_many([make("a"), make("b")])
    taker = Taker(watch(storage), 12)
    assert taker.has_begun.wait(LIMIT_SECONDS)

    for number in range(10):
        storage.store_many([make(str(number))])

    assert ids(taker.finish()) == ["a", "b", *map(str, range(10))]
    assert taker.error is None


@pytest.mark.parametrize("verb", WATCHES)
def test_a_watcher_is_ended_by_leaving_it(storage: BlockingStorage, verb: str) -> None:
    watch, make = WATCHES[verb]
    storage.store_many([make("a"), make("b")])

    for record in watch(storage):
        assert record.id == "a"
        break
    records: Any = watch(storage)
    assert next(records).id == "a"
    records.close()

    with pytest.raises(StopIteration):
        next(records)
    storage.store_many([make("c")])


@pytest.mark.parametrize("verb", WATCHES)
def test_a_watcher_whose_storage_is_closed_is_told(storage: BlockingStorage, verb: str) -> None:
    watch, make = WATCHES[verb]
    storage.store_many([make("a")])
    taker = Taker(watch(storage), 2)
    assert taker.has_begun.wait(LIMIT_SECONDS)

    storage.close()

    assert ids(taker.finish()) == ["a"]
    assert isinstance(taker.error, ClosedError)


@pytest.mark.parametrize("verb", WATCHES)
def test_watching_within_a_transaction_is_refused(storage: BlockingStorage, verb: str) -> None:
    watch, _ = WATCHES[verb]

    with storage.transaction(), pytest.raises(TransactionError, match=verb):
        next(watch(storage))


def test_events_are_watched_from_a_place_on_and_by_type(storage: BlockingStorage) -> None:
    log = [an_event(id, event_type=id[0]) for id in ("a1", "b1", "a2")]
    storage.store_many(log)

    records = storage.watch_events(log[0].sequence or 0, types=["a"])

    assert next(records).id == "a2"


def test_a_thread_that_waits_for_a_task_gets_what_another_one_stores(storage: BlockingStorage) -> None:
    waiting = Taker(iter(lambda: storage.claim_next_task("waiter", wait=LIMIT_SECONDS), None), 3)

    for number in range(3):
        storage.store_task(a_task(str(number)))

    assert ids(waiting.finish()) == ["0", "1", "2"]


def test_a_claim_is_completed_in_place(storage: BlockingStorage) -> None:
    storage.store_task(a_task())
    task = storage.claim_next_task("agent-1")
    assert task is not None

    storage.complete_task(task, {"sum": 6})

    assert task == storage.get_task("task-1")
    assert task.result == {"sum": 6}


def test_tasks_are_watched_from_a_cursor_on(storage: BlockingStorage) -> None:
    storage.store_tasks([a_task(id, task_type=type) for id, type in (("a", "x"), ("b", "y"), ("c", "x"))])
    tasks = storage.watch_tasks(types=["x"])
    assert next(tasks).id == "a"
    cursor = tasks.cursor
    tasks.close()
    assert list(tasks) == []

    assert next(storage.watch_tasks(types=["x"], after=cursor)).id == "c"


@pytest.mark.parametrize("verb", WAITS)
def test_a_thread_that_waits_is_woken_by_what_another_one_commits(storage: BlockingStorage, verb: str) -> None:
    watch_of, write = WAITS[verb]
    watch = watch_of(storage)
    while watch.wait(0.0):  # a new watch may report what was committed before
        pass
    waiting = Taker(iter(lambda: watch.wait(LIMIT_SECONDS), None), 1)

    write(storage)

    assert waiting.finish() == [True]
    watch.close()
    watch.close()


@pytest.mark.parametrize("verb", WAITS)
def test_a_wait_whose_storage_is_closed_is_told(storage: BlockingStorage, verb: str) -> None:
    watch = WAITS[verb][0](storage)
    waiting = Taker(iter(lambda: watch.wait(LIMIT_SECONDS), None), 1_000)  # the first ones may be spurious

    storage.close()

    waiting.finish()
    assert isinstance(waiting.error, ClosedError)


@pytest.mark.parametrize("verb", WAITS)
def test_waiting_for_commits_within_a_transaction_is_refused(storage: BlockingStorage, verb: str) -> None:
    with storage.transaction(), pytest.raises(TransactionError, match=verb):
        WAITS[verb][0](storage)


def test_a_blocking_worker_of_ones_own_waits_for_ready_tasks_and_claims_them(storage: BlockingStorage) -> None:
    agent = an_agent()
    storage.begin_service(agent)
    ready = storage.watch_ready_tasks(task_types=["x"])

    assert not ready.is_any_ready()
    storage.store_tasks([a_task("a", task_type="x"), a_task("b", task_type="y")])

    assert ready.wait_for_commit(LIMIT_SECONDS)
    assert (ready.is_any_ready(), ready.types(9)) == (True, ["x"])
    assert ids(storage.claim_next_tasks(agent.id, limit=9, task_types=["x"])) == ["a"]
    assert not ready.is_any_ready()
    ready.close()
    storage.end_service(agent)


@pytest.mark.parametrize(
    ("awaitable", "blocking"),
    [
        (Watch, watches.BlockingCommitWatch),
        (ReadyTaskWatch, watches.BlockingReadyTaskWatch),
        (ScheduleWatch, watches.BlockingScheduleWatch),
    ],
)
def test_a_watch_has_the_methods_of_its_awaitable_form(awaitable: type[Any], blocking: type[Any]) -> None:
    def methods(owner: type[Any]) -> dict[str, list[tuple[str, Any]]]:
        found = inspect.getmembers(owner, inspect.isfunction)
        return {
            name: [(each.name, each.default) for each in inspect.signature(member).parameters.values()]
            for name, member in found
            if not name.startswith("_")
        }

    assert methods(blocking) == methods(awaitable)


def test_threads_wait_for_what_is_committed_on_postgresql(server: Server) -> None:
    with open_storage(server.url(schema="blocking_watches")) as storage:
        for watch_of, write in WAITS.values():
            watch = watch_of(storage)
            while watch.wait(0.0):
                pass
            waiting = Taker(iter(partial(watch.wait, LIMIT_SECONDS), None), 1)
            write(storage)
            assert waiting.finish() == [True]
            watch.close()
            storage.repository(TaskModel).delete("task-1")
