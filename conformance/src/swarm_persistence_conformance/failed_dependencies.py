"""Facts about dependents of a task that will never be completed: they fail with it, or stay blocked if they opt out."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from swarm_persistence import NotFoundError, Storage, TaskModel, TaskStatus
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.held_tasks import a_claimed_task, claimed, statuses, stored
from swarm_persistence_conformance.records import a_task, ids

FAILED, PENDING = TaskStatus.FAILED, TaskStatus.PENDING
Ending = Callable[[Storage], Coroutine[Any, Any, Any]]


async def _fail(storage: Storage) -> None:
    await storage.claim_task("first", "agent-1")
    await storage.fail_task(await stored(storage, "first"), "no luck")


async def _expire(storage: Storage) -> None:
    await storage.claim_task("first", "agent-1", lease=0.001)
    while not (await storage.requeue_expired_tasks()).failed:
        assert (await stored(storage, "first")).status is TaskStatus.ASSIGNED


def _update(storage: Storage, verb: str, status: TaskStatus) -> Coroutine[Any, Any, Any]:
    first = a_task("first", status=status, error="no luck", version=1)
    return storage.repository(TaskModel).save(first) if verb == "save" else storage.update_task(first)


ENDINGS: dict[str, tuple[Ending, str]] = {
    "fail_task": (_fail, "the dependency 'first' failed: no luck"),
    "requeue_expired_tasks": (_expire, "the dependency 'first' failed: the lease of 'agent-1' ran out"),
    "cancel_task": (lambda storage: storage.cancel_task("first"), "the dependency 'first' was cancelled"),
    "update_task to failed": (
        lambda storage: _update(storage, "update", FAILED),
        "the dependency 'first' failed: no luck",
    ),
    "update_task to cancelled": (
        lambda storage: _update(storage, "update", TaskStatus.CANCELLED),
        "the dependency 'first' was cancelled",
    ),
    "save as failed": (lambda storage: _update(storage, "save", FAILED), "the dependency 'first' failed: no luck"),
}
"""The ways to end the task 'first' without success, and the reason in its dependents' errors."""


