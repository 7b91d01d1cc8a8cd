"""What a claim of the next task costs SQLite, counted in steps of its machine: the same in short and in long queues."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest

from sql.test_plans import _plan_of
from sqlite.tracing import Watch
from swarm_persistence import SqliteStorage, TaskModel, TaskPriority, TaskStatus
from swarm_persistence_conformance.records import a_task, after

_PRIORITIES = list(TaskPriority)
_TYPES: tuple[Sequence[str] | None, ...] = (None, ["type-1"], ["type-1", "type-2", "type-5"], ["type-1", "missing"])


@pytest.fixture
def steps() -> Iterator[list[int]]:
    """Give the steps that SQLite's machine has done for each UPDATE of tasks, on all connections."""
    found: list[int] = []

    def hear(event: dict[str, Any]) -> None:
        if event["sql"].startswith("UPDATE tasks"):
            found.append(event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"])

    def listen(connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, hear)

    apsw.connection_hooks.append(listen)
    yield found
    apsw.connection_hooks.remove(listen)


def _tasks(name: str, count: int, **fields: Any) -> list[TaskModel]:
    return [
        a_task(
            f"{name}-{n}",
            task_type=f"type-{n % 7}",
            priority=_PRIORITIES[n % 4],
            created_at=after(n),
            **fields,
        )
        for n in range(count)
    ]


async def _cost(storage: SqliteStorage, steps: list[int], types: Sequence[str] | None) -> int:
    steps.clear()
    assert await storage.claim_next_task("agent-1", task_types=types) is not None
    return sum(steps)


@pytest.mark.parametrize("types", _TYPES)
async def test_a_claim_costs_the_same_however_many_tasks_wait_are_blocked_delayed_or_finished(
    tmp_path: Path, steps: list[int], types: Sequence[str] | None
) -> None:
    async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
        await storage.store_tasks(_tasks("pending", 100))
        short = await _cost(storage, steps, types)

        await storage.store_tasks(_tasks("more", 3_000))
        # More urgent, and older, but not ready.
        urgent: dict[str, Any] = {"priority": TaskPriority.CRITICAL, "created_at": after(-1)}
        await storage.store_tasks(
            [a_task(f"blocked-{n}", task_type="type-1", dependencies=["missing"], **urgent) for n in range(1_000)]
        )
        delayed = {"run_at": after(10**9), "task_type": "type-1", **urgent}
        await storage.store_tasks([a_task(f"delayed-{n}", **delayed) for n in range(1_000)])
        await storage.store_tasks(_tasks("finished", 3_000, status=TaskStatus.COMPLETED))
        long = await _cost(storage, steps, types)

    assert short > 50
    assert long <= 1.1 * short


@pytest.mark.parametrize("types", _TYPES)
async def test_a_claim_finds_the_first_of_each_type_by_an_index_and_sorts_those_at_most(
    filled: SqliteStorage, watch: Watch, types: Sequence[str] | None
) -> None:
    await filled.claim_next_task("agent-1", task_types=types)

    (claim,) = (
        statement for statement in watch.statements if statement.endswith(" sequence") and "UPDATE" in statement
    )
    connection = apsw.Connection(filled.path)
    plan = _plan_of(connection, claim)
    connection.close()
    index = "SCAN tasks USING INDEX tasks_ready" if types is None else "SEARCH tasks USING INDEX tasks_ready_by_type"
    # Beside them, each claim looks once for a task that requires capabilities.
    looks = [step for step in plan if "INDEX tasks_ready_by_capabilities" in step]
    assert len(looks) == 1
    found = [step for step in plan if "INDEX tasks_ready" in step and step not in looks]
    assert [step.partition(" (")[0] for step in found] == [index] * (1 if types is None else len(types))
    assert "SCAN tasks" not in plan
    sorted_parts = [place for place, step in enumerate(plan) if "TEMP B-TREE" in step]
    if types is None or len(types) == 1:
        assert sorted_parts == []
    else:
        # Of the first of each type, which is one row each: not of what an index gives.
        assert all("tasks" not in plan[place - 1] for place in sorted_parts)
