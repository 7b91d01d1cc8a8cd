"""Facts about claims whose caller was cancelled: the task is ready again, and no retry was counted."""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from swarm_persistence import Storage, TaskModel, TaskStatus
from swarm_persistence.engines.steps import Step, Update
from swarm_persistence_conformance.callers import cancel_after, elsewhere, iterations_before_cancelling
from swarm_persistence_conformance.held_tasks import claimed, stored
from swarm_persistence_conformance.interfering_engines import ForgetfulEngine
from swarm_persistence_conformance.records import a_task, an_event, ids
from swarm_persistence_conformance.waiting import LIMIT_SECONDS

Claim = Callable[[Storage, str], Coroutine[Any, Any, Any]]


async def claim_next_of(storage: Storage, id: str) -> TaskModel | None:
    """Claim the next task of the type that equals this id."""
    return await storage.claim_next_task("agent-1", task_types=[id])


async def wait_for_next_of(storage: Storage, id: str) -> TaskModel | None:
    """Wait for the task within `asyncio.wait_for`, as a caller with a timeout of its own does."""
    return await asyncio.wait_for(storage.claim_next_task("agent-1", task_types=[id], wait=60), 60)


async def complete_and_claim_next_of(storage: Storage, id: str) -> Any:
    """Try to complete a task that is not stored, and claim the next one."""
    gone = a_task("gone", status=TaskStatus.ASSIGNED, assigned_to="agent-1", claim_count=1)
    return await storage.complete_and_claim([(gone, None)], "agent-1", limit=2, task_types=[id])


CLAIMS: dict[str, Claim] = {
    "claim_task": lambda storage, id: storage.claim_task(id, "agent-1"),
    "claim_task with a lease": lambda storage, id: storage.claim_task(id, "agent-1", lease=600),
    "claim_next_task": claim_next_of,
    "claim_next_task with wait": wait_for_next_of,
    "claim_next_tasks": lambda storage, id: storage.claim_next_tasks("agent-1", limit=2, task_types=[id]),
    "complete_and_claim": complete_and_claim_next_of,
}


async def cancelled_after_seconds(seconds: float, call: Coroutine[Any, Any, Any]) -> bool:
    """Start a call as another caller, cancel it after a while, and return whether it was cancelled."""
    task = elsewhere(call)
    await asyncio.wait((task,), timeout=seconds)
    task.cancel()
    await asyncio.wait((task,))
    return task.cancelled()


async def until_assigned(storage: Storage, expected: set[str]) -> None:
    """Wait until the agent holds exactly these tasks."""
    # A claim that was in flight when its caller was cancelled commits before anything that is written later.
    await storage.store_event(an_event(str(uuid4())))
    held: set[str] = set()
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            async for _ in storage.watch_tasks():
                held = set(ids(await storage.get_tasks_by_agent("agent-1")))
                if held == expected:
                    return
    except TimeoutError:
        raise AssertionError(f"held: {sorted(held)}; expected: {sorted(expected)}") from None


@contextmanager
def logged() -> Iterator[list[str]]:
    """Yield the list of messages that are logged within the block."""
    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    listener = Listener()
    logger = logging.getLogger("swarm_persistence")
    logger.addHandler(listener)
    try:
        yield messages
    finally:
        logger.removeHandler(listener)


