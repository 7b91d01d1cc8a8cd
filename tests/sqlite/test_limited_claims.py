"""Facts about what a claim costs SQLite while tasks may not be claimed: in steps of its machine, not in time."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from sqlite.tracing import watching
from swarm_persistence import SqliteStorage, TaskModel

_FEW, _MANY = 600, 12_000


class Steps:
    """The steps that SQLite's machine has taken on all connections."""

    def __init__(self) -> None:
        self.count = 0

    def meet(self, connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._add, id=self)

    def _add(self, event: dict[str, dict[str, int]]) -> None:
        self.count += event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]


@pytest.fixture
def steps() -> Iterator[Steps]:
    steps = Steps()
    apsw.connection_hooks.append(steps.meet)
    yield steps
    apsw.connection_hooks.remove(steps.meet)


async def steps_of_claims(path: Path, steps: Steps, count: int, full: str) -> int:
    """Return the steps of some claims beside so many tasks that may not be claimed."""
    async with await SqliteStorage.open(path) as storage:
        if full == "type":
            await storage.set_limit("a", running=0)
        elif full == "keys":
            await storage.set_limit("a", per_key=1)
        keys = [f"key-{n % 3}" if full == "keys" else None for n in range(count)]
        await storage.store_many([TaskModel.new("a", None, "high", concurrency_key=key) for key in keys])
        if full == "keys":
            assert len(await storage.claim_next_tasks("agent-1", limit=9)) == 3
        others = [TaskModel.new("a" if full == "keys" else "b", None, concurrency_key=f"z{n}") for n in range(20)]
        await storage.store_many(others)
        steps.count = 0
        for _ in range(4):
            task = await storage.claim_next_task("agent-1")
            assert task is not None
            assert task.priority.value == "medium"
        return steps.count


@pytest.mark.parametrize("full", ["type", "keys"])
async def test_a_claim_takes_as_many_steps_beside_many_tasks_that_may_not_run_as_beside_few(
    tmp_path: Path, steps: Steps, full: str
) -> None:
    few = await steps_of_claims(tmp_path / "few.db", steps, _FEW, full)
    many = await steps_of_claims(tmp_path / "many.db", steps, _MANY, full)

    assert 0 < many < few * 1.2


@pytest.mark.parametrize("types", [None, ["a", "b"]])
async def test_a_claim_in_vain_asks_once_why(tmp_path: Path, types: list[str] | None) -> None:
    with watching() as watch:
        async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
            await storage.store_task(TaskModel.new("c", None))
            task = await storage.claim_next_task("agent-1", task_types=["c"])
            assert task is not None
            watch.forget_statements()
            assert await storage.claim_next_task("agent-1", task_types=types) is None

    changes = [each for each in watch.statements if not each.startswith(("BEGIN", "COMMIT", "PRAGMA"))]
    assert [each.partition(" ")[0] for each in changes] == ["UPDATE", "UPDATE", "SELECT"]