@pytest.mark.asyncio
class TestFailedDependencies:
    """The dependents of a task that failed for good or was cancelled fail with it."""

    @pytest.mark.parametrize("ending", ENDINGS)
    async def test_dependents_fail_with_a_reason_that_names_the_dependency(self, storage: Storage, ending: str) -> None:
        end, reason = ENDINGS[ending]
        await storage.store_task(a_task("first", max_retries=0))
        await storage.store_tasks([a_task("second", dependencies=["other", "first"]), a_task("other")])

        await end(storage)

        second = await stored(storage, "second")
        assert (second.status, second.error, second.version) == (FAILED, reason, 2)
        assert second.completed_at is not None
        assert ids(await storage.get_ready_tasks()) == ["other"]

    @pytest.mark.parametrize("ending", ENDINGS)
    async def test_dependents_of_dependents_fail_as_well(self, storage: Storage, ending: str) -> None:
        end, reason = ENDINGS[ending]
        chain = ["first", "second", "third", "fourth"]
        await storage.store_tasks(
            [a_task(id, max_retries=0, dependencies=chain[place - 1 : place]) for place, id in enumerate(chain)]
        )
        await storage.store_task(a_task("both", dependencies=["second", "third"]))

        await end(storage)

        assert await statuses(storage, [*chain[1:], "both"]) == [FAILED] * 4
        third = await stored(storage, "third")
        assert third.error == reason.replace("the dependency 'first'", "the dependency 'second' failed because 'first'")
        fourth = await stored(storage, "fourth")
        assert fourth.error == reason.replace("the dependency 'first'", "the dependency 'third' failed because 'first'")
        assert await storage.get_pending_tasks() == []

    @pytest.mark.parametrize("ending", ENDINGS)
    async def test_a_task_that_says_so_goes_on_waiting(self, storage: Storage, ending: str) -> None:
        end, _ = ENDINGS[ending]
        await storage.store_task(a_task("first", max_retries=0))
        patient = a_task("patient", dependencies=["first"], fails_with_dependencies=False)
        await storage.store_tasks([patient, a_task("behind", dependencies=["patient"])])

        await end(storage)

        assert await storage.get_blocked_tasks() == [patient, await stored(storage, "behind")]
        assert await storage.claim_next_task("agent-1") is None
        await storage.update_task(a_task("first", status=TaskStatus.COMPLETED), force=True)
        assert await storage.get_ready_tasks() == [patient]

    async def test_a_failure_with_a_retry_left_fails_no_dependent(self, storage: Storage) -> None:
        await storage.fail_task(await a_claimed_task(storage, "first"), "no luck", retry_in=0)
        await storage.store_task(a_task("second", dependencies=["first"]))

        task = await claimed(storage)
        await storage.fail_task(task, "no luck", retry_in=0)
        await storage.complete_task(await claimed(storage))

        assert ids(await storage.get_ready_tasks()) == ["second"]

    @pytest.mark.parametrize("status", [TaskStatus.ASSIGNED, TaskStatus.RUNNING, TaskStatus.COMPLETED])
    async def test_a_dependent_that_is_not_pending_stays_as_it_is(self, storage: Storage, status: TaskStatus) -> None:
        dependent = a_task("second", dependencies=["first"], status=status, assigned_to="agent-2")
        await storage.store_tasks([a_task("first"), dependent])

        await storage.cancel_task("first")

        assert await stored(storage, "second") == dependent

    @pytest.mark.parametrize("ending", ENDINGS)
    async def test_a_rollback_takes_all_of_it_back(self, storage: Storage, ending: str) -> None:
        end, _ = ENDINGS[ending]
        await storage.store_tasks([a_task("first", max_retries=0), a_task("second", dependencies=["first"])])

        transaction = await storage.begin_transaction()
        await end(storage)
        assert (await stored(storage, "second")).status is FAILED
        await transaction.rollback()

        assert await statuses(storage, ["first", "second"]) == [PENDING, PENDING]

    async def test_a_cancelled_task_is_over(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_task(a_task())

        assert await storage.cancel_task("task-1") is True

        expected = a_task(status=TaskStatus.CANCELLED, completed_at=clock.now(), updated_at=clock.now(), version=2)
        assert await stored(storage) == expected
        assert await storage.claim_next_task("agent-1") is None

    @pytest.mark.parametrize("status", [TaskStatus.PENDING, TaskStatus.ASSIGNED, TaskStatus.RUNNING])
    async def test_an_unfinished_task_can_be_cancelled(self, storage: Storage, status: TaskStatus) -> None:
        await storage.store_task(a_task(status=status, assigned_to="agent-1"))

        assert await storage.cancel_task("task-1") is True
        assert (await stored(storage)).status is TaskStatus.CANCELLED

    @pytest.mark.parametrize("status", [TaskStatus.COMPLETED, FAILED, TaskStatus.CANCELLED])
    async def test_a_finished_task_cannot_be_cancelled(self, storage: Storage, status: TaskStatus) -> None:
        task = a_task(status=status)
        await storage.store_tasks([task, a_task("second", dependencies=["other"])])

        assert await storage.cancel_task("task-1") is False
        assert await stored(storage) == task

    async def test_a_missing_task_cannot_be_cancelled(self, storage: Storage) -> None:
        with pytest.raises(NotFoundError, match="task 'task-1'"):
            await storage.cancel_task("task-1")

    async def test_many_dependents_fail_at_once(self, storage: Storage) -> None:
        await storage.store_task(a_task("first"))
        await storage.store_tasks([a_task(f"{n}", dependencies=["first"]) for n in range(300)])

        await storage.cancel_task("first")

        assert await storage.get_pending_tasks() == []
        assert set(await statuses(storage, [f"{n}" for n in range(300)])) == {FAILED}

    async def test_a_reason_does_not_grow_from_one_dependent_to_the_next(self, storage: Storage) -> None:
        await storage.store_tasks([a_task(f"{n}", dependencies=[f"{n - 1}"] if n else []) for n in range(100)])

        await storage.cancel_task("0")

        assert (await stored(storage, "99")).error == "the dependency '98' failed because '0' was cancelled"

    async def test_dependents_keep_the_beginning_of_a_long_reason(self, storage: Storage) -> None:
        await storage.fail_task(await a_claimed_task(storage, "0", max_retries=0), "no luck " * 1_000)
        await storage.store_task(a_task("1", dependencies=["0"]))
        await storage.store_task(a_task("2", dependencies=["1"]))

        for id in ("1", "2"):
            error = (await stored(storage, id)).error
            assert "no luck no luck" in str(error)
            assert len(str(error)) < 700

    async def test_a_dependent_of_several_that_fail_at_once_names_the_first_of_them(self, storage: Storage) -> None:
        await storage.store_task(a_task("first"))
        await storage.store_tasks([a_task(id, dependencies=["first"]) for id in ("b", "a", "c")])
        await storage.store_task(a_task("last", dependencies=["c", "b", "a"]))

        await storage.cancel_task("first")

        assert (await stored(storage, "last")).error == "the dependency 'a' failed because 'first' was cancelled"

    async def test_one_dependency_that_completes_while_another_one_fails_leaves_no_dependent_in_between(
        self, storage: Storage
    ) -> None:
        for number in range(15):
            good, bad, last = f"good-{number}", f"bad-{number}", f"last-{number}"
            await storage.store_tasks(
                [a_task(good), a_task(bad, max_retries=0), a_task(last, dependencies=[good, bad])]
            )
            first, second = await storage.claim_next_tasks("agent-1", limit=2)

            await asyncio.gather(
                elsewhere(storage.complete_task(first)), elsewhere(storage.fail_task(second, "no luck"))
            )

            assert (await stored(storage, last)).error == f"the dependency '{bad}' failed: no luck"

    async def test_a_task_that_is_stored_after_its_dependency_has_failed_fails_at_once(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("first", max_retries=0), a_task("other")])
        await _fail(storage)
        late = a_task("late", dependencies=["other", "first"])

        await storage.store_task(late)

        assert late == await stored(storage, "late")
        assert (late.status, late.error) == (FAILED, "the dependency 'first' failed: no luck")

    async def test_a_task_that_says_so_waits_for_one_that_has_failed_already(self, storage: Storage) -> None:
        await storage.store_task(a_task("first", max_retries=0))
        await _fail(storage)

        late = await storage.store_task(a_task("late", dependencies=["first"], fails_with_dependencies=False))

        assert late == await stored(storage, "late")
        assert late.status is PENDING

    async def test_a_task_that_is_stored_as_failed_fails_those_that_wait_for_its_id(self, storage: Storage) -> None:
        await storage.store_task(a_task("waits", dependencies=["first"]))

        await storage.store_task(a_task("first", status=FAILED, error="no luck"))

        assert (await stored(storage, "waits")).error == "the dependency 'first' failed: no luck"

    async def test_a_task_that_is_updated_to_wait_for_one_that_has_failed_fails_at_once(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("first", max_retries=0), a_task("second")])
        await _fail(storage)
        second = await stored(storage, "second")
        second.dependencies = ["first"]

        await storage.update_task(second)

        assert second == await stored(storage, "second")
        assert second.status is FAILED

    async def test_a_dependency_that_has_failed_already_fails_who_is_stored_now(self, storage: Storage) -> None:
        await storage.store_many(
            [a_task("failed", status=FAILED, error="no luck"), a_task("cancelled", status=TaskStatus.CANCELLED)]
        )

        await storage.store_task(a_task("after-1", dependencies=["failed"]))
        await storage.store_tasks(
            [a_task("after-3", dependencies=["after-2"]), a_task("after-2", dependencies=["x", "cancelled"])]
        )
        await storage.store_task(a_task("patient", dependencies=["failed"], fails_with_dependencies=False))

        assert await statuses(storage, ["after-1", "after-2", "after-3"]) == [FAILED] * 3
        assert (await stored(storage, "after-1")).error == "the dependency 'failed' failed: no luck"
        assert (await stored(storage, "after-2")).error == "the dependency 'cancelled' was cancelled"
        assert ids(await storage.get_blocked_tasks()) == ["patient"]

    async def test_a_dependency_that_fails_while_its_dependent_is_stored_is_not_missed(self, storage: Storage) -> None:
        for number in range(30):
            first, second = f"first-{number}", f"second-{number}"
            await storage.store_task(a_task(first, max_retries=0))
            task = await claimed(storage)

            await asyncio.gather(
                elsewhere(storage.fail_task(task, "no luck")),
                elsewhere(storage.store_task(a_task(second, dependencies=[first]))),
            )

            assert (await stored(storage, second)).error == f"the dependency '{first}' failed: no luck"


