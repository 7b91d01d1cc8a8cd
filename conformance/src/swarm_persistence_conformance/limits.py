"""Facts about limits: what may not be claimed stays pending and hinders no other task, and a wait ends when it may."""

import asyncio

import pytest

from swarm_persistence import AgentModel, InvalidQueryError, Storage, TaskModel, TaskStatus
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.records import a_task, ids


async def _claimed_ids(storage: Storage, limit: int = 20, **arguments: object) -> list[str]:
    return ids(await storage.claim_next_tasks("agent-1", limit=limit, **arguments))  # type: ignore[arg-type]


async def _store(storage: Storage, task_type: str, *names: str, **fields: object) -> list[TaskModel]:
    return await storage.store_tasks([a_task(name, task_type=task_type, **fields) for name in names])


@pytest.mark.asyncio
class TestLimits:
    """The contract of `set_limit`, `get_limit`, `list_limits`, `delete_limit`, and of claims while there are limits."""

    async def test_a_limit_is_set_replaced_listed_and_deleted(self, storage: Storage) -> None:
        first = await storage.set_limit("b", running=3, per_key=1)
        await storage.set_limit("a", starts=10, per=60)
        assert (first.task_type, first.running, first.per_key, first.starts, first.per) == ("b", 3, 1, None, None)
        second = await storage.set_limit("b", running=4)
        assert await storage.get_limit("b") == second
        assert [limit.task_type for limit in await storage.list_limits()] == ["a", "b"]
        assert [await storage.delete_limit("b"), await storage.delete_limit("b")] == [True, False]
        assert await storage.get_limit("b") is None

    @pytest.mark.parametrize(
        "arguments",
        [{}, {"running": -1}, {"running": True}, {"per_key": 1.5}, {"starts": 1}, {"per": 1}, {"starts": 1, "per": 0}],
    )
    async def test_a_limit_that_makes_no_sense_is_refused(self, storage: Storage, arguments: dict[str, float]) -> None:
        with pytest.raises(InvalidQueryError):
            await storage.set_limit("a", **arguments)  # type: ignore[arg-type]
        assert await storage.list_limits() == []

    async def test_no_more_than_the_limit_are_claimed_and_other_types_go_on(self, storage: Storage) -> None:
        await storage.set_limit("a", running=2)
        await _store(storage, "a", "a1", "a2", "a3", "a4")
        await _store(storage, "b", "b1", "b2")

        assert await _claimed_ids(storage, 3) == ["a1", "a2", "b1"]
        assert await _claimed_ids(storage, 3) == ["b2"]
        assert await storage.claim_next_task("agent-1", task_types=["a"]) is None
        waiting = await storage.get_task("a3")
        assert waiting is not None
        assert (waiting.status, waiting.retry_count, waiting.claim_count) == (TaskStatus.PENDING, 0, 0)

    @pytest.mark.parametrize("ending", ["complete", "fail", "release", "cancel", "expire", "retry"])
    async def test_a_task_that_ends_in_any_way_makes_room(
        self, storage: Storage, clock: ManualClock, ending: str
    ) -> None:
        await storage.set_limit("a", running=1)
        await _store(storage, "a", "a1", "a2", max_retries=0)
        task = await storage.claim_next_task("agent-1", lease=60)
        assert task is not None
        assert await storage.claim_next_task("agent-2") is None

        match ending:
            case "complete":
                await storage.complete_task(task)
            case "fail":
                await storage.fail_task(task, "no")
            case "retry":
                await storage.fail_task(task, "no", max_retries=1, retry_in=1)
            case "release":
                await storage.release_task(task, retry_in=3600)
            case "cancel":
                await storage.cancel_task(task.id)
            case _:
                clock.advance(61)
                await storage.requeue_expired_tasks()
        assert await _claimed_ids(storage) == ["a2"]

    async def test_tasks_that_were_claimed_before_count(self, storage: Storage) -> None:
        await _store(storage, "a", "a1", "a2", "a3")
        assert await _claimed_ids(storage, 2) == ["a1", "a2"]

        await storage.set_limit("a", running=2)

        assert await _claimed_ids(storage) == []

    async def test_a_deleted_or_wider_limit_lets_tasks_go_on(self, storage: Storage) -> None:
        await storage.set_limit("a", running=0)
        await _store(storage, "a", "a1", "a2", "a3")
        assert await _claimed_ids(storage) == []
        await storage.set_limit("a", running=1)
        assert await _claimed_ids(storage) == ["a1"]
        await storage.delete_limit("a")
        assert await _claimed_ids(storage) == ["a2", "a3"]

    async def test_a_claim_by_id_observes_the_limit(self, storage: Storage) -> None:
        await storage.set_limit("a", running=1, per_key=1)
        await _store(storage, "a", "a1", "a2")
        await _store(storage, "b", "b1")

        assert [await storage.claim_task(id, "agent-1") for id in ("a1", "a2", "b1")] == [True, False, True]
        waiting = await storage.get_task("a2")
        assert waiting is not None
        assert waiting.status is TaskStatus.PENDING

    async def test_complete_and_claim_observes_the_limit_and_uses_the_room_that_it_makes(
        self, storage: Storage
    ) -> None:
        await storage.set_limit("a", running=2)
        await _store(storage, "a", "a1", "a2", "a3", "a4")
        first, _ = await storage.claim_next_tasks("agent-1", limit=9)

        done = await storage.complete_and_claim([(first, 1)], "agent-1", limit=9)

        assert (ids(done.claimed), done.lost, first.status) == (["a3"], [], TaskStatus.COMPLETED)

    async def test_of_each_key_no_more_than_its_limit_are_claimed(self, storage: Storage) -> None:
        await storage.set_limit("a", per_key=1)
        await _store(storage, "a", "x1", "x2", concurrency_key="x")
        await _store(storage, "a", "y1", "y2", concurrency_key="y")
        await _store(storage, "a", "n1", "n2")

        assert await _claimed_ids(storage) == ["x1", "y1", "n1", "n2"]
        assert await _claimed_ids(storage) == []
        task = await storage.get_task("y1")
        assert task is not None
        await storage.complete_task(task)
        assert await _claimed_ids(storage) == ["y2"]

    async def test_many_tasks_of_full_keys_hide_none_behind_them(self, storage: Storage) -> None:
        await storage.set_limit("a", per_key=1)
        for key in "km":
            await _store(storage, "a", *[f"{key}{n:03}" for n in range(60)], concurrency_key=key, priority="high")
        assert await _claimed_ids(storage, 1) == ["k000"]
        assert await _claimed_ids(storage, 1) == ["m000"]
        await _store(storage, "a", "z1", concurrency_key="z")
        await _store(storage, "a", "c1", concurrency_key="c")
        await _store(storage, "a", "n1")

        assert [await _claimed_ids(storage, 1) for _ in range(4)] == [["z1"], ["c1"], ["n1"], []]

    async def test_an_ended_task_of_a_key_hides_none_behind_it(self, storage: Storage) -> None:
        await storage.set_limit("a", per_key=1)
        await _store(storage, "a", "done", concurrency_key="z", priority="critical")
        (done,) = await storage.claim_next_tasks("agent-1", limit=1)
        await storage.complete_task(done)
        await _store(storage, "a", *[f"k{n:03}" for n in range(60)], concurrency_key="k", priority="high")
        await _store(storage, "a", "z1", concurrency_key="z")

        assert [await _claimed_ids(storage, 1) for _ in range(3)] == [["k000"], ["z1"], []]

    async def test_no_more_starts_than_the_rate_in_any_period(self, storage: Storage, clock: ManualClock) -> None:
        await storage.set_limit("a", starts=3, per=60)
        await _store(storage, "a", *[f"a{n}" for n in range(9)])

        assert await _claimed_ids(storage, 2) == ["a0", "a1"]
        clock.advance(40)
        task, *others = await storage.claim_next_tasks("agent-1", limit=2)
        assert others == []
        await storage.complete_task(task)  # what has ended was started all the same
        assert await _claimed_ids(storage) == []
        clock.advance(20)
        assert await _claimed_ids(storage) == ["a3", "a4"]
        clock.advance(39)
        assert await _claimed_ids(storage) == []
        clock.advance(1)
        assert await _claimed_ids(storage) == ["a5"]

    async def test_a_start_while_the_clock_was_far_ahead_counts_no_more_once_it_is_right(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.set_limit("a", starts=1, per=60)
        await _store(storage, "a", "a1", "a2", "a3")
        clock.advance(10**6)
        assert await _claimed_ids(storage) == ["a1"]

        clock.advance(-(10**6))

        assert await _claimed_ids(storage) == ["a2"]
        clock.advance(-30)
        assert await _claimed_ids(storage) == []

    @pytest.mark.parametrize("limit", [{"running": 1}, {"starts": 1, "per": 60}])
    async def test_a_wait_ends_as_soon_as_a_task_may_be_claimed(
        self, storage: Storage, clock: ManualClock, limit: dict[str, int]
    ) -> None:
        await storage.set_limit("a", **limit)
        await _store(storage, "a", "a1", "a2")
        task = await storage.claim_next_task("agent-1", lease=3600)
        assert task is not None
        waiting = asyncio.create_task(storage.claim_next_task("agent-2", wait=30))
        await storage.store_task(a_task("another", task_type="a", priority="critical"))
        await asyncio.sleep(0.02)  # during which it must not end
        assert not waiting.done()

        if "running" in limit:
            await storage.complete_task(task)
        else:
            clock.advance(60)
        found = await waiting
        assert found is not None
        assert found.id == "another"

    async def test_a_limit_that_another_caller_deletes_ends_a_wait(self, storage: Storage) -> None:
        await storage.set_limit("a", running=0)
        await _store(storage, "a", "a1")
        waiting = asyncio.create_task(storage.claim_next_task("agent-2", wait=30))
        await asyncio.sleep(0)

        await storage.delete_limit("a")

        found = await waiting
        assert found is not None
        assert found.id == "a1"

    async def test_many_claimers_at_once_never_exceed_a_limit(self, storage: Storage) -> None:
        await storage.set_limit("a", running=3, per_key=1)
        await storage.store_tasks([a_task(f"a{n}", task_type="a", concurrency_key=f"key-{n % 4}") for n in range(24)])

        claims = await asyncio.gather(*(storage.claim_next_tasks(f"agent-{n}", limit=2) for n in range(8)))

        keys = [task.concurrency_key for tasks in claims for task in tasks]
        assert len(keys) == 3 == len(set(keys))

    async def test_a_claim_that_is_rolled_back_counts_not(self, storage: Storage) -> None:
        await storage.set_limit("a", running=1, starts=1, per=60)
        await _store(storage, "a", "a1")
        transaction = await storage.begin_transaction()
        assert await _claimed_ids(storage) == ["a1"]
        await transaction.rollback()

        assert await _claimed_ids(storage) == ["a1"]

    @pytest.mark.parametrize("write", ["store", "update", "keyed"])
    async def test_a_task_that_is_written_as_held_counts(self, storage: Storage, write: str) -> None:
        await storage.set_limit("a", running=1)
        held = a_task("held", task_type="a", status=TaskStatus.RUNNING, assigned_to="agent-2")
        if write == "update":
            held = a_task("held", task_type="a")
            await storage.store_task(held)
            held.status, held.assigned_to = TaskStatus.ASSIGNED, "agent-2"
            await storage.update_task(held)
        else:
            held.idempotency_key = "once" if write == "keyed" else None
            await storage.store_task(held)
        await _store(storage, "a", "a1")

        assert await _claimed_ids(storage) == []
        await storage.release_task(held)
        assert await _claimed_ids(storage) == ["held"]

    async def test_a_held_task_that_gets_another_type_counts_as_one_of_that(self, storage: Storage) -> None:
        await storage.set_limit("a", running=1)
        await _store(storage, "b", "b1")
        task = await storage.claim_next_task("agent-1")
        assert task is not None
        task.task_type = "a"
        await storage.update_task(task)
        await _store(storage, "a", "a1")

        assert await _claimed_ids(storage) == []


@pytest.mark.asyncio
class TestRequiredCapabilities:
    """Facts about tasks that require capabilities of the agent that claims them."""

    async def test_an_agent_gets_what_it_can_do_by_its_registered_capabilities(self, storage: Storage) -> None:
        agent = await storage.store_agent(AgentModel.new("seer", "worker", ["vision", "audio"]))
        await _store(storage, "a", "film", required_capabilities=["audio", "vision"])
        await _store(storage, "a", "fly", required_capabilities=["wings", "vision"])
        await _store(storage, "a", "picture", required_capabilities=["vision"])
        await _store(storage, "a", "any")

        assert await _claimed_ids(storage) == ["any"]  # it is not registered
        tasks = await storage.claim_next_tasks(agent.id, limit=9)
        assert ids(tasks) == ["film", "picture"]
        assert tasks[0].required_capabilities == ("audio", "vision")
        assert await _claimed_ids(storage, capabilities=["vision"]) == []
        assert await _claimed_ids(storage, capabilities=["vision", "wings"], task_types=["a"]) == ["fly"]

    async def test_capabilities_are_no_task_types(self, storage: Storage) -> None:
        await _store(storage, "a", "a1")

        assert await _claimed_ids(storage, capabilities=["b"]) == ["a1"]

    async def test_the_order_of_the_queue_holds_among_what_fits(self, storage: Storage) -> None:
        await _store(storage, "a", "low", priority="low")
        await _store(storage, "b", "high", priority="high", required_capabilities=["x"])
        await _store(storage, "b", "medium", required_capabilities=["y"])
        await _store(storage, "c", "critical", priority="critical", required_capabilities=["z"])

        assert await _claimed_ids(storage, capabilities=["x", "y"]) == ["high", "medium", "low"]

    async def test_a_wait_passes_over_what_requires_more(self, storage: Storage) -> None:
        await _store(storage, "a", "hard", required_capabilities=["x"])
        waiting = asyncio.create_task(storage.claim_next_task("agent-1", wait=30))
        await _store(storage, "a", "harder", required_capabilities=["x", "y"])
        await asyncio.sleep(0.02)  # during which it must not end
        assert not waiting.done()

        await _store(storage, "a", "easy")

        found = await waiting
        assert found is not None
        assert found.id == "easy"

    async def test_a_claim_by_id_asks_for_no_capabilities(self, storage: Storage) -> None:
        await _store(storage, "a", "hard", required_capabilities=["x"])

        assert await storage.claim_task("hard", "agent-1") is True


@pytest.mark.asyncio
class TestAgeing:
    """Facts about tasks that count as more urgent the longer they wait."""

    async def test_a_task_rises_by_one_priority_for_each_time_that_it_has_waited(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.store_task(TaskModel.new("old", None, "low"))
        clock.advance(125)
        await storage.store_tasks([TaskModel.new(each, None, each) for each in ("critical", "high", "medium")])

        tasks = await storage.claim_next_tasks("agent-1", limit=9, ageing=60)

        assert [task.task_type for task in tasks] == ["critical", "old", "high", "medium"]

    async def test_a_low_task_comes_in_its_turn_among_a_stream_of_urgent_ones(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.store_task(TaskModel.new("low", None, "low"))
        claimed = []
        for _ in range(8):
            await storage.store_tasks([TaskModel.new("high", None, "high") for _ in range(2)])
            task = await storage.claim_next_task("agent-1", ageing=10)
            assert task is not None
            claimed.append(task.task_type)
            clock.advance(5)

        assert claimed.count("low") == 1
        assert await storage.claim_next_task("agent-1", task_types=["low"]) is None

    async def test_without_ageing_priorities_decide(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_task(TaskModel.new("low", None, "low"))
        clock.advance(10**6)
        await storage.store_task(TaskModel.new("high", None, "high"))

        task = await storage.claim_next_task("agent-1")

        assert task is not None
        assert task.task_type == "high"

    async def test_an_ageing_that_is_no_time_is_refused(self, storage: Storage) -> None:
        with pytest.raises(InvalidQueryError, match="ageing"):
            await storage.claim_next_task("agent-1", ageing=0)

    async def test_of_a_tiny_ageing_each_task_that_waits_is_the_most_urgent(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.store_task(TaskModel.new("low", None, "low"))
        clock.advance(1)
        await storage.store_task(TaskModel.new("high", None, "high"))

        task = await storage.claim_next_task("agent-1", ageing=1e-320)

        assert task is not None
        assert task.task_type == "low"
