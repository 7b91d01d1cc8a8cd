"""Facts about cancelled callers: each call takes effect wholly or not at all, and the storage stays usable."""

import asyncio
from contextlib import suppress

import pytest

from swarm_persistence import ClosedError, ConflictError, Storage, TaskModel, TaskStatus, TransactionError
from swarm_persistence_conformance.callers import cancel_after, elsewhere, iterations_before_cancelling
from swarm_persistence_conformance.coordination_cases import COORDINATION_READS, COORDINATION_WRITES
from swarm_persistence_conformance.fixtures import OpenStorage
from swarm_persistence_conformance.held_tasks import statuses, stored
from swarm_persistence_conformance.records import a_task, an_event, ids
from swarm_persistence_conformance.verb_cases import READS, WRITES, store_two_in_a_block, two_tasks

# Claims have facts of their own, in `abandoned_claims`.
ALL_WRITES = {verb: trial for verb, trial in {**WRITES, **COORDINATION_WRITES}.items() if "claim" not in verb}
ALL_READS = {**READS, **{f"{verb} that finds nothing": read for verb, read in COORDINATION_READS.items()}}


@pytest.mark.asyncio
class TestCancellation:
    """A cancelled call takes effect wholly or not at all."""

    @pytest.mark.parametrize("verb", ALL_WRITES)
    async def test_a_cancelled_write_has_done_all_or_nothing_for_good(self, storage: Storage, verb: str) -> None:
        call, look, prepare = ALL_WRITES[verb]
        if prepare:
            await prepare(storage, "whole")
        nothing = await look(storage, "whole")
        await call(storage, "whole")
        everything = await look(storage, "whole")
        assert nothing != everything

        for turns in iterations_before_cancelling():
            name = f"after {turns}"
            if prepare:
                await prepare(storage, name)
            was_cancelled = await cancel_after(turns, call(storage, name))
            # A write that was in flight may still commit, before anything that is written later.
            await storage.store_task(a_task(f"probe {name}"))
            found = await look(storage, name)
            await storage.store_task(a_task(f"second probe {name}"))

            assert found in ((nothing, everything) if was_cancelled else (everything,))
            assert await look(storage, name) == found

    @pytest.mark.parametrize("verb", ALL_READS)
    async def test_a_cancelled_read_keeps_the_storage_usable(self, storage: Storage, verb: str) -> None:
        for turns in iterations_before_cancelling():
            await cancel_after(turns, ALL_READS[verb](storage))

        await storage.store_task(a_task())

        assert ids(await storage.get_pending_tasks()) == ["task-1"]

    async def test_a_cancelled_recovery_has_given_each_task_back_or_left_it(self, storage: Storage) -> None:
        for turns in iterations_before_cancelling():
            names = [f"{turns}-{number}" for number in range(3)]
            await storage.store_many([a_task(name, max_retries=number) for number, name in enumerate(names)])
            await storage.store_task(a_task(f"{turns} next", dependencies=names[:1]))
            for name in names:
                await storage.claim_task(name, "agent-1", lease=0.000001)
            await cancel_after(turns, storage.requeue_expired_tasks())
            await storage.store_event(an_event(str(turns)))

            first, *others = [await stored(storage, name) for name in names]
            following = await stored(storage, f"{turns} next")
            assert first.status in (TaskStatus.ASSIGNED, TaskStatus.FAILED)
            assert following.status is (TaskStatus.PENDING if first.status is TaskStatus.ASSIGNED else first.status)
            for task in others:
                assert (task.status, task.retry_count) in ((TaskStatus.ASSIGNED, 0), (TaskStatus.PENDING, 1))

            await storage.requeue_expired_tasks()
            assert await statuses(storage, names) == [TaskStatus.FAILED, TaskStatus.PENDING, TaskStatus.PENDING]

    @pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 10])
    async def test_a_cancelled_close_has_closed_or_not_begun(self, open_storage: OpenStorage, turns: int) -> None:
        async with open_storage() as storage:
            await storage.store_task(a_task())

            await cancel_after(turns, storage.close())

            if turns:
                with pytest.raises(ClosedError):
                    await storage.get_task("task-1")
            else:
                assert await storage.get_task("task-1") is not None
            await storage.close()
            with pytest.raises(ClosedError):
                await storage.get_task("task-1")

    async def test_one_cancelled_before_it_ran_has_done_nothing(self, storage: Storage) -> None:
        was_cancelled = await cancel_after(0, storage.store_task(a_task()))

        assert (was_cancelled, await storage.get_task("task-1")) == (True, None)

    @pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 10, 50])
    async def test_cancelling_some_callers_does_not_disturb_their_neighbours(
        self, storage: Storage, turns: int
    ) -> None:
        calls = [elsewhere(storage.store_task(a_task(str(number)))) for number in range(30)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for call in calls[::3]:
            call.cancel()

        outcomes = await asyncio.gather(*calls, return_exceptions=True)

        neighbours = [outcome for number, outcome in enumerate(outcomes) if number % 3]
        stored = set(ids(await storage.get_pending_tasks()))
        assert [type(outcome) for outcome in neighbours] == [TaskModel] * 20
        assert {outcome.id for outcome in outcomes if isinstance(outcome, TaskModel)} <= stored

    async def test_one_who_is_cancelled_waiting_to_write_keeps_no_one_else_from_it(self, storage: Storage) -> None:
        for turns in range(12):
            transaction = await storage.begin_transaction()
            await storage.store_task(a_task(f"holder {turns}"))
            was_cancelled = await cancel_after(turns, store_two_in_a_block(storage, f"waiting {turns}"))
            waiting = elsewhere(storage.store_task(a_task(f"neighbour {turns}")))
            await transaction.commit()
            await waiting

            assert was_cancelled
            assert await two_tasks(storage, f"waiting {turns}") == (None, None)
            assert await storage.get_task(f"neighbour {turns}") is not None

    async def test_a_cancelled_commit_has_committed_all_or_nothing(self, storage: Storage) -> None:
        for turns in iterations_before_cancelling():
            transaction = await storage.begin_transaction()
            await storage.store_many([a_task(f"{turns}-1"), a_task(f"{turns}-2")])
            ending = asyncio.ensure_future(transaction.commit())
            for _ in range(turns):
                await asyncio.sleep(0)
            ending.cancel()
            with suppress(asyncio.CancelledError):
                await ending
            if transaction.is_open:
                await transaction.rollback()

            # A commit that was in flight may still take effect, before anything that is written later.
            await elsewhere(storage.store_event(an_event(str(turns))))
            first, second = await elsewhere(two_tasks(storage, str(turns)))
            assert (first is None) == (second is None)

    async def test_a_cancelled_rollback_has_undone_everything(self, storage: Storage) -> None:
        for turns in iterations_before_cancelling():
            transaction = await storage.begin_transaction()
            await storage.store_task(a_task())
            ending = asyncio.ensure_future(transaction.rollback())
            for _ in range(turns):
                await asyncio.sleep(0)
            ending.cancel()
            with suppress(asyncio.CancelledError):
                await ending
            if transaction.is_open:
                await transaction.rollback()

            assert await elsewhere(storage.get_task("task-1")) is None

    async def test_a_cancellation_that_the_caller_absorbs_does_not_lead_to_a_commit(self, storage: Storage) -> None:
        absorbed: set[int] = set()

        async def absorb(turns: int) -> None:
            async with storage.transaction():
                await storage.store_task(a_task(f"{turns}-1"))
                try:
                    await storage.store_task(a_task(f"{turns}-2"))
                except asyncio.CancelledError:
                    absorbed.add(turns)

        for turns in range(0, 300, 5):
            refusal = ""
            try:
                await cancel_after(turns, absorb(turns))
            except TransactionError as error:
                refusal = str(error)

            assert ("CancelledError" in refusal) == (turns in absorbed)
            assert turns not in absorbed or await two_tasks(storage, str(turns)) == (None, None)

    async def test_a_cancellation_absorbed_between_the_calls_does_not_lead_to_a_commit(self, storage: Storage) -> None:
        has_stored, never = asyncio.Event(), asyncio.Event()

        async def absorb() -> None:
            async with storage.transaction():
                await storage.store_task(a_task())
                has_stored.set()
                with suppress(asyncio.CancelledError):
                    await never.wait()

        absorbing = elsewhere(absorb())
        await has_stored.wait()
        absorbing.cancel()

        with pytest.raises(TransactionError, match="cancelled"):
            await absorbing
        assert await storage.get_task("task-1") is None

    async def test_a_timeout_that_ends_within_a_transaction_does_not_doom_it(self, storage: Storage) -> None:
        never = asyncio.Event()

        async with storage.transaction():
            await storage.store_task(a_task())
            with suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await never.wait()

        assert await storage.get_task("task-1") is not None

    async def test_a_read_that_is_cancelled_within_a_nested_one_is_forgotten(self, storage: Storage) -> None:
        await storage.store_many([a_task("asked for"), a_task("known", payload="first")])

        for turns in (0, 1, 2, 3, 5, 10, 20):
            async with storage.transaction():
                with suppress(asyncio.CancelledError):
                    async with storage.transaction():
                        reading = asyncio.ensure_future(storage.get_task("asked for"))
                        for _ in range(turns):
                            await asyncio.sleep(0)
                        reading.cancel()
                        await reading
                found = await storage.get_task("known")
                with suppress(ConflictError):
                    async with storage.transaction():
                        await storage.store_task(a_task("known", payload="second"))

            assert found is not None
            assert found.payload == "first"
        stored = [(task.id, task.payload) for task in await storage.get_pending_tasks()]
        assert stored == [("asked for", None), ("known", "first")]

    async def test_a_timeout_around_a_transaction_leaves_all_or_nothing(self, storage: Storage) -> None:
        never = asyncio.Event()

        with pytest.raises(TimeoutError):  # noqa: PT012 - the block is what must raise
            async with asyncio.timeout(None) as limit, storage.transaction():
                await storage.store_task(a_task("1"))
                limit.reschedule(0)
                await never.wait()
        await storage.store_task(a_task("2"))

        assert ids(await storage.get_pending_tasks()) == ["2"]
