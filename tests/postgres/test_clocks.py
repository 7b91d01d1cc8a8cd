"""Machines whose clocks differ by hours: leases, order, stamps and pruning go by the server all the same."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import asyncpg
import pytest

from swarm_persistence import AgentModel, AgentStatus, PostgresStorage, TaskModel, TaskStatus
from swarm_persistence.clock import SystemClock, use_clock
from swarm_persistence.worker.registration import Registration
from swarm_persistence_conformance.records import a_task, ids


class WrongClock(SystemClock):
    """A machine's clock that goes wrong by so many hours."""

    def __init__(self, hours: int) -> None:
        self._hours = hours

    def now(self) -> datetime:
        return super().now() + timedelta(hours=self._hours)


async def test_the_task_of_a_client_an_hour_behind_is_not_claimed_before_those_that_were_there(
    storage: PostgresStorage, other: PostgresStorage
) -> None:
    for name, hours in (("first", 0), ("behind", -1), ("ahead", 1), ("last", 0)):
        with use_clock(WrongClock(hours)):
            await storage.store_task(TaskModel(id=name, task_type="analyze"))

    assert ids(await other.get_pending_tasks()) == ["first", "behind", "ahead", "last"]
    assert ids(await other.claim_next_tasks("agent", limit=2)) == ["first", "behind"]
    assert ids(await other.claim_next_tasks("agent", limit=2, task_types=["analyze", "x"])) == ["ahead", "last"]


@pytest.mark.parametrize(("claimer", "judge"), [(1, -1), (-1, 1), (0, 1), (0, -1)])
async def test_a_lease_that_holds_is_kept_whatever_the_clock_of_the_recoverer(
    storage: PostgresStorage, other: PostgresStorage, admin: asyncpg.Connection, claimer: int, judge: int
) -> None:
    await storage.store_task(a_task("task"))
    with use_clock(WrongClock(claimer)):
        task = await storage.claim_next_task("here", lease=60)
    assert task is not None
    assert task.lease_expires_at is not None

    with use_clock(WrongClock(judge)):
        recovery = await other.requeue_expired_tasks()

    rest = task.lease_expires_at - await admin.fetchval("SELECT clock_timestamp()")
    assert recovery.requeued == ()
    assert timedelta(seconds=30) < rest <= timedelta(seconds=60)


@pytest.mark.parametrize(("claimer", "judge"), [(1, -1), (-1, 1)])
async def test_an_expired_lease_is_given_back_whatever_the_clock_of_the_recoverer(
    storage: PostgresStorage, other: PostgresStorage, claimer: int, judge: int
) -> None:
    await storage.store_task(a_task("task"))
    with use_clock(WrongClock(claimer)):
        await storage.claim_next_task("here", lease=0.05)

    with use_clock(WrongClock(judge)):
        async with asyncio.timeout(20):
            while not (await other.requeue_expired_tasks()).requeued:
                pass

    given_back = await storage.get_task("task")
    assert given_back is not None
    assert given_back.status is TaskStatus.PENDING


@pytest.mark.parametrize("hours", [1, -1])
@pytest.mark.parametrize("status", [None, AgentStatus.ERROR])
async def test_an_agent_is_registered_by_the_servers_clock(
    storage: PostgresStorage, other: PostgresStorage, admin: asyncpg.Connection, hours: int, status: AgentStatus | None
) -> None:
    agent = AgentModel.new("worker", "researcher")
    if status is not None:
        await storage.store_agent(AgentModel(id=agent.id, name="worker", agent_type="researcher", status=status))
    with use_clock(WrongClock(hours)):
        await Registration(storage, agent, ["work"]).register()

    recovery = await other.requeue_expired_tasks(heartbeat_timeout=300)

    stored = await storage.get_agent(agent.id)
    assert recovery.lost_agents == ()
    assert stored == agent
    assert stored.status is AgentStatus.ACTIVE
    assert abs(stored.heartbeat - await admin.fetchval("SELECT clock_timestamp()")) < timedelta(minutes=5)


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_heartbeat_counts_by_the_servers_clock(
    storage: PostgresStorage, other: PostgresStorage, hours: int
) -> None:
    agent = AgentModel.new("worker", "researcher")
    agent.status = AgentStatus.ACTIVE
    await storage.store_agent(agent)
    with use_clock(WrongClock(hours)):
        await storage.heartbeat(agent.id)

    with use_clock(WrongClock(-hours)):
        recovery = await other.requeue_expired_tasks(heartbeat_timeout=300)

    assert recovery.lost_agents == ()


