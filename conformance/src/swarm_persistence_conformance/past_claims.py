"""Facts about the claims of a task that have ended: which there are, how each ended, and who writes the list."""

from datetime import timedelta

import msgspec
import pytest

from swarm_persistence import (
    AgentStatus,
    ClaimOutcome,
    ConflictError,
    LeaseLostError,
    PastClaim,
    SerializationError,
    Storage,
    TaskModel,
    TaskStatus,
)
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.held_tasks import a_claimed_task, claimed, is_about, stored
from swarm_persistence_conformance.records import MOMENT, a_task, an_agent

Brief = tuple[int, str, ClaimOutcome, str | None]


def brief(task: TaskModel) -> list[Brief]:
    """Return the past claims of a task without their times."""
    return [(claim.number, claim.agent_id, claim.outcome, claim.error) for claim in task.past_claims]


@pytest.mark.asyncio
class TestPastClaims:
    """The contract of `TaskModel.past_claims`."""

    async def test_a_claim_that_holds_or_has_completed_its_task_is_none_of_them(self, storage: Storage) -> None:
        task = await a_claimed_task(storage)
        assert (await stored(storage)).past_claims == ()

        await storage.extend_lease(task, is_running=True)
        await storage.complete_task(task, 1)

        assert task.past_claims == (await stored(storage)).past_claims == ()

    async def test_each_retry_and_release_adds_its_claim_in_order(self, storage: Storage) -> None:
        await storage.fail_task(await a_claimed_task(storage), "no luck", retry_in=0)
        await storage.fail_task(await claimed(storage, "agent-2"), "no luck again", retry_in=0)
        task = await claimed(storage, "agent-3")
        await storage.release_task(task)

        expected: list[Brief] = [
            (1, "agent-1", ClaimOutcome.RETRIED, "no luck"),
            (2, "agent-2", ClaimOutcome.RETRIED, "no luck again"),
            (3, "agent-3", ClaimOutcome.RELEASED, None),
        ]
        assert brief(task) == expected
        assert await stored(storage) == task
        assert brief(await claimed(storage, "agent-4")) == expected

    async def test_it_says_from_when_to_when_the_agent_had_the_task(self, storage: Storage, clock: ManualClock) -> None:
        task = await a_claimed_task(storage)
        started_at = task.started_at
        clock.advance(7)

        await storage.release_task(task, retry_in=3600)

        (claim,) = task.past_claims
        assert started_at is not None
        assert claim.started_at == started_at
        assert is_about(claim.ended_at, clock.now())
        assert claim.ended_at >= started_at

    async def test_a_claim_by_id_that_never_ran_has_no_start(self, storage: Storage) -> None:
        await storage.store_task(a_task())
        await storage.claim_task("task-1", "agent-1")
        await storage.release_task(await stored(storage))

        assert [claim.started_at for claim in (await stored(storage)).past_claims] == [None]

    async def test_an_update_that_makes_a_task_pending_ends_its_claim_though_the_agent_stays(
        self, storage: Storage
    ) -> None:
        task = await a_claimed_task(storage)
        await storage.fail_task(task, "no hope", max_retries=0)
        task.status = TaskStatus.PENDING
        await storage.update_task(task)
        again = await claimed(storage, "agent-2")
        again.status = TaskStatus.PENDING
        await storage.update_task(again)

        expected: list[Brief] = [
            (1, "agent-1", ClaimOutcome.FAILED, "no hope"),
            (2, "agent-2", ClaimOutcome.RELEASED, None),
        ]
        assert brief(await claimed(storage, "agent-3")) == expected

    async def test_a_lease_that_expired_is_told_from_a_retry(self, storage: Storage, clock: ManualClock) -> None:
        former = await a_claimed_task(storage)
        clock.advance(100)
        await storage.requeue_expired_tasks()
        latter = await claimed(storage, "agent-2")

        expected: list[Brief] = [
            (1, "agent-1", ClaimOutcome.LEASE_EXPIRED, "the lease of 'agent-1' ran out"),
        ]
        assert brief(latter) == expected
        with pytest.raises(LeaseLostError):
            await storage.fail_task(former, "too late")
        assert brief(await stored(storage)) == expected
        assert (await stored(storage)).assigned_to == "agent-2"

    async def test_a_claim_of_an_agent_that_is_gone_ends_as_one(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_task(a_task())
        await storage.store_agent(an_agent(status=AgentStatus.ACTIVE, heartbeat=clock.now()))
        await storage.claim_task("task-1", "agent-1")
        clock.advance(1000)
        await storage.requeue_expired_tasks(heartbeat_timeout=60)
        await claimed(storage, "agent-2")
        await storage.release_tasks_of("agent-2")

        assert brief(await stored(storage)) == [
            (1, "agent-1", ClaimOutcome.AGENT_LOST, "agent 'agent-1' gave no sign of life"),
            (2, "agent-2", ClaimOutcome.AGENT_LOST, None),
        ]

    async def test_a_deleted_agent_has_released_its_tasks(self, storage: Storage) -> None:
        await storage.store_agent(an_agent())
        await a_claimed_task(storage)

        await storage.delete_agent("agent-1")

        assert brief(await stored(storage)) == [(1, "agent-1", ClaimOutcome.RELEASED, None)]

    @pytest.mark.parametrize("outcome", [ClaimOutcome.FAILED, ClaimOutcome.CANCELLED, ClaimOutcome.COMPLETED])
    async def test_what_ended_the_task_is_in_the_list_once_the_task_is_retried(
        self, storage: Storage, clock: ManualClock, outcome: ClaimOutcome
    ) -> None:
        task = await a_claimed_task(storage)
        if outcome is ClaimOutcome.FAILED:
            await storage.fail_task(task, "no luck", max_retries=0)
        elif outcome is ClaimOutcome.CANCELLED:
            await storage.cancel_task("task-1")
        else:
            await storage.complete_task(task, 1)
        ended = await stored(storage)
        assert ended.past_claims == ()
        clock.advance(100)

        again = await storage.retry_task("task-1")

        error = "no luck" if outcome is ClaimOutcome.FAILED else None
        assert brief(again) == [(1, "agent-1", outcome, error)]
        assert again.past_claims[0].ended_at == ended.completed_at
        assert await stored(storage) == again

    async def test_a_task_that_was_never_claimed_has_none_after_a_retry(self, storage: Storage) -> None:
        await storage.store_task(a_task())
        await storage.cancel_task("task-1")

        assert (await storage.retry_task("task-1")).past_claims == ()

    async def test_the_latest_hundred_are_kept(self, storage: Storage) -> None:
        past = tuple(
            PastClaim(number=n, agent_id="agent-1", ended_at=MOMENT, outcome=ClaimOutcome.RETRIED)
            for n in range(1, 100)
        )
        await storage.store_task(a_task(claim_count=99, past_claims=past))
        for _ in range(3):
            await storage.release_task(await claimed(storage, "agent-2"))

        task = await stored(storage)
        assert [claim.number for claim in task.past_claims] == [*range(3, 103)]
        await storage.cancel_task("task-1")
        await storage.retry_task("task-1")
        assert (await stored(storage)).past_claims == task.past_claims

    async def test_of_a_long_error_the_beginning_is_kept(self, storage: Storage) -> None:
        error = "é" * 600
        await storage.fail_task(await a_claimed_task(storage), error, retry_in=0)
        await storage.fail_task(await claimed(storage), error, max_retries=0)
        task = await storage.retry_task("task-1")

        assert [claim.error for claim in task.past_claims] == [error[:500]] * 2

    async def test_an_update_cannot_change_the_list(self, storage: Storage) -> None:
        task = await a_claimed_task(storage)
        await storage.release_task(task)
        past = task.past_claims
        made_up = PastClaim(number=7, agent_id="me", ended_at=MOMENT, outcome=ClaimOutcome.COMPLETED)

        task.past_claims = (made_up,)
        await storage.update_task(task)
        assert (await stored(storage)).past_claims == past
        task.past_claims = ()
        await storage.repository(TaskModel).save(task)
        assert (await stored(storage)).past_claims == past
        await storage.update_task(task, force=True)

        assert task.past_claims == (await stored(storage)).past_claims == past

    @pytest.mark.parametrize("way", ["update", "force", "save"])
    async def test_an_update_that_takes_the_task_from_its_agent_ends_the_claim(
        self, storage: Storage, way: str
    ) -> None:
        task = await a_claimed_task(storage)
        task.assigned_to, task.status = "agent-2", TaskStatus.RUNNING
        for agent_id in ("agent-2", None):
            task.assigned_to = agent_id
            if way == "save":
                await storage.repository(TaskModel).save(task)
            else:
                await storage.update_task(task, force=way == "force")

        assert brief(await stored(storage)) == [
            (1, "agent-1", ClaimOutcome.RELEASED, None),
            (1, "agent-2", ClaimOutcome.RELEASED, None),
        ]

    @pytest.mark.parametrize("way", ["in place", "another record"])
    async def test_modify_returns_the_claims_as_they_are_stored(self, storage: Storage, way: str) -> None:
        await a_claimed_task(storage)

        def freed(task: TaskModel) -> TaskModel | None:
            changed = task if way == "in place" else msgspec.structs.replace(task)
            changed.status, changed.assigned_to = TaskStatus.PENDING, None
            return None if changed is task else changed

        def forgotten(task: TaskModel) -> TaskModel | None:
            changed = task if way == "in place" else msgspec.structs.replace(task)
            changed.past_claims, changed.claim_count, changed.payload = (), 0, "another"
            return None if changed is task else changed

        ended = await storage.modify(TaskModel, "task-1", freed)
        assert ended == await stored(storage)
        changed = await storage.modify(TaskModel, "task-1", forgotten)

        assert changed == await stored(storage)
        assert changed.claim_count == 1
        assert brief(changed) == [(1, "agent-1", ClaimOutcome.RELEASED, None)]

    async def test_an_update_that_is_refused_adds_nothing(self, storage: Storage) -> None:
        stale = a_task()
        await storage.store_task(stale)
        await claimed(storage)

        with pytest.raises(ConflictError):
            await storage.update_task(stale)

        assert (await stored(storage)).past_claims == ()

    async def test_a_completed_task_that_an_update_opens_again_keeps_how_it_ended(self, storage: Storage) -> None:
        task = await a_claimed_task(storage)
        await storage.complete_task(task, 1)
        ended_at = task.completed_at
        task.status, task.assigned_to, task.completed_at = TaskStatus.PENDING, None, None
        await storage.update_task(task)

        again = await stored(storage)
        assert brief(again) == [(1, "agent-1", ClaimOutcome.COMPLETED, None)]
        assert again.past_claims[0].ended_at == ended_at

    async def test_a_rollback_takes_its_claims_back(self, storage: Storage) -> None:
        task = await a_claimed_task(storage)

        with pytest.raises(RuntimeError, match="at the last moment"):  # noqa: PT012 - the block is what must raise
            async with storage.transaction():
                await storage.release_task(task)
                assert len(task.past_claims) == 1
                raise RuntimeError("at the last moment")

        assert task == await stored(storage)
        assert task.past_claims == ()

    async def test_of_two_that_end_one_claim_only_one_adds_it(self, storage: Storage) -> None:
        task = await a_claimed_task(storage)
        copy = await stored(storage)

        await elsewhere(storage.release_task(task))
        with pytest.raises(LeaseLostError):
            await storage.fail_task(copy, "no luck")

        assert brief(await stored(storage)) == [(1, "agent-1", ClaimOutcome.RELEASED, None)]

    @pytest.mark.parametrize(
        ("past", "message"),
        [
            (None, r"task.past_claims is None, expected a tuple of at most 100 PastClaim"),
            (({},), r"task.past_claims\[0\] is {}, expected a PastClaim"),
            (
                (PastClaim(number=-1, agent_id="a", ended_at=MOMENT, outcome=ClaimOutcome.FAILED),),
                r"number is -1",
            ),
            (
                (PastClaim(number=1, agent_id="", ended_at=MOMENT, outcome=ClaimOutcome.FAILED),),
                r"agent_id is ''",
            ),
            ((PastClaim(number=1, agent_id="a", ended_at=MOMENT, outcome="lost"),), r"\[0\].outcome is 'lost'"),  # type: ignore[arg-type]
        ],
    )
    async def test_what_is_no_list_of_past_claims_is_refused(
        self, storage: Storage, past: tuple[PastClaim, ...], message: str
    ) -> None:
        with pytest.raises(SerializationError, match=message):
            await storage.store_task(a_task(past_claims=past))

        assert await storage.get_task("task-1") is None

    async def test_more_than_a_hundred_are_refused(self, storage: Storage) -> None:
        claim = PastClaim(number=1, agent_id="a", ended_at=MOMENT + timedelta(days=1), outcome=ClaimOutcome.FAILED)

        with pytest.raises(SerializationError, match="at most 100"):
            await storage.store_task(a_task(past_claims=(claim,) * 101))
