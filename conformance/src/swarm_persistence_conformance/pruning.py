"""Facts about `prune`: what it deletes, what it keeps, and that it does not hold up other writers."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from swarm_persistence import (
    AgentStatus,
    EventModel,
    InvalidQueryError,
    NotFoundError,
    Pruned,
    Storage,
    TaskModel,
    TaskStatus,
)
from swarm_persistence.testing import ManualClock, now
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.fixtures import OpenStorage
from swarm_persistence_conformance.records import (
    MOMENT,
    a_document,
    a_message,
    a_metric,
    a_task,
    after,
    an_agent,
    complete_records,
    everything_in,
    ids,
)
from swarm_persistence_conformance.refusals import NAIVE, refused

DAY = 86_400.0
FINISHED = [TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED]
UNFINISHED = [TaskStatus.PENDING, TaskStatus.ASSIGNED, TaskStatus.RUNNING]


def finished(id: str, age: float = 0, status: TaskStatus = TaskStatus.COMPLETED, **fields: Any) -> TaskModel:
    """Return a task that was finished this many seconds before `MOMENT`."""
    return a_task(id, status=status, completed_at=after(-age), updated_at=after(-age), **fields)


async def tasks_in(storage: Storage) -> list[str]:
    """Return the ids of all stored tasks."""
    return ids(await storage.repository(TaskModel).find_all())


@pytest.mark.asyncio
class TestPruning:
    """The contract of `prune`."""

    @pytest.mark.parametrize("status", FINISHED)
    async def test_old_finished_tasks_go_and_younger_ones_stay(self, storage: Storage, status: TaskStatus) -> None:
        await storage.store_many([finished("old", 10, status), finished("young", 5, status)])

        assert await storage.prune(after(-7)) == Pruned(tasks=1)
        assert await tasks_in(storage) == ["young"]

    @pytest.mark.parametrize("status", UNFINISHED)
    async def test_unfinished_tasks_stay_however_old(self, storage: Storage, status: TaskStatus) -> None:
        await storage.store_task(finished("old", 10, status))  # it was finished before

        assert await storage.prune(MOMENT) == Pruned()
        assert await tasks_in(storage) == ["old"]

    async def test_a_finished_task_without_a_time_of_its_end_goes_by_its_last_change(self, storage: Storage) -> None:
        failed = TaskStatus.FAILED
        await storage.store_many(
            [
                a_task("old", status=failed, updated_at=after(-10)),
                a_task("young", status=failed, updated_at=after(-5)),
                a_task("ended lately", status=failed, updated_at=after(-10), completed_at=after(-5)),
            ]
        )

        assert await storage.prune(after(-7)) == Pruned(tasks=1)
        assert await tasks_in(storage) == ["young", "ended lately"]

    async def test_only_the_chosen_statuses_go(self, storage: Storage) -> None:
        await storage.store_many([finished(status.value, 10, status) for status in FINISHED])

        pruned = await storage.prune(MOMENT, task_statuses=["completed", TaskStatus.CANCELLED])

        assert pruned == Pruned(tasks=2)
        assert await tasks_in(storage) == ["failed"]

    async def test_a_dry_run_tells_what_would_go_and_deletes_nothing(self, storage: Storage) -> None:
        await storage.store_many([finished("needed", 10, TaskStatus.FAILED), finished("old", 9), finished("young", 5)])
        await storage.store_task(a_task("waiting", dependencies=["needed"], fails_with_dependencies=False))
        old = after(-10)
        await storage.store_many([a_metric(timestamp=old), a_message(read=True, timestamp=old)])
        await storage.store_many([a_document(expires_at=old)])
        before = await everything_in(storage)

        told = await storage.prune(after(-7), dry_run=True)

        assert await everything_in(storage) == before
        assert told == Pruned(tasks=1, messages=1, metrics=1, documents=1)
        assert await storage.prune(after(-7)) == told

    async def test_no_statuses_are_no_tasks(self, storage: Storage) -> None:
        await storage.store_task(finished("old", 10))

        assert await storage.prune(MOMENT, task_statuses=[]) == Pruned()

    async def test_old_events_and_metrics_go_and_younger_ones_stay(self, storage: Storage) -> None:
        old, young = EventModel(id="old", event_type="e", timestamp=after(-10)), EventModel.new("e", 1)
        young.timestamp = after(-5)
        await storage.store_many([old, young, a_metric("old", timestamp=after(-10)), a_metric(timestamp=after(-5))])

        assert await storage.prune(after(-7)) == Pruned(events=1, metrics=1)
        found = await everything_in(storage)
        assert (ids(found["EventModel"]), ids(found["MetricModel"])) == ([young.id], ["metric-1"])

    async def test_what_is_as_old_as_the_limit_stays(self, storage: Storage) -> None:
        await storage.store_many([a_metric("at", timestamp=MOMENT), a_metric("before", timestamp=after(-0.000_001))])

        assert await storage.prune(MOMENT) == Pruned(metrics=1)

    async def test_messages_go_once_they_are_read_or_acknowledged(self, storage: Storage) -> None:
        old = after(-10)
        names = ("unread", "read", "acknowledged", "both")
        await storage.store_many([a_message(name, timestamp=old) for name in names])
        await storage.store_message(a_message("young", timestamp=after(-5), read=True))
        for name in ("read", "both"):
            await storage.mark_message_read(name)
        for name in ("acknowledged", "both"):
            await storage.acknowledge_message(name)

        assert await storage.prune(after(-7)) == Pruned(messages=3)
        assert ids((await everything_in(storage))["MessageModel"]) == ["unread", "young"]

    async def test_agents_stay(self, storage: Storage) -> None:
        await storage.store_many(complete_records())
        agents = await storage.list_agents()

        await storage.prune(after(DAY))

        assert await storage.list_agents() == agents

    @pytest.mark.parametrize("kind", ["tasks", "events", "messages", "metrics", "documents", "agents"])
    async def test_each_kind_can_be_left_out(self, storage: Storage, kind: str) -> None:
        old = after(-10)
        event = EventModel(id="event", event_type="e", timestamp=old)
        await storage.store_many([finished("task", 10), event, a_message(timestamp=old, read=True)])
        await storage.store_many([a_metric(timestamp=old), a_document(expires_at=old)])
        await storage.store_agent(an_agent(status=AgentStatus.SHUTDOWN, updated_at=old))
        flags: dict[str, bool] = {kind: False}

        pruned = await storage.prune(MOMENT, **flags)  # type: ignore[arg-type]

        assert pruned == Pruned(**{name: int(name != kind) for name in Pruned.__struct_fields__})

    @pytest.mark.parametrize("age", [7, 7.0, timedelta(seconds=7)])
    async def test_an_age_counts_from_now(self, storage: Storage, age: Any) -> None:
        moment = now()
        metrics = [a_metric(str(n), timestamp=moment - timedelta(seconds=n)) for n in (0, 3600)]
        await storage.store_many(metrics)

        assert await storage.prune(age) == Pruned(metrics=1)

    async def test_an_age_goes_by_the_clock(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_task(TaskModel.new("analyze", {}))
        task = await storage.claim_next_task("agent-1")
        assert task is not None
        await storage.complete_task(task)
        assert await storage.prune(timedelta(days=30)) == Pruned()

        clock.advance(31 * DAY)

        assert await storage.prune(timedelta(days=30)) == Pruned(tasks=1)

    @pytest.mark.parametrize("count", [499, 500, 501, 1700])
    async def test_any_number_of_records_goes(self, storage: Storage, count: int) -> None:
        await storage.store_many([finished(f"task-{n}", 10) for n in range(count)])
        await storage.store_many([a_metric(f"metric-{n}", timestamp=after(n % 2)) for n in range(count)])

        assert await storage.prune(after(1)) == Pruned(tasks=count, metrics=(count + 1) // 2)
        assert await storage.prune(after(1)) == Pruned()

    async def test_old_records_are_found_however_many_young_ones_lie_between(self, storage: Storage) -> None:
        young = [a_metric(f"metric-{n}", timestamp=after(10)) for n in range(21_000)]
        await storage.store_many([a_metric("first"), *young, a_metric("last")])

        assert await storage.prune(after(1)) == Pruned(metrics=2)
        assert await storage.prune(after(1)) == Pruned()

    async def test_a_place_in_the_log_is_never_given_again(self, storage: Storage) -> None:
        events = [EventModel.new("e", n) for n in range(3)]
        await storage.append_events(events)
        last = events[-1].sequence
        assert last is not None

        await storage.prune(0.0)

        new = await storage.store_event(EventModel.new("e", 4))
        assert new.sequence is not None
        assert new.sequence > last
        assert await storage.read_events(after=last) == [new]

    async def test_the_key_of_a_pruned_task_is_free_again(self, storage: Storage) -> None:
        await storage.store_task(finished("old", 10, idempotency_key="k"))
        await storage.prune(MOMENT)

        assert (await storage.store_task(a_task("new", idempotency_key="k"))).id == "new"


@pytest.mark.asyncio
class TestPrunedDependencies:
    """`prune` keeps the tasks that others still wait for."""

    async def test_a_finished_task_that_others_wait_for_stays(self, storage: Storage) -> None:
        await storage.store_many([finished("needed", 10, TaskStatus.FAILED), finished("other", 10, TaskStatus.FAILED)])
        await storage.store_task(a_task("waiting", dependencies=["needed"], fails_with_dependencies=False))

        assert await storage.prune(MOMENT) == Pruned(tasks=1)
        assert await tasks_in(storage) == ["needed", "waiting"]

    async def test_a_dependency_goes_once_no_task_waits_for_it(self, storage: Storage) -> None:
        await storage.store_task(finished("needed", 10, TaskStatus.FAILED))
        await storage.store_task(a_task("waiting", dependencies=["needed"], fails_with_dependencies=False))
        await storage.cancel_task("waiting")

        assert await storage.prune(now() + timedelta(days=1)) == Pruned(tasks=2)
        assert await tasks_in(storage) == []

    async def test_a_chain_that_has_failed_goes_at_once(self, storage: Storage) -> None:
        chain = [a_task(f"task-{n}", dependencies=[f"task-{n - 1}"] if n else []) for n in range(5)]
        await storage.store_tasks(chain)
        await storage.cancel_task("task-0")
        await storage.store_task(a_task("outside"))

        assert await storage.prune(now() + timedelta(days=1)) == Pruned(tasks=5)
        assert await tasks_in(storage) == ["outside"]

    async def test_dependents_of_a_completed_task_go_on_after_it_is_gone(self, storage: Storage) -> None:
        await storage.store_task(a_task("first"))
        await storage.store_task(a_task("then", dependencies=["first"]))
        task = await storage.claim_next_task("agent-1")
        assert task is not None
        await storage.complete_task(task)

        assert await storage.prune(now() + timedelta(days=1)) == Pruned(tasks=1)
        assert ids(await storage.get_ready_tasks()) == ["then"]

    async def test_what_a_pruned_task_waited_for_is_forgotten(self, storage: Storage) -> None:
        await storage.store_task(a_task("task", dependencies=["never stored"]))
        await storage.cancel_task("task")
        await storage.prune(now() + timedelta(days=1))

        # A new task of the same id inherits no dependencies.
        await storage.store_task(a_task("task"))
        assert ids(await storage.get_ready_tasks()) == ["task"]
        await storage.store_task(finished("never stored"))
        assert ids(await storage.get_ready_tasks()) == ["task"]
        assert await storage.get_blocked_tasks() == []

    async def test_a_task_stored_later_waits_for_one_that_is_gone(self, storage: Storage) -> None:
        await storage.store_task(finished("gone", 10))
        await storage.prune(MOMENT)

        await storage.store_task(a_task("late", dependencies=["gone"]))

        assert ids(await storage.get_blocked_tasks()) == ["late"]


@pytest.mark.asyncio
class TestPruningAmongOthers:
    """`prune` beside concurrent readers and writers."""

    async def test_other_writes_get_their_turn_between_the_batches(self, storage: Storage) -> None:
        await storage.store_many([a_metric(f"metric-{n}") for n in range(10_000)])
        async with storage.transaction():
            await elsewhere(storage.get_task("none"))  # opens a second connection, where there are any
        pruning = asyncio.create_task(storage.prune(after(1)))

        written_meanwhile = 0
        while True:
            await storage.store_task(a_task(f"task-{written_meanwhile}"))
            await asyncio.wait({pruning}, timeout=0)  # lets `prune` proceed, in memory as well
            if pruning.done():
                break
            written_meanwhile += 1

        assert written_meanwhile > 0
        assert await pruning == Pruned(metrics=10_000)

    async def test_what_is_revived_meanwhile_stays(self, storage: Storage) -> None:
        """Tasks are made pending again while they are pruned: each ends up deleted or pending."""
        count = 2_000
        await storage.store_many([finished(f"task-{n}", 10, TaskStatus.FAILED) for n in range(count)])
        pruning = asyncio.create_task(storage.prune(MOMENT))
        revived = set()
        for number in reversed(range(count)):
            task = await storage.get_task(f"task-{number}")
            if task is None:
                break
            task.status = TaskStatus.PENDING
            try:
                await storage.update_task(task)
            except NotFoundError:
                break
            revived.add(task.id)

        pruned = await pruning

        assert revived
        assert {task.id for task in await storage.get_pending_tasks()} == revived
        assert pruned == Pruned(tasks=count - len(revived))

    async def test_many_may_prune_at_once(self, open_storage: OpenStorage) -> None:
        async with open_storage() as storage:
            await storage.store_many([finished(f"task-{n}", 10) for n in range(1200)])

            counts = await asyncio.gather(*(storage.prune(MOMENT) for _ in range(4)))

            assert sum(pruned.tasks for pruned in counts) == 1200
            assert await tasks_in(storage) == []

    async def test_it_joins_the_transaction(self, storage: Storage) -> None:
        await storage.store_many([finished(f"task-{n}", 10) for n in range(700)])

        transaction = await storage.begin_transaction()
        pruned = await storage.prune(MOMENT)
        within = await tasks_in(storage)
        await transaction.rollback()

        assert (pruned, within) == (Pruned(tasks=700), [])
        assert len(await tasks_in(storage)) == 700

    async def test_one_that_is_cancelled_has_deleted_whole_batches(self, storage: Storage) -> None:
        await storage.store_many([finished(f"task-{n}", 10) for n in range(2_000)])
        pruning = asyncio.create_task(storage.prune(MOMENT))
        tasks = storage.repository(TaskModel)
        while await tasks.count() == 2_000 and not pruning.done():
            await asyncio.wait({pruning}, timeout=0)  # lets `prune` proceed, in memory as well
        pruning.cancel()
        await asyncio.gather(pruning, return_exceptions=True)
        await storage.store_task(a_task("probe"))

        rest = len(await tasks_in(storage)) - 1
        assert (rest % 500, rest < 2_000) == (0, True)
        assert await storage.prune(MOMENT) == Pruned(tasks=rest)

    @pytest.mark.parametrize("age", [-1, -0.5, float("nan"), float("inf"), "1 day", None, True, timedelta(-1), NAIVE])
    async def test_what_is_no_age_and_no_time_is_refused(self, storage: Storage, age: Any) -> None:
        await storage.store_task(finished("old", 10))

        async with refused(storage, InvalidQueryError, "older_than", repr(age)):
            await storage.prune(age)

    @pytest.mark.parametrize("kind", ["tasks", "events", "messages", "metrics"])
    async def test_a_choice_that_is_no_bool_is_refused_before_anything_is_deleted(
        self, storage: Storage, kind: str
    ) -> None:
        await storage.store_task(finished("old", 10))

        async with refused(storage, InvalidQueryError, kind, "expected True or False"):
            await storage.prune(timedelta(), **{kind: "no"})  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("statuses", "words"),
        [
            (["pending"], "task_statuses[0]"),
            (["failed", TaskStatus.RUNNING], "task_statuses[1]"),
            (["done"], "'done'"),
            ([[]], "task_statuses[0]"),
            ("completed", "'completed'"),
            (None, "None"),
        ],
    )
    async def test_a_status_of_no_finished_task_is_refused(self, storage: Storage, statuses: Any, words: str) -> None:
        await storage.store_task(finished("old", 10))

        async with refused(storage, InvalidQueryError, "task_statuses", words):
            await storage.prune(datetime.max.replace(tzinfo=MOMENT.tzinfo), task_statuses=statuses)
