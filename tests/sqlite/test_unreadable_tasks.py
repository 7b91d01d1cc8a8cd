"""Facts about tasks that cannot be read back: they stay behind, are reported, and block no other task."""

import logging
from datetime import timedelta

import pytest

from sqlite.tracing import Watch
from swarm_persistence import SqliteStorage, TaskModel, TaskPriority, TaskStatus
from swarm_persistence.clock import ManualClock, now, use_clock
from swarm_persistence.errors import UnreadableError
from swarm_persistence_conformance.records import a_task, after, an_agent, ids

DAMAGE = ["priority = 99", "payload = '{not JSON'", "dependencies = 'mouse'", f"created_at = {-(2**62)}"]


def damage(watch: Watch, change: str, id: str) -> None:
    """Change a row as no storage would."""
    watch.writer.execute(f"UPDATE tasks SET {change} WHERE id = ?", (id,))


def status_of(watch: Watch, id: str) -> str:
    """Return the status of a row that cannot be read."""
    return str(watch.writer.execute("SELECT status FROM tasks WHERE id = ?", (id,)).get)


class TestUnreadableTasks:
    @pytest.mark.parametrize("change", DAMAGE)
    async def test_a_claim_passes_over_it_and_says_so(
        self, storage: SqliteStorage, watch: Watch, caplog: pytest.LogCaptureFixture, change: str
    ) -> None:
        await storage.store_many([a_task("bad"), a_task("good", created_at=after(9))])
        damage(watch, change, "bad")

        with caplog.at_level(logging.ERROR, "swarm_persistence"):
            task = await storage.claim_next_task("agent-1")

        assert task is not None
        assert task.id == "good"
        assert any("task 'bad' cannot be read back" in record.getMessage() for record in caplog.records)
        assert status_of(watch, "bad") == "pending"

    async def test_a_count_by_a_field_names_the_value_that_cannot_be_read(
        self, storage: SqliteStorage, watch: Watch
    ) -> None:
        await storage.store_many([a_task("bad"), a_task("good")])
        damage(watch, "status = 'asleep'", "bad")

        with pytest.raises(UnreadableError, match=r"the stored task\.status 'asleep' cannot be read back"):
            await storage.count_by(TaskModel, "status")
        assert await storage.count_by(TaskModel, "priority") == {(TaskPriority.MEDIUM,): 2}

    async def test_a_claim_of_several_passes_over_all_of_them(self, storage: SqliteStorage, watch: Watch) -> None:
        await storage.store_many([a_task(str(number)) for number in range(10)])
        for number in (0, 3, 4, 9):
            damage(watch, "payload = '{'", str(number))

        tasks = await storage.claim_next_tasks("agent-1", limit=10)

        assert ids(tasks) == ["1", "2", "5", "6", "7", "8"]
        assert {status_of(watch, str(number)) for number in (0, 3, 4, 9)} == {"pending"}

    @pytest.mark.parametrize("change", ["payload = '{'", "task_type = CAST(x'ff' AS TEXT)"])
    async def test_it_is_completed_with_the_others_as_no_completion_reads_the_rest_of_a_task(
        self, storage: SqliteStorage, watch: Watch, change: str
    ) -> None:
        await storage.store_many([a_task(str(number)) for number in range(3)])
        tasks = await storage.claim_next_tasks("agent-1", limit=3)
        damage(watch, change, "1")

        done = await storage.complete_and_claim([(task, None) for task in tasks], "agent-1", limit=0)

        assert done.lost == []
        assert [status_of(watch, task.id) for task in tasks] == ["completed"] * 3

    async def test_if_nothing_else_is_left_the_claim_is_refused(self, storage: SqliteStorage, watch: Watch) -> None:
        await storage.store_many([a_task("bad"), a_task("good")])
        damage(watch, "priority = 99", "bad")
        assert await storage.claim_next_task("agent-1") is not None

        with pytest.raises(UnreadableError, match="task 'bad' cannot be read back"):
            await storage.claim_next_task("agent-1")

        assert status_of(watch, "bad") == "pending"

    async def test_a_claim_within_a_transaction_passes_over_it(self, storage: SqliteStorage, watch: Watch) -> None:
        await storage.store_many([a_task("bad"), a_task("good")])
        damage(watch, "priority = 99", "bad")

        async with storage.transaction():
            task = await storage.claim_next_task("agent-1")
            assert task is not None
            await storage.complete_task(task)

        stored = await storage.get_task("good")
        assert stored is not None
        assert stored.status is TaskStatus.COMPLETED

    @pytest.mark.parametrize("change", [*DAMAGE, "error = 7", "result = '['"])
    async def test_it_is_given_back_with_the_others(self, storage: SqliteStorage, watch: Watch, change: str) -> None:
        with use_clock(ManualClock(now())) as clock:
            await storage.store_many([a_task(id) for id in ("first", "bad", "last")])
            await storage.store_many([a_task("over", max_retries=0), a_task("bad over", max_retries=0)])
            await storage.store_task(a_task("behind", dependencies=["bad over"]))
            await storage.claim_next_tasks("agent-1", limit=5)
            damage(watch, change, "bad")
            damage(watch, change, "bad over")
            clock.advance(timedelta(minutes=2))

            recovery = await storage.requeue_expired_tasks()

        assert sorted(recovery.requeued) == ["bad", "first", "last"]
        assert sorted(recovery.failed) == ["bad over", "over"]
        assert status_of(watch, "bad") == "pending"
        behind = await storage.get_task("behind")
        assert behind is not None
        assert behind.status is TaskStatus.FAILED

    @pytest.mark.parametrize("column", ["retry_count", "max_retries", "claim_count"])
    async def test_a_count_that_is_none_does_not_stop_the_others(
        self, storage: SqliteStorage, watch: Watch, column: str
    ) -> None:
        with use_clock(ManualClock(now())) as clock:
            await storage.store_many([a_task(id) for id in ("first", "bad", "last")])
            await storage.claim_next_tasks("agent-1", limit=3)
            damage(watch, f"{column} = -7", "bad")
            clock.advance(timedelta(minutes=2))

            recovery = await storage.requeue_expired_tasks()

        assert {"first", "last"} <= {*recovery.requeued}

    async def test_an_agent_that_cannot_be_read_is_marked_with_the_others(
        self, storage: SqliteStorage, watch: Watch
    ) -> None:
        long_ago = now() - timedelta(hours=1)
        await storage.store_many([an_agent(id, heartbeat=long_ago) for id in ("a", "bad", "c")])
        watch.writer.execute("UPDATE agents SET metadata = '{' WHERE id = 'bad'")

        recovery = await storage.requeue_expired_tasks()

        assert sorted(recovery.lost_agents) == ["a", "bad", "c"]
