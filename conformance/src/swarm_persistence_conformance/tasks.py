"""Facts about tasks."""

from datetime import timedelta

import pytest

from swarm_persistence import ConflictError, NotFoundError, Storage, TaskModel, TaskPriority, TaskStatus
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.held_tasks import stored
from swarm_persistence_conformance.records import a_task, after, ids, tasks_of_all_priorities

NOT_PENDING = [status for status in TaskStatus if status is not TaskStatus.PENDING]


@pytest.mark.asyncio
class TestTasks:
    """The contract of the task verbs."""

    async def test_a_new_task_can_be_stored_and_read(self, storage: Storage) -> None:
        task = TaskModel.new("analyze-data", {"dataset": "sales_data.csv"}, TaskPriority.HIGH)

        await storage.store_task(task)

        assert await storage.get_task(task.id) == task

    async def test_a_task_that_was_never_stored_is_none(self, storage: Storage) -> None:
        assert await storage.get_task("task-123") is None

    async def test_storing_gives_the_callers_task_its_first_version(self, storage: Storage) -> None:
        task = a_task()

        await storage.store_task(task)

        assert task.version == 1

    async def test_a_known_id_is_refused_with_model_and_id(self, storage: Storage) -> None:
        await storage.store_task(a_task())

        with pytest.raises(ConflictError, match=r"^Conflict: .*task 'task-1'"):
            await storage.store_task(a_task(task_type="another"))

    async def test_a_refused_duplicate_leaves_the_stored_task_as_it_is(self, storage: Storage) -> None:
        task = a_task()
        await storage.store_task(task)

        with pytest.raises(ConflictError):
            await storage.store_task(a_task(task_type="another"))

        assert await storage.get_task("task-1") == task

    async def test_an_update_replaces_every_field(self, storage: Storage) -> None:
        await storage.store_task(a_task())
        changed = a_task(
            task_type="other",
            priority=TaskPriority.LOW,
            status=TaskStatus.COMPLETED,
            assigned_to="agent-1",
            payload=[1],
            result={"ok": True},
            error="none",
            retry_count=1,
            max_retries=9,
            dependencies=["task-0"],
            created_at=after(1),
            updated_at=after(2),
            started_at=after(3),
            completed_at=after(4),
            version=1,
        )

        await storage.update_task(changed)

        assert await storage.get_task("task-1") == changed

    async def test_an_update_can_empty_fields(self, storage: Storage) -> None:
        await storage.store_task(a_task(assigned_to="agent-1", result=1, error="e", started_at=after(1)))

        await storage.update_task(a_task(version=1))

        assert await storage.get_task("task-1") == a_task(version=2)

    async def test_updating_a_missing_task_is_refused(self, storage: Storage) -> None:
        with pytest.raises(NotFoundError, match=r"^Not found: task 'task-1'"):
            await storage.update_task(a_task())

    async def test_updating_a_missing_task_stores_nothing(self, storage: Storage) -> None:
        with pytest.raises(NotFoundError):
            await storage.update_task(a_task())

        assert await storage.get_task("task-1") is None

    async def test_a_copy_that_is_out_of_date_is_refused(self, storage: Storage) -> None:
        task = a_task()
        await storage.store_task(task)
        stale = await storage.get_task("task-1")
        assert stale is not None
        await storage.update_task(task)

        with pytest.raises(ConflictError, match=r"task 'task-1' .*version 2.* has 1"):
            await storage.update_task(stale)

    async def test_force_overwrites_a_newer_task(self, storage: Storage) -> None:
        task = a_task()
        await storage.store_task(task)
        await storage.update_task(task)

        await storage.update_task(a_task(error="forced", version=1), force=True)

        assert await storage.get_task("task-1") == a_task(error="forced", version=3)

    async def test_pending_tasks_come_by_priority_then_by_arrival(self, storage: Storage) -> None:
        for task in tasks_of_all_priorities():
            await storage.store_task(task)

        pending = await storage.get_pending_tasks()

        assert ids(pending) == ["critical", "z-high-first", "a-high-second", "medium", "low"]

    async def test_the_clock_of_the_one_that_stores_a_task_does_not_decide_its_turn(self, storage: Storage) -> None:
        for id, hours in (("m", 0), ("behind", -1), ("ahead", 1)):
            await storage.store_task(a_task(id, created_at=after(3_600 * hours)))

        assert ids(await storage.get_pending_tasks()) == ["m", "behind", "ahead"]

    async def test_a_task_that_is_rewritten_keeps_its_turn(self, storage: Storage) -> None:
        for id in ("m", "z", "a"):
            await storage.store_task(a_task(id))
        first = await stored(storage, "m")
        first.payload = "changed"

        await storage.update_task(first)
        await storage.repository(TaskModel).save(await stored(storage, "z"))

        assert ids(await storage.get_pending_tasks()) == ["m", "z", "a"]

    @pytest.mark.parametrize("status", NOT_PENDING)
    async def test_a_task_of_another_status_is_not_pending(self, storage: Storage, status: TaskStatus) -> None:
        await storage.store_task(a_task(status=status))

        assert await storage.get_pending_tasks() == []

    async def test_the_tasks_of_an_agent_come_newest_first(self, storage: Storage) -> None:
        for id, agent_id, age in (("old", "a", 1), ("other", "b", 2), ("free", None, 3), ("new", "a", 4)):
            await storage.store_task(a_task(id, assigned_to=agent_id, created_at=after(age)))

        assert ids(await storage.get_tasks_by_agent("a")) == ["new", "old"]

    async def test_the_tasks_of_an_agent_of_one_moment_come_latest_arrival_first(self, storage: Storage) -> None:
        for id in ("m", "z", "a"):
            await storage.store_task(a_task(id, assigned_to="agent-1"))

        assert ids(await storage.get_tasks_by_agent("agent-1")) == ["a", "z", "m"]

    async def test_an_agent_without_tasks_has_an_empty_list(self, storage: Storage) -> None:
        await storage.store_task(a_task())

        assert await storage.get_tasks_by_agent("agent-1") == []

    async def test_ready_tasks_of_one_rank_and_age_come_in_the_order_of_arrival_whenever_they_were_due(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        later = clock.now() + timedelta(seconds=60)
        await storage.store_tasks([a_task("first"), a_task("second", run_at=later), a_task("third")])

        clock.advance(120)

        assert ids(await storage.get_ready_tasks()) == ["first", "second", "third"]
        assert ids(await storage.get_ready_tasks(limit=2)) == ["first", "second"]