async def stamps_of(admin: asyncpg.Connection, schema: str, id: str) -> dict[str, float | None]:
    """Return how many seconds ago by the server's clock a task's times are."""
    row = await admin.fetchrow(
        "SELECT extract(epoch FROM clock_timestamp() - updated_at)::float8 AS updated_at, "
        "extract(epoch FROM clock_timestamp() - started_at)::float8 AS started_at, "
        "extract(epoch FROM clock_timestamp() - completed_at)::float8 AS completed_at "
        f"FROM {schema}.tasks WHERE id = $1",
        id,
    )
    assert row is not None
    return dict(row)


async def complete(storage: PostgresStorage, task: TaskModel) -> None:
    await storage.complete_task(task)


async def fail(storage: PostgresStorage, task: TaskModel) -> None:
    await storage.fail_task(task, "broken")


async def try_again(storage: PostgresStorage, task: TaskModel) -> None:
    task.max_retries = 1
    await storage.update_task(task)
    await storage.fail_task(task, "broken")


async def release(storage: PostgresStorage, task: TaskModel) -> None:
    await storage.release_task(task)


async def extend(storage: PostgresStorage, task: TaskModel) -> None:
    await storage.extend_lease(task)


async def cancel(storage: PostgresStorage, task: TaskModel) -> None:
    await storage.cancel_task(task.id)


async def delete_agent(storage: PostgresStorage, task: TaskModel) -> None:
    await storage.delete_agent("here")


@pytest.mark.parametrize("hours", [2, -2])
@pytest.mark.parametrize("verb", [complete, fail, try_again, release, extend, cancel, delete_agent])
async def test_the_server_stamps_what_happens_to_a_task(
    storage: PostgresStorage,
    admin: asyncpg.Connection,
    schema: str,
    hours: int,
    verb: Callable[[PostgresStorage, TaskModel], Awaitable[None]],
) -> None:
    with use_clock(WrongClock(hours)):
        await storage.store_task(TaskModel(id="task", task_type="analyze", max_retries=0))
        task = await storage.claim_next_task("here")
        assert task is not None
        claimed = await stamps_of(admin, schema, "task")
        await verb(storage, task)
    stamps = await stamps_of(admin, schema, "task")

    for ago in (*claimed.values(), *stamps.values()):
        assert ago is None or 0 <= ago < 600
    assert None not in (claimed["updated_at"], claimed["started_at"], stamps["updated_at"])
    assert (stamps["completed_at"] is not None) == (verb in (complete, fail, cancel))


@pytest.mark.parametrize("hours", [2, -2])
async def test_the_server_stamps_a_claim_by_id_and_tasks_that_fail_with_another(
    storage: PostgresStorage, admin: asyncpg.Connection, schema: str, hours: int
) -> None:
    with use_clock(WrongClock(hours)):
        await storage.store_tasks([a_task("first", max_retries=0), a_task("second", dependencies=["first"])])
        assert await storage.claim_task("first", "here")
        claimed = await stamps_of(admin, schema, "first")
        task = await storage.get_task("first")
        assert task is not None
        await storage.fail_task(task, "broken")
    failed = await stamps_of(admin, schema, "second")

    for ago in (claimed["updated_at"], failed["updated_at"], failed["completed_at"]):
        assert ago is not None
        assert 0 <= ago < 600


@pytest.mark.parametrize("hours", [(2, 2), (2, -2), (-2, 2), (-2, -2)])
async def test_prune_deletes_the_tasks_that_are_old_by_the_server_whatever_clients_think(
    storage: PostgresStorage, other: PostgresStorage, admin: asyncpg.Connection, schema: str, hours: tuple[int, int]
) -> None:
    worker, pruner = hours
    names = [f"{age} {verb.__name__}" for verb in (complete, fail, cancel) for age in ("old", "young")]
    with use_clock(WrongClock(worker)):
        for name in names:
            await storage.store_task(TaskModel(id=name, task_type="analyze", max_retries=0))
            task = await storage.claim_next_task("here")
            assert task is not None
            verb = next(verb for verb in (complete, fail, cancel) if name.endswith(verb.__name__))
            await verb(storage, task)
    await admin.execute(
        f"UPDATE {schema}.tasks SET completed_at = completed_at - interval '70 minutes' WHERE id LIKE 'old%'"
    )

    with use_clock(WrongClock(pruner)):
        assert (await other.prune(3_600)).tasks == 3

    assert {task.id for task in await storage.repository(TaskModel).find_all()} == {
        name for name in names if name.startswith("young")
    }
