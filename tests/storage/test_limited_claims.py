"""A claim under limits locks them before it reads what they count, and reads them once."""

from collections.abc import Awaitable, Sequence
from typing import Any, cast

import pytest

from swarm_persistence import MemoryStorage, Storage
from swarm_persistence.engines.interface import Engine, Session
from swarm_persistence.engines.reads import Read, Select
from swarm_persistence.engines.steps import LockRows, Step
from swarm_persistence.schema.tables import TASK_LIMITS
from swarm_persistence.storage import limits
from swarm_persistence_conformance.interfering_engines import InterferingEngine
from swarm_persistence_conformance.records import a_task


class _RecordedSession:
    """Notes which limits a transaction locks, and when it reads them."""

    def __init__(self, session: Session, notes: list[tuple[str, ...] | str]) -> None:
        self._session = session
        self._notes = notes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def read(self, read: Read[Any]) -> Awaitable[Any]:
        if isinstance(read, Select) and read.query.table is TASK_LIMITS:
            self._notes.append("read")
        return self._session.read(read)

    def write(self, steps: Sequence[Step]) -> Awaitable[list[Any]]:
        self._notes += [step.exclusive for step in steps if isinstance(step, LockRows) and step.table is TASK_LIMITS]
        return self._session.write(steps)


class _RecordingEngine(InterferingEngine):
    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.notes: list[tuple[str, ...] | str] = []

    async def begin(self) -> Session:
        return cast(Session, _RecordedSession(await self._engine.begin(), self.notes))


async def test_a_claim_locks_the_limits_that_the_last_one_has_met_and_reads_them_once() -> None:
    async with MemoryStorage() as memory:
        engine = _RecordingEngine(memory.engine)
        storage = engine.storage()
        await storage.set_limit("work", running=5)
        await storage.store_tasks([a_task(f"t{number}", task_type="work") for number in range(3)])

        await storage.claim_next_task("agent-1")
        assert engine.notes == ["read", ("work",), "read"]
        engine.notes.clear()
        await storage.claim_next_task("agent-1")
        await storage.claim_next_task("agent-1", task_types=["work"])

        assert engine.notes == [("work",), "read"] * 2
        await storage.close()


async def test_a_claim_locks_a_limit_that_was_set_since_the_last_one() -> None:
    async with MemoryStorage() as memory:
        engine = _RecordingEngine(memory.engine)
        storage = engine.storage()
        await storage.set_limit("work", running=5)
        await storage.store_tasks([a_task(f"t{number}", task_type="work") for number in range(3)])
        await storage.claim_next_task("agent-1")
        await memory.set_limit("other", running=0)
        await memory.store_task(a_task("kept", task_type="other"))
        engine.notes.clear()

        assert await storage.claim_next_task("agent-1") is not None
        assert engine.notes == [("work",), "read", ("other", "work"), "read"]
        assert await storage.claim_next_task("agent-1", task_types=["other"]) is None
        await storage.close()


@pytest.mark.parametrize("held", [9, 10, 11, 50])
async def test_a_limit_counts_all_tasks_that_are_held_already_however_few_one_write_counts(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr(limits, "_MOST_IDS", 10)
    await storage.store_tasks([a_task(f"t{number}", task_type="work") for number in range(held + 2)])
    assert len(await storage.claim_next_tasks("agent-1", limit=held)) == held

    await storage.set_limit("work", running=held + 1)

    assert len(await storage.claim_next_tasks("agent-1", limit=2)) == 1
