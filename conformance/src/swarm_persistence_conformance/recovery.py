"""Facts about recovery: tasks of dead agents are requeued, once, and live agents keep theirs."""

import asyncio
from datetime import timedelta
from functools import partial

import pytest

from swarm_persistence import (
    AgentStatus,
    DatabaseError,
    LeaseLostError,
    NotFoundError,
    Recovery,
    Storage,
    TaskModel,
    TaskStatus,
)
from swarm_persistence.engines.steps import Step, Update
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.held_tasks import a_claimed_task, claimed, is_about, statuses, stored
from swarm_persistence_conformance.interfering_engines import RefusingEngine
from swarm_persistence_conformance.records import a_task, an_agent, everything_in, ids

ALIVE = [AgentStatus.INITIALIZING, AgentStatus.ACTIVE, AgentStatus.IDLE, AgentStatus.BUSY, AgentStatus.PAUSED]
NOTHING = Recovery((), (), ())


def _changes_one_of(ids: set[str], step: Step) -> bool:
    return isinstance(step, Update) and any(condition.value in ids for condition in step.query.conditions[:1])


@pytest.mark.asyncio
class TestRecovery:
    """The contract of `requeue_expired_tasks`."""

    async def test_a_task_whose_lease_ran_out_is_given_back_and_counts_a_retry(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await a_claimed_task(storage, retry_count=1)
        clock.advance(100)

        recovery = await storage.requeue_expired_tasks()

        assert recovery == Recovery(("task-1",), (), ())
        task = await stored(storage)
        assert task == a_task(
            retry_count=2,
            error=task.error,
            run_at=task.run_at,
            claim_count=1,
            past_claims=task.past_claims,
            updated_at=clock.now(),
            version=3,
        )
        assert task.error == "the lease of 'agent-1' ran out"
        assert (await claimed(storage, "agent-2")).claim_count == 2

    async def test_a_running_task_is_given_back_as_well(self, storage: Storage, clock: ManualClock) -> None:
        task = await a_claimed_task(storage)
        task.status = TaskStatus.RUNNING
        await storage.update_task(task)
        clock.advance(100)

        assert (await storage.requeue_expired_tasks()).requeued == ("task-1",)

    async def test_a_lease_that_has_not_run_out_stays(self, storage: Storage, clock: ManualClock) -> None:
        task = await a_claimed_task(storage)
        clock.advance(40)

        assert await storage.requeue_expired_tasks() == NOTHING
        assert await stored(storage) == task

    async def test_a_lease_that_was_extended_meanwhile_stays(self, storage: Storage, clock: ManualClock) -> None:
        task = await a_claimed_task(storage)
        clock.advance(50)
        await storage.extend_lease(task)
        clock.advance(30)

        assert await storage.requeue_expired_tasks() == NOTHING
        await storage.complete_task(task)

    async def test_a_claim_without_a_lease_holds_for_ever(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_task(a_task())
        await storage.claim_task("task-1", "agent-1")
        clock.advance(timedelta(days=1000))

        assert await storage.requeue_expired_tasks() == NOTHING

    async def test_a_finished_task_is_never_given_back(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_many([a_task(f"task-{number}", max_retries=0) for number in range(4)])
        tasks = await storage.claim_next_tasks("agent-1", limit=4)
        await storage.complete_task(tasks[0])
        await storage.fail_task(tasks[1], "no luck")
        await storage.cancel_task(tasks[2].id)
        await storage.release_task(tasks[3])
        before = await everything_in(storage)
        clock.advance(1000)

        assert await storage.requeue_expired_tasks() == NOTHING
        assert await everything_in(storage) == before

    async def test_without_a_retry_left_it_fails_for_good_with_that_reason(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await a_claimed_task(storage, retry_count=3, max_retries=3)
        await storage.store_task(a_task("next", dependencies=["task-1"]))
        clock.advance(100)

        recovery = await storage.requeue_expired_tasks()

        assert recovery == Recovery((), ("task-1",), ())
        task = await stored(storage)
        assert (task.status, task.error, task.retry_count) == (
            TaskStatus.FAILED,
            "the lease of 'agent-1' ran out",
            3,
        )
        assert (task.lease_expires_at, task.completed_at) == (None, clock.now())
        assert "'task-1' failed: the lease" in ((await stored(storage, "next")).error or "")

    async def test_a_task_whose_workers_always_die_ends(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_task(a_task(max_retries=2))
        fates: list[Recovery] = []

        for _ in range(3):
            await claimed(storage)
            clock.advance(100)
            fates.append(await storage.requeue_expired_tasks())

        assert await storage.claim_next_task("agent-1") is None
        assert fates == [Recovery(("task-1",), (), ())] * 2 + [Recovery((), ("task-1",), ())]

    async def test_when_many_give_back_at_once_each_task_is_given_back_once(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.store_many([a_task(f"back-{number}") for number in range(40)])
        await storage.store_many([a_task(f"over-{number}", max_retries=0) for number in range(10)])
        await storage.store_agent(an_agent(status=AgentStatus.BUSY, heartbeat=clock.now()))
        await storage.claim_next_tasks("agent-1", limit=50)
        clock.advance(1000)

        recoveries = await asyncio.gather(*(elsewhere(storage.requeue_expired_tasks()) for _ in range(8)))

        assert sorted(id for each in recoveries for id in each.requeued) == sorted(f"back-{n}" for n in range(40))
        assert sorted(id for each in recoveries for id in each.failed) == sorted(f"over-{n}" for n in range(10))
        assert [id for each in recoveries for id in each.lost_agents] == ["agent-1"]
        assert {(task.retry_count, task.version) for task in await storage.get_ready_tasks()} == {(1, 3)}

    async def test_more_than_a_batch_is_given_back_by_one_call(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_many([a_task(f"task-{number}") for number in range(1100)])
        await storage.claim_next_tasks("agent-1", limit=1100)
        clock.advance(100)

        recovery = await storage.requeue_expired_tasks()

        assert len(set(recovery.requeued)) == len(recovery.requeued) == 1100
        assert len(await storage.get_ready_tasks()) == 1100

    @pytest.mark.parametrize("bad", [1, 510])
    async def test_rows_that_cannot_be_written_do_not_stop_the_others_and_are_reported(
        self, storage: Storage, clock: ManualClock, bad: int
    ) -> None:
        await storage.store_many([a_task(f"{n:04}") for n in range(1100)])
        await storage.store_many([an_agent(f"a-{n}", status=AgentStatus.BUSY, heartbeat=clock.now()) for n in range(3)])
        await storage.claim_next_tasks("agent-1", limit=1100)
        clock.advance(1000)
        spoilt = {f"{n:04}" for n in range(bad)} | {"a-1"}
        engine = RefusingEngine(storage.engine, partial(_changes_one_of, spoilt))
        async with engine.storage() as refusing:
            with pytest.raises(DatabaseError, match="refused by the test") as raised:
                await refusing.requeue_expired_tasks()

        assert "lost_agents=('a-0', 'a-2')" in raised.value.__notes__[0]
        assert len(await storage.get_ready_tasks()) == 1100 - bad
        assert ids(await storage.list_agents_by_status("busy")) == ["a-1"]
        recovery = await storage.requeue_expired_tasks()
        assert {*recovery.requeued, *recovery.lost_agents} == spoilt

    async def test_either_the_holder_or_the_recovery_wins(self, storage: Storage, clock: ManualClock) -> None:
        for number in range(20):
            await storage.store_task(a_task(f"task-{number}"))
            task = await claimed(storage)
            clock.advance(100)

            completed, recovery = await asyncio.gather(
                elsewhere(storage.complete_task(task)),
                elsewhere(storage.requeue_expired_tasks()),
                return_exceptions=True,
            )

            assert isinstance(recovery, Recovery)
            assert isinstance(completed, LeaseLostError) == (recovery.requeued == (task.id,))
            await storage.repository(TaskModel).delete(task.id)

    async def test_giving_back_joins_the_transaction(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_many([a_task("back"), *(a_task(f"over-{n}", max_retries=0) for n in range(3))])
        await storage.store_tasks([a_task(f"next-{n}", dependencies=[f"over-{n}"]) for n in range(3)])
        await storage.claim_next_tasks("agent-1", limit=4)
        before = await everything_in(storage)
        clock.advance(100)

        transaction = await storage.begin_transaction()
        recovery = await storage.requeue_expired_tasks()
        within = ids(await storage.get_pending_tasks())
        await transaction.rollback()

        assert (recovery.requeued, sorted(recovery.failed)) == (("back",), ["over-0", "over-1", "over-2"])
        assert within == ["back"]
        assert await everything_in(storage) == before
        assert len((await storage.requeue_expired_tasks()).failed) == 3

    @pytest.mark.parametrize("status", ALIVE)
    async def test_an_agent_without_a_sign_of_life_is_marked(
        self, storage: Storage, clock: ManualClock, status: AgentStatus
    ) -> None:
        await storage.store_agent(an_agent(status=status, heartbeat=clock.now()))
        await storage.store_agent(an_agent("agent-2", heartbeat=clock.now()))
        clock.advance(250)
        await storage.heartbeat("agent-2")
        clock.advance(100)

        recovery = await storage.requeue_expired_tasks()

        assert recovery == Recovery((), (), ("agent-1",))
        agent = await storage.get_agent("agent-1")
        assert agent is not None
        assert (agent.status, agent.version, agent.updated_at) == (AgentStatus.ERROR, 2, clock.now())
        assert ids(await storage.list_agents_by_status("initializing")) == ["agent-2"]

    @pytest.mark.parametrize("status", [AgentStatus.ERROR, AgentStatus.SHUTDOWN])
    async def test_an_agent_that_is_over_already_stays_as_it_is(
        self, storage: Storage, clock: ManualClock, status: AgentStatus
    ) -> None:
        agent = an_agent(status=status, heartbeat=clock.now())
        await storage.store_agent(agent)
        clock.advance(10_000)

        assert await storage.requeue_expired_tasks() == NOTHING
        assert await storage.get_agent("agent-1") == agent

    @pytest.mark.parametrize("age", [3600, timedelta(hours=1), None])
    async def test_the_age_of_a_heartbeat_that_counts_can_be_chosen(
        self, storage: Storage, clock: ManualClock, age: float | timedelta | None
    ) -> None:
        await storage.store_agent(an_agent(heartbeat=clock.now()))

        clock.advance(3500)
        early = await storage.requeue_expired_tasks(heartbeat_timeout=age)
        clock.advance(3500)
        late = await storage.requeue_expired_tasks(heartbeat_timeout=age)

        assert (early.lost_agents, late.lost_agents) == ((), () if age is None else ("agent-1",))

    async def test_a_lost_agent_gives_back_what_it_holds_without_a_lease(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.store_agent(an_agent(status=AgentStatus.BUSY, heartbeat=clock.now()))
        await storage.store_many([a_task("over", max_retries=0), a_task("back"), a_task("leased"), a_task("other's")])
        await storage.store_task(a_task("next", dependencies=["over"]))
        for id in ("over", "back"):
            assert await storage.claim_task(id, "agent-1")
        assert await storage.claim_task("leased", "agent-1", lease=10_000)
        assert await storage.claim_task("other's", "agent-2")
        old = await stored(storage, "back")
        clock.advance(1000)

        recoveries = await asyncio.gather(*(elsewhere(storage.requeue_expired_tasks()) for _ in range(4)))

        assert [each for each in recoveries if each != NOTHING] == [Recovery(("back",), ("over",), ("agent-1",))]
        assert await statuses(storage, ["over", "back", "leased", "other's", "next"]) == [
            TaskStatus.FAILED,
            TaskStatus.PENDING,
            TaskStatus.ASSIGNED,
            TaskStatus.ASSIGNED,
            TaskStatus.FAILED,
        ]
        back = await stored(storage, "back")
        assert (back.assigned_to, back.retry_count, back.error) == (None, 1, "agent 'agent-1' gave no sign of life")
        with pytest.raises(LeaseLostError):
            await storage.complete_task(old, "too late")

    async def test_an_agent_with_a_sign_of_life_keeps_what_it_holds_without_a_lease(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.store_agent(an_agent(status=AgentStatus.BUSY, heartbeat=clock.now()))
        await storage.store_task(a_task())
        assert await storage.claim_task("task-1", "agent-1")
        clock.advance(1000)
        await storage.heartbeat("agent-1")

        assert await storage.requeue_expired_tasks() == NOTHING
        await storage.complete_task(await stored(storage))

    async def test_a_heartbeat_is_recorded(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_agent(an_agent(status=AgentStatus.BUSY, heartbeat=clock.now()))
        clock.advance(1000)

        await storage.heartbeat("agent-1")

        agent = await storage.get_agent("agent-1")
        assert agent is not None
        assert is_about(agent.heartbeat, clock.now())
        assert agent == an_agent(status=AgentStatus.BUSY, heartbeat=agent.heartbeat, updated_at=clock.now(), version=2)

    async def test_a_heartbeat_of_a_missing_agent_is_refused(self, storage: Storage) -> None:
        with pytest.raises(NotFoundError, match="agent 'agent-1'"):
            await storage.heartbeat("agent-1")

    async def test_deleting_an_agent_gives_its_claims_back_and_it_has_lost_them(self, storage: Storage) -> None:
        await storage.store_agent(an_agent())
        await storage.store_many([a_task("1"), a_task("2")])
        first, second = await storage.claim_next_tasks("agent-1", limit=2)
        await storage.complete_task(first)

        await storage.delete_agent("agent-1")

        with pytest.raises(LeaseLostError):
            await storage.complete_task(second)
        given_back = await claimed(storage, "agent-2")
        assert (given_back.id, given_back.claim_count, given_back.retry_count) == ("2", 2, 0)
        assert await stored(storage, "1") == first
