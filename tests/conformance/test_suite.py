"""Tests the suite itself: that it is complete, easy to run, and that a storage with a defect does not pass it."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

import swarm_persistence_conformance as conformance
from swarm_persistence.backends.memory import MemoryStorage
from swarm_persistence.errors import ConflictError, StorageError
from swarm_persistence.models import AgentModel, EventModel, MessageModel, Model, TaskModel, TaskStatus
from swarm_persistence.schema.tables import table_of
from swarm_persistence.storage import Storage, Transaction
from swarm_persistence.storage.recovery import Recovery
from swarm_persistence.storage.rewriting import update
from swarm_persistence_conformance import FACTS
from swarm_persistence_conformance.agreement import open_memory
from swarm_persistence_conformance.fixtures import OpenStorage

SUITE = Path(conformance.__file__).parent


async def failures_of(open_storage: OpenStorage, facts: str) -> set[str]:
    """Return the names of the facts that do not hold for a storage."""
    outcomes = [outcome async for outcome in conformance.run_suite(open_storage, [FACTS[facts]])]
    return {outcome.name.partition("[")[0].partition(".")[2] for outcome in outcomes if outcome.error is not None}


def opening(storage: Callable[[], Storage]) -> OpenStorage:
    """Return the way to a fresh storage of a class."""

    @asynccontextmanager
    async def open_storage() -> AsyncIterator[Storage]:
        async with storage() as opened:
            yield opened

    return open_storage


def test_every_class_of_facts_in_the_source_is_collected() -> None:
    sources = [module.read_text() for module in SUITE.glob("*.py")]

    assert sorted(conformance.FACTS) == sorted(re.findall(r"^class (Test\w+)", "\n".join(sources), re.M))


def test_a_star_import_brings_every_class_of_facts() -> None:
    namespace: dict[str, object] = {}
    exec("from swarm_persistence_conformance import *", namespace)

    assert {name for name in namespace if name.startswith("Test")} == FACTS.keys()


def test_pytest_explains_the_asserts_of_every_fact() -> None:
    modules = {sys.modules[facts.__module__] for facts in FACTS.values()}

    assert [module.__name__ for module in modules if "@pytest_ar" not in vars(module)] == []


def test_every_fact_of_the_core_is_a_coroutine() -> None:
    tests = [getattr(cls, name) for cls in conformance.CORE for name in vars(cls) if name.startswith("test_")]

    assert [test for test in tests if not test.__code__.co_flags & 0x80] == []


async def test_the_runner_finds_what_pytest_finds() -> None:
    names = [outcome.name async for outcome in conformance.run_suite(open_memory, [FACTS["TestClaims"]])]

    assert "TestClaims.test_a_pending_task_is_claimed" in names
    assert len([name for name in names if "test_a_task_that_is_not_pending_is_not_claimed[status=" in name]) == 5
    assert len(names) == len(set(names)) == 18


@pytest.mark.parametrize("facts", conformance.CORE)
async def test_the_runner_sees_every_fact_hold_for_a_sound_storage(facts: type) -> None:
    assert await failures_of(open_memory, facts.__name__) == set()


def test_the_package_itself_needs_neither_pytest_nor_hypothesis() -> None:
    script = "import sys, swarm_persistence; assert not {'pytest', 'hypothesis', 'pytest_asyncio'} & set(sys.modules)"

    subprocess.run([sys.executable, "-c", script], check=True)


class ClaimsTwice(MemoryStorage):
    """Claims by reading and writing, which is not a claim."""

    async def claim_task(self, task_id: str, agent_id: str, *, lease: object = None) -> bool:
        task = await self.get_task(task_id)
        if task is None or task.status is not TaskStatus.PENDING:
            return False
        await asyncio.sleep(0)  # every other caller goes first
        task.status, task.assigned_to = TaskStatus.ASSIGNED, agent_id
        await self.update_task(task, force=True)
        return True


class Shares(MemoryStorage):
    """Returns the same object to every caller."""

    def __init__(self) -> None:
        super().__init__()
        self._shared: dict[str, AgentModel | None] = {}

    async def get_agent(self, id: str) -> AgentModel | None:
        return self._shared.setdefault(id, await super().get_agent(id))


class Replaces(MemoryStorage):
    """Overwrites a known id."""

    async def store_task(self, task: TaskModel) -> TaskModel:
        try:
            return await super().store_task(task)
        except ConflictError:
            await super().update_task(task, force=True)
            return task


class StoresOneByOne(MemoryStorage):
    """Stores a batch in many writes."""

    async def store_many(self, models: Any) -> int:
        records: list[Model] = list(models)
        for record in records:
            await super().store_many([record])
        return len(records)


class ShufflesTies(MemoryStorage):
    """Sorts by id where time ties."""

    async def get_pending_tasks(self) -> list[TaskModel]:
        return sorted(
            await super().get_pending_tasks(), key=lambda task: (-task.priority.rank, task.created_at, task.id)
        )


class ForgetsSequences(MemoryStorage):
    """Does not tell an event its sequence."""

    async def store_event(self, event: EventModel) -> EventModel:
        await super().store_event(event)
        event.sequence = None
        return event


class HasADecoy(MemoryStorage):
    """Has transactions that are connected with nothing."""

    def begin_transaction(self) -> Coroutine[Any, Any, Transaction]:
        return MemoryStorage().begin_transaction()


class SwallowsErrors(MemoryStorage):
    """Reports a success that was not stored."""

    async def update_agent(self, agent: AgentModel, *, force: bool = False) -> None:
        try:
            await super().update_agent(agent, force=force)
        except StorageError:
            return


class ForgetsTheToken(MemoryStorage):
    """Lets a caller that has lost its claim complete the task."""

    async def complete_task(self, task: TaskModel, result: Any = None) -> None:
        task.status, task.result = TaskStatus.COMPLETED, result
        await self.update_task(task, force=True)


class TakesTheOldest(MemoryStorage):
    """Gives out tasks by their age alone."""

    async def claim_next_task(self, agent_id: str, **options: Any) -> TaskModel | None:
        ready = await self.get_ready_tasks()
        for task in sorted(ready, key=lambda task: task.created_at):
            if await self.claim_task(task.id, agent_id, lease=options.get("lease", 60)):
                return await self.get_task(task.id)
        return None


class GivesBackWhatIsHeld(MemoryStorage):
    """Gives back tasks whatever their leases say."""

    async def requeue_expired_tasks(self, *, heartbeat_timeout: Any = 300.0) -> Recovery:
        held = [task for task in await self.repository(TaskModel).find_all() if task.lease_expires_at]
        for task in held:
            await self.release_task(task)
        return Recovery(tuple(task.id for task in held), (), ())


class SweepsByTime(MemoryStorage):
    """Marks messages by their timestamps."""

    async def mark_messages_read(self, agent_id: str, *, up_to: MessageModel) -> int:
        unread = await self.get_unread_messages(agent_id)
        swept = [message.id for message in unread if message.timestamp <= up_to.timestamp]
        for id in swept:
            await self.mark_message_read(id)
        return len(swept)


class ModifiesBlindly(MemoryStorage):
    """Writes what it has read, regardless of writes since."""

    async def modify(self, model: Any, id: str, function: Any) -> Any:
        record = await self._get(table_of(model), id)
        await asyncio.sleep(0)  # every other caller reads as well
        function(record)
        await update(self, table_of(model), record, True)
        return record


class AppendsAnywhere(MemoryStorage):
    """Looks where the log ends before it writes, and not again."""

    async def append_events(self, events: Any, *, expected_sequence: int | None = None) -> int:
        log = await self.read_events()
        await asyncio.sleep(0)  # every other caller looks as well
        if expected_sequence is not None and expected_sequence != (log[-1].sequence if log else 0):
            raise ConflictError("the log ended elsewhere")
        return await super().append_events(events)


class ForgetsKeys(MemoryStorage):
    """Takes every key for a new one."""

    async def store_event(self, event: EventModel) -> EventModel:
        event.idempotency_key = None
        return await super().store_event(event)


@pytest.mark.parametrize(
    ("storage", "facts", "broken"),
    [
        (ForgetsTheToken, "TestLostClaims", "test_a_claim_that_is_over_is_refused_and_nothing_changes"),
        (TakesTheOldest, "TestNextClaims", "test_the_clock_of_the_one_that_stores_a_task_does_not_decide_its_turn"),
        (GivesBackWhatIsHeld, "TestRecovery", "test_a_lease_that_has_not_run_out_stays"),
        (SweepsByTime, "TestMessageMarks", "test_what_arrived_later_stays_unread_regardless_of_its_timestamp"),
        (ModifiesBlindly, "TestVersions", "test_modify_under_contention_loses_nothing"),
        (AppendsAnywhere, "TestEventLog", "test_of_many_that_append_at_one_place_exactly_one_wins"),
        (ForgetsKeys, "TestIdempotency", "test_the_same_key_again_gives_the_stored_one"),
        (ClaimsTwice, "TestConcurrency", "test_of_a_hundred_claims_of_one_task_exactly_one_wins"),
        (ClaimsTwice, "TestConcurrency", "test_two_agents_never_claim_the_same_task"),
        (Shares, "TestCopies", "test_two_reads_give_two_objects"),
        (Replaces, "TestTasks", "test_a_refused_duplicate_leaves_the_stored_task_as_it_is"),
        (StoresOneByOne, "TestBatches", "test_a_known_id_refuses_the_whole_batch"),
        (ShufflesTies, "TestTasks", "test_pending_tasks_come_by_priority_then_by_arrival"),
        (ForgetsSequences, "TestEvents", "test_the_sequence_rises_with_every_event"),
        (HasADecoy, "TestTransactions", "test_a_block_rolls_back_on_an_exception"),
        (HasADecoy, "TestVisibility", "test_others_see_committed_data_only"),
        (SwallowsErrors, "TestAgents", "test_a_copy_that_is_out_of_date_is_refused"),
    ],
)
async def test_a_storage_with_a_defect_does_not_pass(storage: type[MemoryStorage], facts: str, broken: str) -> None:
    assert broken in await failures_of(opening(storage), facts)


@pytest.fixture
def unshrunk() -> Iterator[None]:
    """Let Hypothesis do the same each time, and stop at the first failure instead of looking for the smallest."""
    settings.register_profile("unshrunk", phases=[Phase.generate], derandomize=True)
    settings.load_profile("unshrunk")
    yield
    settings.load_profile("default")


@pytest.mark.usefixtures("unshrunk")
@pytest.mark.parametrize("storage", [Replaces, HasADecoy])
def test_random_operations_find_a_storage_with_a_defect(storage: type[MemoryStorage]) -> None:
    with pytest.raises(AssertionError):
        conformance.assert_storages_agree(open_memory, opening(storage), examples=200)


class ForgetsWhoHolds(MemoryStorage):
    """Lets any caller complete a held task."""

    async def complete_task(self, task: TaskModel, result: Any = None) -> None:
        stored = await self.get_task(task.id)
        if stored is not None:
            task.assigned_to, task.claim_count = stored.assigned_to, stored.claim_count
        await super().complete_task(task, result)


class TakesAnyType(MemoryStorage):
    """Gives out the next task, whatever its type."""

    async def claim_next_tasks(self, agent_id: str, **arguments: Any) -> list[TaskModel]:
        return await super().claim_next_tasks(agent_id, **{**arguments, "task_types": None, "capabilities": None})


@pytest.mark.usefixtures("unshrunk")
@pytest.mark.parametrize("storage", [Replaces, HasADecoy, ForgetsWhoHolds, TakesAnyType])
def test_random_verbs_of_tasks_find_a_storage_with_a_defect(storage: type[MemoryStorage]) -> None:
    with pytest.raises(AssertionError):
        conformance.assert_tasks_match_model(opening(storage), examples=400)


class SkipsTheFirst(MemoryStorage):
    """Answers queries with one record less."""

    def repository(self, model: type[Any]) -> Any:
        repository = super().repository(model)
        query = repository.query

        async def shortened(builder: Any) -> list[Any]:
            return (await query(builder))[1:]

        repository.query = shortened  # type: ignore[method-assign]
        return repository


@pytest.mark.usefixtures("unshrunk")
def test_random_queries_find_a_storage_with_a_defect() -> None:
    with pytest.raises(AssertionError, match="QueryBuilder"):
        conformance.assert_queries_agree(open_memory, opening(SkipsTheFirst))
