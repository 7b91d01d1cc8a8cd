"""Facts about progress and about tasks that a person decides."""

import pytest

from swarm_persistence import ConflictError, InvalidQueryError, LeaseLostError, NotFoundError, Storage, TaskStatus
from swarm_persistence_conformance.held_tasks import a_claimed_task, stored
from swarm_persistence_conformance.records import a_task


@pytest.mark.asyncio
class TestProgress:
    """The contract of `report_progress`."""

    async def test_the_progress_of_a_claimed_task_is_stored(self, storage: Storage) -> None:
        task = await a_claimed_task(storage)

        await storage.report_progress(task, 0.4, "2 of 5")

        assert (task.progress, task.progress_text) == (0.4, "2 of 5")
        assert await stored(storage, task.id) == task

    async def test_a_lost_claim_writes_none(self, storage: Storage) -> None:
        task = await a_claimed_task(storage)
        await storage.cancel_task(task.id)

        with pytest.raises(LeaseLostError):
            await storage.report_progress(task, 0.4)

        assert (await stored(storage, task.id)).progress is None

    @pytest.mark.parametrize("progress", [-0.1, 1.1, float("nan"), "0.5", True, None])
    async def test_what_is_no_part_of_one_is_refused(self, storage: Storage, progress: float) -> None:
        task = await a_claimed_task(storage)

        with pytest.raises(InvalidQueryError, match="progress is"):
            await storage.report_progress(task, progress)

    async def test_it_is_cleared_when_the_task_is_given_back_and_stays_when_it_ends(self, storage: Storage) -> None:
        task = await a_claimed_task(storage)
        await storage.report_progress(task, 0.4, "2 of 5")
        await storage.release_task(task)
        assert (task.progress, task.progress_text) == (None, None)

        claimed = await storage.claim_next_task("agent-1")
        assert claimed is not None
        await storage.report_progress(claimed, 1)
        await storage.complete_task(claimed)

        assert (await stored(storage, task.id)).progress == 1.0
        assert (await storage.retry_task(task.id)).progress is None


@pytest.mark.asyncio
class TestApprovals:
    """The contract of `approve_task` and `reject_task`."""

    async def test_an_approved_task_is_completed_and_frees_its_dependents(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("release?"), a_task("release", dependencies=["release?"])])

        task = await storage.approve_task("release?", "alice", "looks fine")

        assert task == await stored(storage, "release?")
        assert (task.status, task.assigned_to) == (TaskStatus.COMPLETED, "alice")
        assert task.result == {"approved": True, "by": "alice", "comment": "looks fine"}
        claimed = await storage.claim_next_task("agent-1")
        assert claimed is not None
        assert claimed.id == "release"

    async def test_a_rejected_task_has_failed_and_its_dependents_with_it(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("release?"), a_task("release", dependencies=["release?"])])

        task = await storage.reject_task("release?", "alice", "too early")

        assert task == await stored(storage, "release?")
        assert (task.status, task.assigned_to) == (TaskStatus.FAILED, "alice")
        assert task.error == "rejected by alice: too early"
        dependent = await stored(storage, "release")
        assert dependent.status is TaskStatus.FAILED
        assert "rejected by alice: too early" in (dependent.error or "")

    async def test_only_the_first_decision_counts(self, storage: Storage) -> None:
        await storage.store_task(a_task("release?"))
        await storage.approve_task("release?", "alice")

        with pytest.raises(ConflictError, match="is completed; only a pending task"):
            await storage.reject_task("release?", "bob")

        assert (await stored(storage, "release?")).assigned_to == "alice"

    async def test_what_waits_for_its_dependencies_is_not_decided_yet(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("draft"), a_task("publish?", dependencies=["draft"])])

        with pytest.raises(ConflictError, match="waits for its dependencies"):
            await storage.approve_task("publish?", "alice")

        assert (await stored(storage, "publish?")).status is TaskStatus.PENDING

    async def test_an_unknown_task_is_not_decided(self, storage: Storage) -> None:
        with pytest.raises(NotFoundError, match="task 'none'"):
            await storage.approve_task("none", "alice")

    async def test_a_limit_of_its_type_hinders_no_decision(self, storage: Storage) -> None:
        await storage.set_limit("approval", running=0, starts=1, per=60)
        for name in ("first?", "second?"):
            await storage.store_task(a_task(name, task_type="approval"))
            assert (await storage.approve_task(name, "alice")).status is TaskStatus.COMPLETED
