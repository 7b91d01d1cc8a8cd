"""Facts about planning: SQLite plans each statement of the storage once, whatever values it is run with."""

from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from swarm_persistence import Model, SqliteStorage
from swarm_persistence_conformance.records import a_message, a_metric, a_task, an_agent, an_event


@pytest.fixture
def planned() -> Iterator[list[str]]:
    """Give the tables of the statements that were planned, on every connection that the test opens."""
    found: list[str] = []

    def hear(_operation: int, table: str | None, *_: str | None) -> int:
        found.append(str(table))
        return apsw.SQLITE_OK

    def listen(connection: apsw.Connection) -> None:
        # SQLite asks it about each table and column when it plans, and not when it runs.
        connection.authorizer = hear

    apsw.connection_hooks.append(listen)
    yield found
    apsw.connection_hooks.remove(listen)


async def _use(storage: SqliteStorage, number: int) -> None:
    agent, types = f"agent-{number}", [f"type-{number}", f"type-{(number + 1) % 5}"]
    one = await storage.claim_next_task(agent, task_types=types[:1], lease=number + 1)
    assert one is not None
    await storage.extend_lease(one, lease=number + 2)
    await storage.complete_task(one, {"number": number})
    assert len(await storage.claim_next_tasks(agent, limit=number + 2, task_types=types)) == number + 2
    assert await storage.get_events_by_agent(agent, number + 1) != []
    await storage.read_events(after=number, limit=number + 1)


async def test_no_statement_is_planned_anew_for_other_values(path: Path, planned: list[str]) -> None:
    # One connection for both, so that no second reader has to plan for itself.
    async with await SqliteStorage.builder().max_connections(1).build(path) as storage:
        await storage.store_tasks([a_task(f"task-{n}", task_type=f"type-{n % 5}") for n in range(60)])
        await storage.store_many([an_event(f"event-{n}", agent_id=f"agent-{n % 5}") for n in range(40)])
        await _use(storage, 0)
        assert "tasks" in planned
        planned.clear()

        for number in range(1, 5):
            await _use(storage, number)

    assert planned == []


@pytest.mark.parametrize("make", [a_message, a_metric, a_task, an_agent, an_event])
async def test_no_insert_of_many_rows_is_planned_anew(
    path: Path, planned: list[str], make: Callable[[str], Model]
) -> None:
    async with await SqliteStorage.open(path) as storage:
        await storage.store_many([make(f"first-{number}") for number in range(2_000)])
        assert planned
        planned.clear()

        await storage.store_many([make(f"second-{number}") for number in range(2_000)])

    assert planned == []
