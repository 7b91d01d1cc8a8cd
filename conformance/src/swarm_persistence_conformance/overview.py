"""Facts about what an operator asks of a swarm: throughput, durations, what waits, and which agents are alive."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from swarm_persistence import (
    AgentLiveness,
    Durations,
    InvalidQueryError,
    SerializationError,
    Storage,
    TaskModel,
    TaskPriority,
    TaskStatus,
    ThroughputBucket,
)
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.records import MOMENT, a_task, an_agent

START = MOMENT.replace(second=0, microsecond=0)


def at(seconds: float) -> datetime:
    """Return the time so many seconds after `START`."""
    return START + timedelta(seconds=seconds)


def a_finished_task(id: str, *, waited: float = 1, ran: float = 2, ended: float = 30, **fields: Any) -> TaskModel:
    """Return a task that was stored, started and completed so that it ended these seconds after `START`."""
    given = {
        "status": TaskStatus.COMPLETED,
        "created_at": at(ended - ran - waited),
        "started_at": at(ended - ran),
        "completed_at": at(ended),
        "updated_at": at(ended),
    }
    return a_task(id, **{**given, **fields})


@pytest.mark.asyncio
class TestThroughput:
    """The contract of `get_task_throughput`."""

    async def test_tasks_are_counted_in_the_bucket_in_which_they_ended(self, storage: Storage) -> None:
        await storage.store_tasks([a_finished_task(f"{n}", ended=n) for n in (10, 59, 61, 130)])

        found = await storage.get_task_throughput(START, at(600), 60)

        assert found.since == START
        assert [(each.start, each.task_type, each.counts) for each in found.buckets] == [
            (START, None, {TaskStatus.COMPLETED: 2}),
            (at(60), None, {TaskStatus.COMPLETED: 1}),
            (at(120), None, {TaskStatus.COMPLETED: 1}),
        ]

    async def test_failed_and_cancelled_tasks_are_counted_apart_and_unfinished_ones_not(self, storage: Storage) -> None:
        ends = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.RUNNING)
        await storage.store_tasks([a_finished_task(f"{n}", status=status) for n, status in enumerate(ends)])

        (bucket,) = (await storage.get_task_throughput(START, at(60), 60)).buckets

        assert bucket.counts == {TaskStatus.COMPLETED: 1, TaskStatus.FAILED: 2, TaskStatus.CANCELLED: 1}

    async def test_durations_are_percentiles_of_the_completed_tasks_in_seconds(self, storage: Storage) -> None:
        done = [a_finished_task(f"{n}", waited=n, ran=2 * n) for n in (1, 2, 3)]
        await storage.store_tasks([*done, a_finished_task("failed", waited=9, ran=9, status=TaskStatus.FAILED)])

        (bucket,) = (await storage.get_task_throughput(START - timedelta(1), at(60), 60)).buckets

        assert bucket.queue_seconds == Durations(2.0, pytest.approx(2.9), pytest.approx(2.98))  # type: ignore[arg-type]
        assert bucket.run_seconds == Durations(4.0, pytest.approx(5.8), pytest.approx(5.96))  # type: ignore[arg-type]

    async def test_a_delayed_task_waits_from_its_time_on_and_clocks_that_differ_make_no_negative_time(
        self, storage: Storage
    ) -> None:
        await storage.store_tasks(
            [
                a_finished_task("delayed", waited=25, task_type="delayed", run_at=at(20)),
                a_finished_task("early", waited=5, task_type="early", run_at=at(-9)),
                a_finished_task("ahead", waited=-5, ran=-1, task_type="ahead"),
            ]
        )

        found = (await storage.get_task_throughput(START - timedelta(1), at(60), 60, by_type=True)).buckets

        assert [(each.task_type, each.queue_seconds.p50, each.run_seconds.p50) for each in found] == [
            ("ahead", 0.0, 0.0),
            ("delayed", 8.0, 2.0),
            ("early", 5.0, 2.0),
        ]

    async def test_a_task_that_never_started_counts_without_durations(self, storage: Storage) -> None:
        await storage.store_task(a_finished_task("1", started_at=None))

        assert (await storage.get_task_throughput(START, at(60), 60)).buckets == [
            ThroughputBucket(START, None, {TaskStatus.COMPLETED: 1}, Durations(), Durations())
        ]

    async def test_both_ends_of_the_range_belong_to_it(self, storage: Storage) -> None:
        await storage.store_tasks([a_finished_task(f"{n}", ended=n) for n in (0, 1, 2, 3)])

        found = await storage.get_task_throughput(at(1), at(2), 1)

        assert [each.start for each in found.buckets] == [at(1), at(2)]

    async def test_only_the_latest_changes_are_looked_at_and_the_answer_says_since_when(self, storage: Storage) -> None:
        for n in (1, 2, 3, 4):
            await storage.store_task(a_finished_task(f"{n}", ended=n))

        found = await storage.get_task_throughput(START, at(60), 1, limit=2)

        assert found.since == at(2)
        assert [each.start for each in found.buckets] == [at(3), at(4)]

    async def test_what_workers_did_is_found(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_task(a_task(created_at=clock.now()))
        clock.advance(3)
        claimed = await storage.claim_next_task("agent-1")
        assert claimed is not None
        clock.advance(5)
        await storage.complete_task(claimed)

        (bucket,) = (await storage.get_task_throughput(clock.now() - timedelta(60), clock.now(), 60)).buckets

        assert bucket.counts == {TaskStatus.COMPLETED: 1}
        assert (bucket.queue_seconds.p99, bucket.run_seconds.p99) == (3.0, 5.0)

    @pytest.mark.parametrize(
        ("arguments", "refusal", "told"),
        [
            ({"bucket": 0}, InvalidQueryError, "bucket is 0, expected seconds"),
            ({"bucket": 1e-9}, InvalidQueryError, "expected a microsecond at least"),
            ({"limit": -1}, InvalidQueryError, "limit"),
            ({"start": "yesterday"}, SerializationError, "start is 'yesterday'"),
        ],
        ids=str,
    )
    async def test_what_makes_no_sense_is_refused(
        self, storage: Storage, arguments: dict[str, Any], refusal: type[Exception], told: str
    ) -> None:
        with pytest.raises(refusal, match=told):
            await storage.get_task_throughput(**{"start": 0, "end": 1, "bucket": 60, **arguments})


@pytest.mark.asyncio
class TestWaitingTasks:
    """The contract of `get_waiting_tasks` and `get_waiting_dependents`."""

    async def test_the_oldest_ready_task_of_each_type_is_told_longest_waiting_type_first(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        start = clock.now()
        for n, (task_type, priority) in enumerate((("sum", "low"), ("read", "high"), ("sum", "critical"))):
            task = a_task(f"{n}", task_type=task_type, priority=TaskPriority(priority), created_at=clock.now())
            await storage.store_task(task)
            clock.advance(10)

        found = await storage.get_waiting_tasks()

        assert [(each.task_type, each.count, each.id, each.priority) for each in found] == [
            ("sum", 2, "0", TaskPriority.LOW),
            ("read", 1, "1", TaskPriority.HIGH),
        ]
        assert [(each.since, each.age_seconds) for each in found] == [
            (start, 30.0),
            (start + timedelta(seconds=10), 20.0),
        ]

    async def test_only_tasks_that_could_be_claimed_now_wait(self, storage: Storage, clock: ManualClock) -> None:
        present = clock.now()
        await storage.store_tasks(
            [
                a_task("blocked", dependencies=["missing"], created_at=present),
                a_task("delayed", run_at=present + timedelta(seconds=60), created_at=present),
                a_task("due", task_type="due", run_at=present + timedelta(seconds=5), created_at=present),
                a_task("held", created_at=present, priority=TaskPriority.CRITICAL),
                a_task("done", status=TaskStatus.FAILED, created_at=present),
            ]
        )
        assert await storage.claim_task("held", "agent-1")
        clock.advance(9)

        (waiting,) = await storage.get_waiting_tasks()

        assert (waiting.id, waiting.count, waiting.age_seconds) == ("due", 1, 4.0)

    @pytest.mark.parametrize("ids", [("ready", "due"), ("due", "ready")], ids=" before ".join)
    async def test_the_oldest_of_the_ready_and_the_due_tasks_is_the_one_stored_first(
        self, storage: Storage, clock: ManualClock, ids: tuple[str, str]
    ) -> None:
        run_at = {"ready": None, "due": clock.now() + timedelta(seconds=5)}
        for id in ids:
            await storage.store_task(a_task(id, run_at=run_at[id]))
        clock.advance(9)

        (waiting,) = await storage.get_waiting_tasks()

        assert (waiting.id, waiting.count) == (ids[0], 2)

    async def test_without_tasks_none_waits(self, storage: Storage) -> None:
        assert await storage.get_waiting_tasks() == []

    async def test_the_tasks_that_wait_for_another_are_found_most_urgent_first(self, storage: Storage) -> None:
        await storage.store_tasks(
            [
                a_task("first"),
                a_task("low", dependencies=["first"], priority=TaskPriority.LOW),
                a_task("high", dependencies=["first", "missing"], priority=TaskPriority.HIGH),
                a_task("other", dependencies=["missing"]),
            ]
        )

        assert [task.id for task in await storage.get_waiting_dependents("first")] == ["high", "low"]
        assert [task.id for task in await storage.get_waiting_dependents("first", 1)] == ["high"]
        assert [task.id for task in await storage.get_waiting_dependents("missing")] == ["high", "other"]

        claimed = await storage.claim_next_task("agent-1")
        assert claimed is not None
        await storage.complete_task(claimed)
        assert await storage.get_waiting_dependents("first") == []


@pytest.mark.asyncio
class TestLiveness:
    """The contract of `get_agent_liveness`."""

    async def test_agents_come_newest_first_with_the_age_of_their_heartbeat(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        for name in ("old", "new"):
            await storage.store_agent(an_agent(name, heartbeat=clock.now(), created_at=clock.now()))
            clock.advance(30)
        await storage.heartbeat("old")
        clock.advance(5)

        found = await storage.get_agent_liveness()

        assert [(each.agent.id, each.heartbeat_age_seconds) for each in found] == [("new", 35.0), ("old", 5.0)]
        assert await storage.get_agent_liveness(1) == found[:1]
        assert isinstance(found[0], AgentLiveness)

    async def test_the_leases_that_an_agent_holds_are_counted(self, storage: Storage) -> None:
        await storage.store_agent(an_agent())
        await storage.store_tasks([a_task(f"{n}") for n in range(3)])
        held = await storage.claim_next_tasks("agent-1", limit=3)
        await storage.complete_task(held[0])

        (liveness,) = await storage.get_agent_liveness()

        assert liveness.leases == 2
