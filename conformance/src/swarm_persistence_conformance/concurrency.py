"""Facts about concurrent callers in one event loop."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from swarm_persistence import ConflictError, EventModel, MetricModel, Storage, TaskModel, TaskStatus
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_metric, a_task, an_agent, an_event, ids


async def all_of(*calls: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run each call as a caller of its own, all at once, and return what each returned or raised."""
    return await asyncio.gather(*(elsewhere(call) for call in calls), return_exceptions=True)


@pytest.mark.asyncio
class TestConcurrency:
    """Concurrent calls neither lose nor duplicate writes."""

    async def test_of_a_hundred_claims_of_one_task_exactly_one_wins(self, storage: Storage) -> None:
        await storage.store_task(a_task())

        won = await all_of(*(storage.claim_task("task-1", f"agent-{number}") for number in range(100)))

        assert sorted(won) == [False] * 99 + [True]
        task = await storage.get_task("task-1")
        assert task is not None
        assert (task.assigned_to, task.version) == (f"agent-{won.index(True)}", 2)

    async def test_who_asks_in_a_loop_does_not_stop_the_others(self, storage: Storage) -> None:
        async def claim_in_a_transaction() -> None:
            async with storage.transaction():
                await storage.claim_task("task-1", "agent-1")

        for ask in (
            lambda: storage.get_task("task-1"),
            storage.get_pending_tasks,
            lambda: storage.claim_next_task("agent-1"),
            claim_in_a_transaction,
        ):
            others = elsewhere(asyncio.sleep(0))
            for _ in range(1000):
                await ask()
                if others.done():
                    break
            assert others.done()

    async def test_two_agents_never_claim_the_same_task(self, storage: Storage) -> None:
        await storage.store_many([a_task(str(number)) for number in range(60)])

        async def work(agent_id: str) -> list[str]:
            claimed = []
            while pending := await storage.get_pending_tasks():
                claimed += [task.id for task in pending[:3] if await storage.claim_task(task.id, agent_id)]
            return claimed

        claims = await all_of(*(work(f"agent-{number}") for number in range(6)))

        assert sorted(id for claimed in claims for id in claimed) == sorted(map(str, range(60)))

    async def test_claims_within_transactions_have_one_winner_too(self, storage: Storage) -> None:
        await storage.store_task(a_task())

        async def claim(agent_id: str) -> bool:
            async with storage.transaction():
                await storage.store_agent(an_agent(agent_id))
                return await storage.claim_task("task-1", agent_id)

        won = await all_of(*(claim(f"agent-{number}") for number in range(20)))

        assert sorted(won) == [False] * 19 + [True]
        assert len(await storage.list_agents()) == 20

    async def test_of_many_that_store_one_id_exactly_one_succeeds(self, storage: Storage) -> None:
        outcomes = await all_of(*(storage.store_task(a_task(payload=number)) for number in range(20)))

        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConflictError"] * 19 + ["TaskModel"]
        assert await storage.get_pending_tasks() == [each for each in outcomes if isinstance(each, TaskModel)]

    async def test_a_conflict_harms_none_of_those_who_write_at_the_same_time(self, storage: Storage) -> None:
        await storage.store_task(a_task("known"))
        names = [f"task-{number}" for number in range(30)]

        outcomes = await all_of(
            *(storage.store_task(a_task("known" if number % 3 == 0 else name)) for number, name in enumerate(names))
        )

        assert [type(outcome) for outcome in outcomes] == [ConflictError, TaskModel, TaskModel] * 10
        assert len(await storage.get_pending_tasks()) == 21

    async def test_of_many_that_update_one_copy_exactly_one_succeeds(self, storage: Storage) -> None:
        await storage.store_agent(an_agent())

        outcomes = await all_of(*(storage.update_agent(an_agent(name=str(number), version=1)) for number in range(20)))

        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConflictError"] * 19 + ["NoneType"]
        assert await storage.get_agent("agent-1") == an_agent(name=str(outcomes.index(None)), version=2)

    async def test_updates_that_read_again_after_a_conflict_lose_nothing(self, storage: Storage) -> None:
        await storage.store_task(a_task(payload=0))

        async def count_up() -> None:
            while True:
                task = await storage.get_task("task-1")
                assert task is not None
                task.payload += 1
                try:
                    return await storage.update_task(task)
                except ConflictError:
                    continue

        await asyncio.gather(*(elsewhere(count_up()) for _ in range(15)))

        task = await storage.get_task("task-1")
        assert task is not None
        assert (task.payload, task.version) == (15, 16)

    async def test_many_writers_of_different_records_all_succeed(self, storage: Storage) -> None:
        outcomes = await all_of(
            *(storage.store_event(an_event(f"event-{number}")) for number in range(100)),
            *(storage.store_metric(a_metric(f"metric-{number}", agent_id="a")) for number in range(100)),
        )

        assert [type(outcome) for outcome in outcomes] == [EventModel] * 100 + [MetricModel] * 100
        assert len(await storage.get_events_by_type("task_completed", 1_000)) == 100
        assert len(await storage.get_metrics_by_agent("a", "duration_ms")) == 100

    async def test_one_read_never_sees_half_of_a_write(self, storage: Storage) -> None:
        await storage.store_many([a_task("left", payload=50), a_task("right", payload=50)])
        repository = storage.repository(TaskModel)

        async def transfer(amount: int) -> None:
            async with storage.transaction():
                for id, change in (("left", -amount), ("right", amount)):
                    task = await storage.get_task(id)
                    assert task is not None
                    task.payload += change
                    await storage.update_task(task)

        async def total() -> int:
            return sum(task.payload for task in await repository.find_all())

        outcomes = await all_of(*(call for number in range(20) for call in (transfer(number), total(), total())))

        assert [outcome for outcome in outcomes if outcome is not None] == [100] * 40

    async def test_a_batch_appears_as_a_whole(self, storage: Storage) -> None:
        repository = storage.repository(TaskModel)
        batches = [[a_task(f"{batch}-{number}") for number in range(10)] for batch in range(10)]

        outcomes = await all_of(
            *(call for batch in batches for call in (storage.store_many(batch), repository.count()))
        )

        assert [count % 10 for count in outcomes] == [0] * 20

    async def test_a_caller_reads_what_it_has_written_while_others_write(self, storage: Storage) -> None:
        async def write_and_read(number: int) -> bool:
            await storage.store_task(a_task(f"task-{number}", status=TaskStatus.RUNNING, assigned_to=str(number)))
            return ids(await storage.get_tasks_by_agent(str(number))) == [f"task-{number}"]

        assert await all_of(*(write_and_read(number) for number in range(40))) == [True] * 40
