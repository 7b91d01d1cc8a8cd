"""Facts about claiming the next task: which one it is, and that only one agent gets it."""

import asyncio
from datetime import timedelta

import pytest

from swarm_persistence import Storage, TaskModel, TaskPriority, TaskStatus
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.held_tasks import claimed, is_about, stored
from swarm_persistence_conformance.records import a_task, after, ids, tasks_of_all_priorities
from swarm_persistence_conformance.tasks import NOT_PENDING


@pytest.mark.asyncio
class TestNextClaims:
    """The contract of `claim_next_task` and `claim_next_tasks`."""

    async def test_a_ready_task_is_claimed_and_returned_as_it_is_stored(self, storage: Storage) -> None:
        await storage.store_task(a_task(payload={"rows": [1]}))

        task = await claimed(storage)

        assert task == await stored(storage)

    async def test_without_a_task_nothing_is_claimed(self, storage: Storage) -> None:
        assert await storage.claim_next_task("agent-1") is None
        assert await storage.claim_next_tasks("agent-1", limit=5) == []

    async def test_a_claim_shows_in_every_field_that_it_changes(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_task(a_task(payload={"k": 1}, retry_count=2))

        task = await claimed(storage, "agent-7", lease=60)

        assert task == a_task(
            payload={"k": 1},
            retry_count=2,
            status=TaskStatus.ASSIGNED,
            assigned_to="agent-7",
            started_at=clock.now(),
            updated_at=clock.now(),
            lease_expires_at=task.lease_expires_at,
            claim_count=1,
            version=2,
        )

    @pytest.mark.parametrize("lease", [90, 90.0, timedelta(seconds=90)])
    async def test_the_lease_is_recorded(self, storage: Storage, clock: ManualClock, lease: float | timedelta) -> None:
        await storage.store_many([a_task("next"), a_task("known")])

        task = await claimed(storage, lease=lease)
        await storage.claim_task("known", "agent-1", lease=lease)

        expected = clock.now() + timedelta(seconds=90)
        assert task.id == "next"
        assert is_about(task.lease_expires_at, expected)
        assert is_about((await stored(storage, "known")).lease_expires_at, expected)

    async def test_a_lease_is_a_minute_by_default(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_task(a_task())

        task = await claimed(storage)

        assert is_about(task.lease_expires_at, clock.now() + timedelta(seconds=60))

    async def test_a_claim_by_id_has_no_lease_unless_one_is_asked_for(self, storage: Storage) -> None:
        await storage.store_task(a_task())

        await storage.claim_task("task-1", "agent-1")

        assert (await stored(storage)).lease_expires_at is None

    async def test_of_a_thousand_tasks_that_become_due_at_once_none_is_lost(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        due = [clock.now() + timedelta(seconds=100 + number / 100) for number in range(1_001)]
        await storage.store_tasks(
            [a_task(f"{number}", task_type="x", run_at=moment) for number, moment in enumerate(due[:-1])]
        )
        await storage.store_task(a_task("last", task_type="y", run_at=due[-1]))
        clock.advance(1_000)

        first = await claimed(storage)
        last = await claimed(storage, task_types=["y"])
        others: list[TaskModel] = []
        while tasks := await storage.claim_next_tasks("agent-1", limit=2_000):
            others += tasks

        assert (first.id, last.id) == ("0", "last")
        assert {task.id for task in others} == {f"{number}" for number in range(1, 1_000)}

    async def test_tasks_come_by_priority_then_by_arrival(self, storage: Storage) -> None:
        for task in tasks_of_all_priorities():
            await storage.store_task(task)

        order = [(await claimed(storage)).id for _ in range(5)]

        assert order == ["critical", "z-high-first", "a-high-second", "medium", "low"]

    @pytest.mark.parametrize("task_types", [None, ["x", "y"]])
    async def test_the_clock_of_the_one_that_stores_a_task_does_not_decide_its_turn(
        self, storage: Storage, task_types: list[str] | None
    ) -> None:
        for id, task_type, hours in (("m", "x", 0), ("behind", "y", -1), ("ahead", "x", 1), ("z", "y", 0)):
            await storage.store_task(a_task(id, task_type=task_type, created_at=after(3_600 * hours)))

        order = [(await claimed(storage, task_types=task_types)).id for _ in range(4)]

        assert order == ["m", "behind", "ahead", "z"]

    async def test_a_task_that_is_given_back_keeps_its_turn(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_many([a_task("1"), a_task("2"), a_task("3"), a_task("4")])

        await storage.release_task(await claimed(storage))
        released = await claimed(storage)
        await storage.fail_task(released, "try again", retry_in=0)
        failed = await claimed(storage, lease=1)
        clock.advance(3_600)
        await storage.requeue_expired_tasks()

        assert (released.id, failed.id) == ("1", "1")
        assert ids(await storage.get_ready_tasks()) == ["1", "2", "3", "4"]
        assert ids(await storage.claim_next_tasks("agent-1", limit=9)) == ["1", "2", "3", "4"]

    async def test_several_are_claimed_in_their_order(self, storage: Storage) -> None:
        ranks = [TaskPriority.LOW, TaskPriority.CRITICAL, TaskPriority.MEDIUM, TaskPriority.HIGH]
        await storage.store_tasks(
            [a_task(f"{rank.value}-{number}", priority=rank) for number in (1, 2) for rank in ranks]
        )

        first = await storage.claim_next_tasks("agent-1", limit=5)
        rest = await storage.claim_next_tasks("agent-1", limit=5)

        assert ids(first) == ["critical-1", "critical-2", "high-1", "high-2", "medium-1"]
        assert ids(rest) == ["medium-2", "low-1", "low-2"]
        assert first == [await stored(storage, task.id) for task in first]

    async def test_a_limit_of_nothing_claims_nothing(self, storage: Storage) -> None:
        await storage.store_task(a_task())

        assert await storage.claim_next_tasks("agent-1", limit=0) == []
        assert ids(await storage.get_ready_tasks()) == ["task-1"]

    @pytest.mark.parametrize("status", NOT_PENDING)
    async def test_a_task_that_is_not_pending_is_not_claimed(self, storage: Storage, status: TaskStatus) -> None:
        await storage.store_task(a_task(status=status))

        assert await storage.claim_next_task("agent-1") is None

    @pytest.mark.parametrize(
        ("task_types", "expected"),
        [
            (None, ["a", "b", "c", "d"]),
            (["b", "d"], ["b", "d"]),
            (["a", "b", "b"], ["a", "b"]),
            ([], []),
            (["A", "unknown"], []),
        ],
    )
    async def test_the_type_must_be_among_those_asked_for(
        self, storage: Storage, task_types: list[str] | None, expected: list[str]
    ) -> None:
        await storage.store_many([a_task(f"task-{each}", task_type=each) for each in "abcd"])

        tasks = await storage.claim_next_tasks("x", limit=9, task_types=task_types)

        assert [task.task_type for task in tasks] == expected

    async def test_types_may_be_any_iterable(self, storage: Storage) -> None:
        await storage.store_many([a_task(f"task-{each}", task_type=each) for each in "abc"])

        tasks = await storage.claim_next_tasks("agent-1", limit=9, task_types=(each for each in "cb"))

        assert [task.task_type for task in tasks] == ["b", "c"]

    async def test_the_order_holds_across_types(self, storage: Storage) -> None:
        for number, (kind, priority) in enumerate([("b", "low"), ("a", "low"), ("b", "high"), ("c", "critical")]):
            await storage.store_task(a_task(str(number), task_type=kind, priority=TaskPriority(priority)))

        tasks = await storage.claim_next_tasks("agent-1", limit=9, task_types=["a", "b"])

        assert ids(tasks) == ["2", "0", "1"]

    async def test_a_task_is_not_claimed_before_its_time(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_task(a_task(run_at=clock.now() + timedelta(seconds=100)))

        assert await storage.claim_next_task("agent-1") is None
        assert await storage.get_ready_tasks() == []
        clock.advance(101)

        assert ids(await storage.get_ready_tasks()) == ["task-1"]
        assert (await claimed(storage)).id == "task-1"

    async def test_a_task_whose_time_has_come_keeps_its_place(self, storage: Storage, clock: ManualClock) -> None:
        due = clock.now() - timedelta(seconds=100)
        await storage.store_task(a_task("due", run_at=due))
        await storage.store_task(a_task("plain"))
        await storage.store_task(a_task("due-later", run_at=due))
        await storage.store_task(a_task("urgent", run_at=due, priority=TaskPriority.HIGH))

        assert ids(await storage.get_ready_tasks()) == ["urgent", "due", "plain", "due-later"]
        assert ids(await storage.get_ready_tasks(limit=2)) == ["urgent", "due"]
        assert ids(await storage.claim_next_tasks("agent-1", limit=9)) == ["urgent", "due", "plain", "due-later"]

    async def test_an_agent_need_not_be_registered(self, storage: Storage) -> None:
        await storage.store_task(a_task())

        assert (await claimed(storage, "from elsewhere")).assigned_to == "from elsewhere"
        assert await storage.list_agents() == []

    async def test_no_task_is_claimed_twice_and_none_is_left(self, storage: Storage) -> None:
        await storage.store_many([a_task(f"task-{number}") for number in range(60)])

        async def drain(agent_id: str, limit: int) -> list[TaskModel]:
            mine: list[TaskModel] = []
            while tasks := await storage.claim_next_tasks(agent_id, limit=limit):
                mine += tasks
            return mine

        drained = await asyncio.gather(*(elsewhere(drain(f"agent-{number}", number % 3 + 1)) for number in range(12)))

        assert sorted(id for mine in drained for id in ids(mine)) == sorted(f"task-{number}" for number in range(60))
        assert {task.assigned_to for number, mine in enumerate(drained) for task in mine if mine} <= {
            f"agent-{number}" for number in range(12)
        }
        for mine in drained:
            assert mine == [await stored(storage, task.id) for task in mine]

    async def test_of_many_claimers_of_few_tasks_just_so_many_get_one(self, storage: Storage) -> None:
        await storage.store_many([a_task(f"task-{number}") for number in range(7)])

        got = await asyncio.gather(*(elsewhere(storage.claim_next_task(f"agent-{number}")) for number in range(50)))

        assert sorted(task.id for task in got if task) == [f"task-{number}" for number in range(7)]

    async def test_a_claim_joins_the_transaction_and_goes_with_it(self, storage: Storage) -> None:
        await storage.store_many([a_task("1"), a_task("2")])

        transaction = await storage.begin_transaction()
        tasks = await storage.claim_next_tasks("agent-1", limit=2)
        await transaction.rollback()

        assert ids(tasks) == ["1", "2"]
        assert ids(await storage.claim_next_tasks("agent-2", limit=2)) == ["1", "2"]
        assert (await stored(storage, "1")).claim_count == 1

    async def test_every_claim_counts(self, storage: Storage) -> None:
        await storage.store_task(a_task())

        for number in range(1, 4):
            task = await claimed(storage)
            assert task.claim_count == number
            await storage.release_task(task)
        await storage.claim_task("task-1", "agent-1")

        assert (await stored(storage)).claim_count == 4
