"""Facts about lost claims: a stale worker changes nothing that another agent has taken over."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from swarm_persistence import LeaseLostError, Storage, StorageError, TaskModel, TaskStatus
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.held_tasks import claimed, stored
from swarm_persistence_conformance.leases import HOLDERS_VERBS, a_task_to_hold
from swarm_persistence_conformance.records import a_task, an_agent, everything_in

Ending = Callable[[Storage, TaskModel], Coroutine[Any, Any, Any]]


async def _taken_over(storage: Storage, task: TaskModel) -> None:
    await storage.release_task(task)
    await claimed(storage, "agent-2")


async def _claimed_again(storage: Storage, task: TaskModel) -> None:
    await storage.release_task(task)
    await claimed(storage, "agent-1")


async def _set_back_and_claimed_again(storage: Storage, task: TaskModel) -> None:
    await storage.update_task(a_task(max_retries=task.max_retries), force=True)
    await claimed(storage, "agent-1")


async def _saved_and_claimed_again(storage: Storage, task: TaskModel) -> None:
    await storage.repository(TaskModel).save(a_task(max_retries=task.max_retries, version=task.version))
    await claimed(storage, "agent-1")


async def _running_again(storage: Storage, task: TaskModel) -> None:
    await _claimed_again(storage, task)

    def run(task: TaskModel) -> None:
        task.status = TaskStatus.RUNNING

    await storage.modify(TaskModel, "task-1", run)


async def _expired_and_taken_over(storage: Storage, task: TaskModel) -> None:
    await storage.extend_lease(task, lease=0.001)
    while (await stored(storage)).status is TaskStatus.ASSIGNED:
        await storage.requeue_expired_tasks()
    if task.max_retries:
        await claimed(storage, "agent-2")


async def _updated_to_pending(storage: Storage, task: TaskModel) -> None:
    task.status, task.assigned_to = TaskStatus.PENDING, None
    await storage.update_task(task)


async def _given_to_another(storage: Storage, task: TaskModel) -> None:
    task.assigned_to = "agent-2"
    await storage.update_task(task)


async def _stored_anew(storage: Storage, _task: TaskModel) -> None:
    await storage.repository(TaskModel).delete("task-1")
    await storage.store_task(a_task(max_retries=0))


ENDINGS: dict[str, tuple[Ending, str]] = {
    "taken over by another": (_taken_over, "'agent-2' has taken it over"),
    "claimed again by the same agent": (_claimed_again, "'agent-1' has taken it over"),
    "set back by an old copy and claimed again": (_set_back_and_claimed_again, "'agent-1' has taken it over"),
    "saved as new and claimed again": (_saved_and_claimed_again, "'agent-1' has taken it over"),
    "claimed again by the same agent and running": (_running_again, "'agent-1' has taken it over"),
    "expired and taken over": (_expired_and_taken_over, "('agent-2' has taken it over|the task is failed)"),
    "released": (lambda storage, task: storage.release_task(task), "the task is pending"),
    "completed": (lambda storage, task: storage.complete_task(task, 1), "the task is completed"),
    "failed, to be tried again": (lambda storage, task: storage.fail_task(task, "e"), "the task is (pending|failed)"),
    "cancelled": (lambda storage, _: storage.cancel_task("task-1"), "the task is cancelled"),
    "deleted": (lambda storage, _: storage.repository(TaskModel).delete("task-1"), "the task was deleted"),
    "stored anew": (_stored_anew, "the task is pending"),
    "given back with its agent": (lambda storage, _: storage.delete_agent("agent-1"), "the task is pending"),
    "updated to pending": (_updated_to_pending, "the task is pending"),
    "given to another by an update": (_given_to_another, "the task is assigned"),
}


@pytest.mark.asyncio
class TestLostClaims:
    """A caller that has lost its claim is refused."""

    @pytest.mark.parametrize("ending", ENDINGS)
    @pytest.mark.parametrize("verb", HOLDERS_VERBS)
    async def test_a_claim_that_is_over_is_refused_and_nothing_changes(
        self, storage: Storage, verb: str, ending: str
    ) -> None:
        end, reason = ENDINGS[ending]
        await storage.store_agent(an_agent())
        held = await a_task_to_hold(storage, verb)
        await storage.store_task(a_task("next", dependencies=["task-1"]))
        await end(storage, msgspec.structs.replace(held))
        before, copy = await everything_in(storage), msgspec.structs.replace(held)

        with pytest.raises(LeaseLostError, match=rf"number 1 of task 'task-1' by 'agent-1' is over: .*{reason}"):
            await HOLDERS_VERBS[verb](storage, held)

        assert await everything_in(storage) == before
        assert held == copy

    @pytest.mark.parametrize("verb", HOLDERS_VERBS)
    async def test_a_task_that_no_agent_has_claimed_is_refused(self, storage: Storage, verb: str) -> None:
        task = a_task()
        await storage.store_task(task)

        with pytest.raises(LeaseLostError, match="not claimed"):
            await HOLDERS_VERBS[verb](storage, task)

        assert task == await stored(storage)

    @pytest.mark.parametrize("verb", HOLDERS_VERBS)
    async def test_a_claim_of_a_task_that_was_never_stored_is_refused(self, storage: Storage, verb: str) -> None:
        with pytest.raises(LeaseLostError, match="deleted"):
            await HOLDERS_VERBS[verb](storage, a_task(assigned_to="agent-1", status=TaskStatus.ASSIGNED))

    @pytest.mark.parametrize("verb", HOLDERS_VERBS)
    async def test_a_lost_claim_does_not_doom_the_transaction(self, storage: Storage, verb: str) -> None:
        task = await a_task_to_hold(storage, verb)
        await storage.cancel_task("task-1")

        async with storage.transaction():
            with pytest.raises(LeaseLostError):
                await HOLDERS_VERBS[verb](storage, task)
            await storage.store_task(a_task("after"))

        assert await storage.get_task("after") is not None

    async def test_an_agent_that_restarts_does_not_hide_what_its_dead_self_held(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.store_agent(an_agent())
        await storage.store_task(a_task())
        dead = await claimed(storage, "agent-1", lease=60)

        await storage.update_agent(an_agent(name="restarted"), force=True)
        await storage.heartbeat("agent-1")
        clock.advance(120)
        recovery = await storage.requeue_expired_tasks()
        alive = await claimed(storage, "agent-1")

        assert recovery.requeued == ("task-1",)
        with pytest.raises(LeaseLostError):
            await storage.complete_task(dead, "by the dead one")
        await storage.complete_task(alive, "by the living one")
        assert (await stored(storage)).result == "by the living one"

    async def test_either_the_holder_or_the_canceller_wins(self, storage: Storage) -> None:
        for number in range(20):
            await storage.store_task(a_task(f"task-{number}"))
            task = await claimed(storage)

            completed, cancelled = await asyncio.gather(
                elsewhere(storage.complete_task(task)),
                elsewhere(storage.cancel_task(task.id)),
                return_exceptions=True,
            )

            status = (await stored(storage, task.id)).status
            assert (type(completed), cancelled, status) in (
                (type(None), False, TaskStatus.COMPLETED),
                (LeaseLostError, True, TaskStatus.CANCELLED),
            )

    async def test_of_many_endings_of_one_claim_exactly_one_succeeds(self, storage: Storage) -> None:
        for number in range(5):
            await storage.store_task(a_task(f"task-{number}", max_retries=number))
            task = await claimed(storage)
            copies = [msgspec.structs.replace(task) for _ in range(12)]
            verbs: list[Callable[[TaskModel], Coroutine[Any, Any, None]]]
            verbs = [storage.complete_task, storage.release_task]

            outcomes = await asyncio.gather(
                *(elsewhere(verbs[place % 2](copy)) for place, copy in enumerate(copies[:6])),
                *(elsewhere(storage.fail_task(copy, "e", retry_in=3600)) for copy in copies[6:]),
                return_exceptions=True,
            )

            winners = [place for place, outcome in enumerate(outcomes) if outcome is None]
            assert len(winners) == 1
            assert all(isinstance(outcome, StorageError) for outcome in outcomes if outcome is not None)
            assert copies[winners[0]] == await stored(storage, task.id)
            await storage.repository(TaskModel).delete(task.id)