@pytest.mark.asyncio
class TestAbandonedClaims:
    """A claim whose caller never receives the result is released."""

    @pytest.mark.parametrize("verb", CLAIMS)
    async def test_a_task_is_held_only_by_a_caller_that_learns_of_it(self, storage: Storage, verb: str) -> None:
        owned: set[str] = set()
        names: list[str] = []
        dice = random.Random(7)

        for turns in iterations_before_cancelling():
            names.append(f"{verb} after {turns} turns")
            await storage.store_task(a_task(names[-1], task_type=names[-1]))
            if not await cancel_after(turns, CLAIMS[verb](storage, names[-1])):
                owned.add(names[-1])
        for number in range(60):
            names.append(f"{verb} number {number}")
            await storage.store_task(a_task(names[-1], task_type=names[-1]))
            if not await cancelled_after_seconds(dice.uniform(0, 0.003), CLAIMS[verb](storage, names[-1])):
                owned.add(names[-1])

        await until_assigned(storage, owned)
        for name in names:
            task = await stored(storage, name)
            assert (task.status is TaskStatus.ASSIGNED, task.retry_count) == (name in owned, 0)

    async def test_it_can_be_claimed_again_by_another_agent(self, storage: Storage) -> None:
        await storage.store_task(a_task())
        for turns in iterations_before_cancelling():
            if not await cancel_after(turns, storage.claim_task("task-1", "agent-1")):
                await storage.release_task(await stored(storage))
            task = await claimed(storage, "agent-2", wait=LIMIT_SECONDS)
            await storage.release_task(task)
        assert (await stored(storage)).retry_count == 0

    async def test_many_that_poll_and_give_up_use_up_no_retry(self, storage: Storage) -> None:
        await storage.store_tasks([a_task(f"task-{number}", max_retries=0) for number in range(10)])
        owned: set[str] = set()

        async def poll(seconds: float) -> None:
            try:
                async with asyncio.timeout(seconds):
                    task = await storage.claim_next_task("agent-1", wait=10)
            except TimeoutError:
                return
            assert task is not None
            owned.add(task.id)

        dice = random.Random(7)
        longest_seconds = 0.01
        while len(owned) < 10:
            # Pyodide's event loop refuses a time that has passed before it is scheduled.
            await asyncio.gather(*(poll(dice.uniform(0.001, longest_seconds)) for _ in range(5)))
            longest_seconds *= 1.1  # on a busy machine, no claim may end so soon

        await until_assigned(storage, owned)
        tasks = [await stored(storage, f"task-{number}") for number in range(10)]
        assert {(task.status, task.retry_count) for task in tasks} == {(TaskStatus.ASSIGNED, 0)}

    @pytest.mark.parametrize("depth", [1, 2])
    @pytest.mark.parametrize("verb", [verb for verb in CLAIMS if "wait" not in verb])
    async def test_one_of_a_transaction_is_held_only_by_a_caller_that_learns_of_its_commit(
        self, storage: Storage, verb: str, depth: int
    ) -> None:
        async def claim_in_blocks(name: str, depth: int) -> None:
            async with storage.transaction():
                await (claim_in_blocks(name, depth - 1) if depth else CLAIMS[verb](storage, name))

        owned: set[str] = set()
        names = [f"after {turns} turns" for turns in iterations_before_cancelling()]
        for name, turns in zip(names, iterations_before_cancelling(), strict=True):
            await storage.store_task(a_task(name, task_type=name))
            if not await cancel_after(turns, claim_in_blocks(name, depth - 1)):
                owned.add(name)

        await until_assigned(storage, owned)
        assert {(await stored(storage, name)).retry_count for name in names} == {0}

    async def test_a_commit_that_is_cancelled_on_its_way_keeps_no_claim(self, storage: Storage) -> None:
        owned: set[str] = set()
        for number in range(20):
            await storage.store_task(a_task(str(number)))
            transaction = await storage.begin_transaction()
            await storage.claim_task(str(number), "agent-1")
            commit = asyncio.ensure_future(transaction.commit())
            await asyncio.sleep(0)
            commit.cancel()
            await asyncio.wait((commit,))
            if not commit.cancelled():
                owned.add(str(number))

        await until_assigned(storage, owned)

    async def test_a_release_that_fails_is_repeated(self, storage: Storage) -> None:
        refusals = 2

        def is_refused(step: Step) -> bool:
            nonlocal refusals
            if refusals and isinstance(step, Update) and step.changes.get("status") == "pending":
                refusals -= 1
                return True
            return False

        await storage.store_task(a_task())
        engine = ForgetfulEngine(storage.engine, is_refused)
        async with engine.storage() as forgetful:
            await claimed(forgetful)
            with logged() as messages:
                engine.abandon_deliveries()
                await until_assigned(storage, set())

        assert (refusals, (await stored(storage)).retry_count) == (0, 0)
        expected = "'task-1' were claimed by a call that was cancelled, and cannot be released yet"
        assert [expected in message for message in messages] == [True, True]

    async def test_a_release_that_comes_too_late_changes_nothing(self, storage: Storage) -> None:
        await storage.store_task(a_task())
        engine = ForgetfulEngine(storage.engine)
        async with engine.storage() as forgetful:
            await claimed(forgetful)
            await storage.release_task(await stored(storage))
            again = await claimed(storage)

            engine.abandon_deliveries()

        assert await stored(storage) == again

    async def test_the_claim_of_a_known_task_is_released_despite_other_changes(self, storage: Storage) -> None:
        await storage.store_task(a_task())
        engine = ForgetfulEngine(storage.engine)
        async with engine.storage() as forgetful:
            assert await forgetful.claim_task("task-1", "agent-1")
            await storage.extend_lease(await stored(storage))

            engine.abandon_deliveries()

        assert (await stored(storage)).status is TaskStatus.PENDING