def _cancelled() -> TaskModel:
    return a_task("first", status=TaskStatus.CANCELLED)


async def _one_by_one(storage: Storage, tasks: list[TaskModel]) -> None:
    for task in tasks:
        await storage.store_task(task)


async def _in_a_transaction(storage: Storage, tasks: list[TaskModel]) -> None:
    async with storage.transaction():
        await storage.store_tasks(tasks)


WAYS: dict[str, Callable[[Storage, list[TaskModel]], Coroutine[Any, Any, Any]]] = {
    "store_task, one by one": _one_by_one,
    "store_tasks": lambda storage, tasks: storage.store_tasks(tasks),
    "store_many": lambda storage, tasks: storage.store_many(tasks),
    "store_tasks in a transaction": _in_a_transaction,
}
"""The verbs that store several tasks."""


@pytest.mark.asyncio
class TestStoredWithDependencies:
    """A task that is stored with, or after, a dependency that has failed fails at once."""

    @pytest.mark.parametrize("is_turned", [False, True])
    @pytest.mark.parametrize("way", WAYS)
    async def test_it_fails_at_once_in_either_order(self, storage: Storage, way: str, is_turned: bool) -> None:
        second, third = a_task("second", dependencies=["first"]), a_task("third", dependencies=["second"])
        tasks = [third, second, _cancelled()] if is_turned else [_cancelled(), second, third]

        await WAYS[way](storage, tasks)

        stored_second, stored_third = await stored(storage, "second"), await stored(storage, "third")
        assert (stored_second.status, stored_second.error) == (FAILED, "the dependency 'first' was cancelled")
        assert stored_third.status is FAILED
        assert await storage.get_blocked_tasks() == []

    async def test_the_callers_objects_tell_that_it_has_failed(self, storage: Storage) -> None:
        tasks = await storage.store_tasks([a_task("second", dependencies=["first"]), _cancelled()])

        assert tasks == [await stored(storage, "second"), await stored(storage, "first")]

    @pytest.mark.parametrize("way", WAYS)
    async def test_one_that_does_not_fail_with_its_dependencies_waits_on(self, storage: Storage, way: str) -> None:
        waiting = a_task("second", dependencies=["first"], fails_with_dependencies=False)

        await WAYS[way](storage, [_cancelled(), waiting])

        assert ids(await storage.get_blocked_tasks()) == ["second"]

    async def test_one_whose_key_is_stored_already_fails_none(self, storage: Storage) -> None:
        await storage.store_task(a_task("zeroth", idempotency_key="key"))

        await storage.store_tasks(
            [
                a_task("first", status=TaskStatus.CANCELLED, idempotency_key="key"),
                a_task("second", dependencies=["first"]),
            ]
        )

        assert ids(await storage.get_blocked_tasks()) == ["second"]
