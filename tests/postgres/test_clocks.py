"""Two machines whose clocks differ by an hour: leases hold all the same, for they go by the server's clock."""

import asyncio
from datetime import datetime, timedelta

import asyncpg
import pytest

from swarm_persistence import AgentModel, AgentStatus, PostgresStorage, TaskModel, TaskStatus
from swarm_persistence.clock import SystemClock, use_clock
from swarm_persistence.testing.records import a_task, ids
from swarm_persistence.worker.registration import Registration


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
async def test_a_lease_that_holds_is_left_alone_whoever_judges_it(
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
async def test_a_lease_that_ran_out_is_given_back_whoever_judges_it(
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
        await Registration(storage, agent).register()

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
