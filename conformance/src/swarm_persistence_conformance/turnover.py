"""Facts about `complete_and_claim`, by which a worker records what it has done and gets what comes next."""

from collections.abc import Sequence
from typing import Any

import pytest

from swarm_persistence import ConflictError, InvalidQueryError, SerializationError, Storage, TaskModel, TaskStatus
from swarm_persistence_conformance.held_tasks import stored
from swarm_persistence_conformance.records import a_task, ids


async def held(storage: Storage, *names: str) -> list[TaskModel]:
    """Store tasks, and claim them all."""
    await storage.store_tasks([a_task(name) for name in names])
    return await storage.claim_next_tasks("agent-1", limit=len(names))


@pytest.mark.asyncio
class TestTurnover:
    """The contract of `complete_and_claim`."""

    async def test_tasks_are_completed_with_their_results_and_the_next_ones_are_claimed(self, storage: Storage) -> None:
        first, second = await held(storage, "a", "b")
        await storage.store_tasks([a_task(name) for name in "cde"])

        done = await storage.complete_and_claim([(first, {"sum": 6}), (second, None)], "agent-2", limit=2, lease=60)

        assert (ids(done.claimed), done.lost) == (["c", "d"], [])
        assert done.claimed == [await stored(storage, "c"), await stored(storage, "d")]
        assert {task.assigned_to for task in done.claimed} == {"agent-2"}
        for id, result in (("a", {"sum": 6}), ("b", None)):
            task = await stored(storage, id)
            assert (task.status, task.result, task.assigned_to) == (TaskStatus.COMPLETED, result, "agent-1")

    async def test_the_copies_show_what_is_stored(self, storage: Storage) -> None:
        copies = await held(storage, "a", "b")

        await storage.complete_and_claim([(copy, 1) for copy in copies], "agent-1", limit=1)

        assert copies == [await stored(storage, "a"), await stored(storage, "b")]

    async def test_a_copy_that_was_older_than_its_task_shows_the_completion_and_stays_older(
        self, storage: Storage
    ) -> None:
        (copy,) = await held(storage, "a")
        await storage.report_progress(await stored(storage, "a"), 0.5, "half of it")

        assert (await storage.complete_and_claim([(copy, {"sum": 6})], "agent-1", limit=0)).lost == []

        task = await stored(storage, "a")
        assert (copy.status, copy.result, copy.completed_at) == (TaskStatus.COMPLETED, {"sum": 6}, task.completed_at)
        assert (copy.progress, task.progress) == (None, 0.5)
        assert copy.version < task.version
        with pytest.raises(ConflictError):
            await storage.update_task(copy)

    async def test_one_whose_claim_is_over_is_returned_and_does_not_hinder_the_others(self, storage: Storage) -> None:
        kept, released, never = *(await held(storage, "a", "b")), a_task("c")
        await storage.release_task(await stored(storage, "b"))
        await storage.store_task(a_task("c"))

        done = await storage.complete_and_claim(
            [(released, "late"), (never, "not mine"), (kept, "mine")], "agent-2", limit=5
        )

        assert {id(task) for task in done.lost} == {id(released), id(never)}
        assert sorted(ids(done.claimed)) == ["b", "c"]
        assert (await stored(storage, "a")).result == "mine"
        assert (await stored(storage, "b")).result is None

    async def test_a_task_that_is_given_twice_is_completed_once(self, storage: Storage) -> None:
        (task,) = await held(storage, "a")
        copy = await stored(storage, "a")

        done = await storage.complete_and_claim([(task, 1), (copy, 2)], "agent-1", limit=0)

        assert len(done.lost) == 1
        assert (await stored(storage, "a")).version == 3

    async def test_dependents_of_all_of_them_become_ready(self, storage: Storage) -> None:
        copies = await held(storage, "a", "b")
        await storage.store_tasks([a_task("both", dependencies=["a", "b"]), a_task("one", dependencies=["b"])])
        await storage.store_task(a_task("other", dependencies=["both"]))

        await storage.complete_and_claim([(copy, None) for copy in copies], "agent-1", limit=0)

        assert sorted(ids(await storage.get_ready_tasks())) == ["both", "one"]

    async def test_dependents_of_a_lost_task_wait_on(self, storage: Storage) -> None:
        kept, lost = await held(storage, "a", "b")
        await storage.store_task(a_task("c", dependencies=["b"]))
        await storage.release_task(await stored(storage, "b"))

        await storage.complete_and_claim([(kept, None), (lost, None)], "agent-1", limit=0)

        assert ids(await storage.get_blocked_tasks()) == ["c"]

    async def test_with_a_limit_of_zero_or_no_type_nothing_is_claimed(self, storage: Storage) -> None:
        first, second = await held(storage, "a", "b")
        await storage.store_task(a_task("c"))

        for task, options in ((first, {"limit": 0}), (second, {"limit": 5, "task_types": []})):
            assert (await storage.complete_and_claim([(task, 1)], "agent-1", **options)).claimed == []

        assert ids(await storage.get_pending_tasks()) == ["c"]
        assert (await stored(storage, "b")).status is TaskStatus.COMPLETED

    async def test_with_nothing_to_complete_it_claims(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("a", task_type="x"), a_task("b", task_type="y")])

        done = await storage.complete_and_claim([], "agent-1", limit=5, task_types=["y"])

        assert ids(done.claimed) == ["b"]

    async def test_what_the_caller_begins_at_once_is_running(self, storage: Storage) -> None:
        (task,) = await held(storage, "a")
        await storage.store_tasks([a_task(name) for name in "bcd"])

        (running,) = (await storage.complete_and_claim([(task, 1)], "agent-1", limit=1, is_running=True)).claimed
        claimed = await storage.claim_next_tasks("agent-1", limit=1, is_running=True)
        later = await storage.claim_next_tasks("agent-1", limit=1)

        assert [each.status for each in (running, *claimed, *later)] == [
            TaskStatus.RUNNING,
            TaskStatus.RUNNING,
            TaskStatus.ASSIGNED,
        ]
        assert [await stored(storage, id) for id in "bcd"] == [running, *claimed, *later]

        await storage.extend_lease(later[0], lease=60, is_running=True)
        await storage.extend_lease(running, lease=60)
        assert [task.status for task in (later[0], running)] == [TaskStatus.RUNNING] * 2
        assert [await stored(storage, id) for id in "bd"] == [running, later[0]]

        await storage.complete_task(running)
        await storage.release_task(later[0])
        assert [(await stored(storage, id)).status for id in "bd"] == [TaskStatus.COMPLETED, TaskStatus.PENDING]

    @pytest.mark.parametrize(
        "completions",
        [7, "ab", [7], [a_task()], [(a_task(), 1, 2)], [("a", 1)]],
        ids=["number", "text", "numbers", "tasks", "triples", "ids"],
    )
    async def test_what_is_no_pair_of_task_and_result_is_refused(self, storage: Storage, completions: Any) -> None:
        with pytest.raises(InvalidQueryError, match="completions"):
            await storage.complete_and_claim(completions, "agent-1", limit=1)

    async def test_a_result_that_is_no_json_is_refused_before_anything_is_written(self, storage: Storage) -> None:
        copies = await held(storage, "a", "b")
        await storage.store_task(a_task("c"))
        results: Sequence[Any] = (1, {1, 2})

        with pytest.raises(SerializationError, match=r"completions\[1\]: task.result"):
            await storage.complete_and_claim(list(zip(copies, results, strict=True)), "agent-1", limit=1)

        assert [(await stored(storage, id)).status for id in "ab"] == [TaskStatus.ASSIGNED] * 2
        assert ids(await storage.get_pending_tasks()) == ["c"]

    async def test_a_rollback_undoes_both_and_restores_the_copies(self, storage: Storage) -> None:
        (task,) = await held(storage, "a")
        await storage.store_task(a_task("b"))
        before = await stored(storage, "a")

        transaction = await storage.begin_transaction()
        done = await storage.complete_and_claim([(task, 1)], "agent-1", limit=1)
        assert ids(done.claimed) == ["b"]
        await transaction.rollback()

        assert task == before == await stored(storage, "a")
        assert ids(await storage.get_pending_tasks()) == ["b"]
