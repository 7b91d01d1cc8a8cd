"""Facts about held claims: each verb of the holder works, and updates the caller's copy."""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from swarm_persistence import SerializationError, Storage, TaskModel, TaskStatus
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.held_tasks import a_claimed_task, claimed, is_about, stored
from swarm_persistence_conformance.records import a_task, ids

HoldersCall = Callable[[Storage, TaskModel], Coroutine[Any, Any, None]]

HOLDERS_VERBS: dict[str, HoldersCall] = {
    "extend_lease": lambda storage, task: storage.extend_lease(task, lease=500),
    "complete_task": lambda storage, task: storage.complete_task(task, {"sum": 6}),
    "fail_task": lambda storage, task: storage.fail_task(task, "no luck"),
    "fail_task for good": lambda storage, task: storage.fail_task(task, "no luck"),
    "release_task": lambda storage, task: storage.release_task(task),
}
"""The verbs that only the holder of a claim may call."""


async def a_task_to_hold(storage: Storage, verb: str) -> TaskModel:
    """Return a claimed task on which the verb succeeds."""
    return await a_claimed_task(storage, max_retries=0 if "for good" in verb else 3)


@pytest.mark.asyncio
class TestLeases:
    """The contract for the holder of a claim."""

    @pytest.mark.parametrize("verb", HOLDERS_VERBS)
    async def test_the_callers_copy_is_brought_up_to_date(self, storage: Storage, verb: str) -> None:
        task = await a_task_to_hold(storage, verb)
        before = msgspec.structs.replace(task)

        await HOLDERS_VERBS[verb](storage, task)

        assert task == await stored(storage) != before
        assert task.version == before.version + 1

    @pytest.mark.parametrize("verb", HOLDERS_VERBS)
    async def test_the_callers_copy_is_set_back_with_its_transaction(self, storage: Storage, verb: str) -> None:
        task = await a_task_to_hold(storage, verb)
        before = msgspec.structs.replace(task)

        transaction = await storage.begin_transaction()
        await HOLDERS_VERBS[verb](storage, task)
        within = await stored(storage)
        assert task == within != before
        await transaction.rollback()

        assert task == before == await stored(storage)

    @pytest.mark.parametrize("verb", HOLDERS_VERBS)
    async def test_the_callers_copy_is_set_back_with_a_nested_transaction(self, storage: Storage, verb: str) -> None:
        task = await a_task_to_hold(storage, verb)

        async with storage.transaction():
            await storage.extend_lease(task, lease=300)
            extended = msgspec.structs.replace(task)
            nested = await storage.begin_transaction()
            await HOLDERS_VERBS[verb](storage, task)
            await nested.rollback()
            assert task == extended

        assert task == extended == await stored(storage)

    @pytest.mark.parametrize("verb", HOLDERS_VERBS)
    async def test_a_copy_that_was_read_again_will_do(self, storage: Storage, verb: str) -> None:
        await a_task_to_hold(storage, verb)
        copy = await stored(storage)

        await HOLDERS_VERBS[verb](storage, copy)

        assert copy == await stored(storage)

    @pytest.mark.parametrize("verb", HOLDERS_VERBS)
    async def test_a_copy_that_is_behind_in_version_will_do_while_the_claim_holds(
        self, storage: Storage, verb: str
    ) -> None:
        task = await a_task_to_hold(storage, verb)

        def run(stored: TaskModel) -> None:
            stored.status, stored.payload = TaskStatus.RUNNING, {"progress": 1}

        await storage.modify(TaskModel, "task-1", run)
        await HOLDERS_VERBS[verb](storage, task)

        assert task == await stored(storage)
        assert (task.payload, task.version) == ({"progress": 1}, 4)

    @pytest.mark.parametrize("verb", HOLDERS_VERBS)
    async def test_a_lease_that_ran_out_ends_no_claim_by_itself(
        self, storage: Storage, clock: ManualClock, verb: str
    ) -> None:
        task = await a_task_to_hold(storage, verb)
        clock.advance(3600)

        await HOLDERS_VERBS[verb](storage, task)

        assert task == await stored(storage)

    @pytest.mark.parametrize("verb", HOLDERS_VERBS)
    async def test_a_claim_by_id_can_be_held_as_well(self, storage: Storage, verb: str) -> None:
        await storage.store_task(a_task(max_retries=0 if "for good" in verb else 3))
        await storage.claim_task("task-1", "agent-1")
        task = await stored(storage)

        await HOLDERS_VERBS[verb](storage, task)

        assert task == await stored(storage)

    @pytest.mark.parametrize("lease", [600, timedelta(minutes=10)])
    async def test_an_extended_lease_counts_from_now(
        self, storage: Storage, clock: ManualClock, lease: float | timedelta
    ) -> None:
        task = await a_claimed_task(storage)
        clock.advance(50)

        await storage.extend_lease(task, lease=lease)

        assert is_about(task.lease_expires_at, clock.now() + timedelta(seconds=600))
        assert (task.status, task.assigned_to, task.claim_count) == (TaskStatus.ASSIGNED, "agent-1", 1)

    async def test_a_lease_can_be_made_shorter(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_task(a_task())
        task = await claimed(storage, lease=3600)

        await storage.extend_lease(task, lease=60)

        assert is_about(task.lease_expires_at, clock.now() + timedelta(seconds=60))

    @pytest.mark.parametrize("result", [{"sum": 6}, [1, None], "text", 0, False, None])
    async def test_a_completed_task_has_its_result(self, storage: Storage, clock: ManualClock, result: Any) -> None:
        task = await a_claimed_task(storage, error="of an earlier try")
        clock.advance(5)

        await storage.complete_task(task, result)

        assert task == a_task(
            status=TaskStatus.COMPLETED,
            assigned_to="agent-1",
            result=result,
            started_at=clock.now() - timedelta(seconds=5),
            updated_at=clock.now(),
            completed_at=clock.now(),
            claim_count=1,
            version=3,
        )

    async def test_a_result_that_is_no_json_writes_nothing(self, storage: Storage) -> None:
        task = await a_claimed_task(storage)
        before = msgspec.structs.replace(task)
        await storage.store_task(a_task("next", dependencies=["task-1"]))

        for result in ({1, 2}, float("nan"), object(), {"deep": [b"bytes"]}):
            with pytest.raises(SerializationError, match=r"task\.result"):
                await storage.complete_task(task, result)

        assert task == before == await stored(storage)
        assert ids(await storage.get_blocked_tasks()) == ["next"]
        await storage.complete_task(task, [1, 2])

    async def test_a_released_task_is_as_if_it_had_not_been_claimed(self, storage: Storage, clock: ManualClock) -> None:
        task = await a_claimed_task(storage, retry_count=1)

        await storage.release_task(task)

        past = task.past_claims
        assert task == a_task(retry_count=1, claim_count=1, past_claims=past, updated_at=clock.now(), version=3)
        assert await storage.get_ready_tasks() == [task]

    async def test_a_held_task_is_its_holders_alone(self, storage: Storage) -> None:
        task = await a_claimed_task(storage)
        await storage.extend_lease(task)

        assert await storage.claim_next_task("agent-2") is None
        assert await storage.claim_task("task-1", "agent-2") is False

    async def test_the_result_and_an_event_are_written_as_one(self, storage: Storage) -> None:
        task = await a_claimed_task(storage)

        with pytest.raises(RuntimeError, match="at the last moment"):  # noqa: PT012 - the block is what must raise
            async with storage.transaction():
                await storage.complete_task(task, 1)
                await storage.store_task(a_task("follows"))
                raise RuntimeError("at the last moment")

        assert (task.status, task.result) == (TaskStatus.ASSIGNED, None)
        assert await storage.get_task("follows") is None
        await storage.complete_task(task, 2)
        assert (await stored(storage)).result == 2
