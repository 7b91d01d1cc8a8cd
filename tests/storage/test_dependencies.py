"""Facts about dependencies that take more unfinished tasks than are read at once."""

from pathlib import Path

import pytest

from swarm_persistence import TaskModel, TaskStatus, init_storage
from swarm_persistence.storage.dependencies import ROWS_AT_ONCE
from swarm_persistence_conformance.records import a_task


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_task_that_is_completed_no_more_holds_its_dependents_wherever_they_stand(
    kind: str, tmp_path: Path
) -> None:
    async with await init_storage(":memory:" if kind == "memory" else str(tmp_path / "swarm.db")) as storage:
        await storage.store_task(a_task("first"))
        # The dependents are the last of one page, the first of the next, and the last of all.
        dependents = {ROWS_AT_ONCE - 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 1, 2 * ROWS_AT_ONCE}
        await storage.store_many([
            TaskModel.new("filler", {}) if number not in dependents else a_task(f"{number}", dependencies=["first"])
            for number in range(1, 2 * ROWS_AT_ONCE + 1)
        ])  # fmt: skip
        assert len(await storage.get_blocked_tasks()) == len(dependents)
        assert await storage.claim_task("first", "agent")
        first = await storage.get_task("first")
        assert first is not None
        await storage.complete_task(first)
        assert await storage.get_blocked_tasks() == []

        again = await storage.get_task("first")
        assert again is not None
        again.status = TaskStatus.PENDING
        await storage.update_task(again)

        assert {task.id for task in await storage.get_blocked_tasks()} == {str(number) for number in dependents}
