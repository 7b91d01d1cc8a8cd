"""Facts about full limits: what is full hides no task that may be claimed, whatever the keys and types look like."""

import pytest

from swarm_persistence import Storage
from swarm_persistence_conformance.records import a_task, ids

_LONG = "https://example.org/" + "a" * 300


async def _claim_all(storage: Storage) -> list[str]:
    return ids(await storage.claim_next_tasks("agent-1", limit=9))


@pytest.mark.asyncio
class TestFullLimits:
    """The contract of claims among many tasks that may not be claimed."""

    async def test_a_full_key_hides_none_that_begins_like_it(self, storage: Storage) -> None:
        await storage.set_limit("a", per_key=1)
        full = [a_task(f"m{n:02}", task_type="a", concurrency_key=f"{_LONG}m", priority="high") for n in range(60)]
        await storage.store_tasks(full)
        assert await _claim_all(storage) == ["m00"]

        await storage.store_tasks([a_task(end, task_type="a", concurrency_key=_LONG + end) for end in "az"])

        assert sorted(await _claim_all(storage)) == ["a", "z"]
        assert await _claim_all(storage) == []

    async def test_a_full_type_hides_none_that_begins_like_it(self, storage: Storage) -> None:
        await storage.set_limit(f"{_LONG}m", running=0)
        tasks = [a_task(end, task_type=_LONG + end, priority="high" if end == "m" else "low") for end in "amz"]
        await storage.store_tasks(tasks)

        assert await _claim_all(storage) == ["a", "z"]

    async def test_requirements_that_begin_alike_are_told_apart(self, storage: Storage) -> None:
        await storage.store_tasks([a_task(end, required_capabilities=[_LONG + end]) for end in "amz"])

        tasks = await storage.claim_next_tasks("agent-1", limit=9, capabilities=[f"{_LONG}a", f"{_LONG}z"])

        assert ids(tasks) == ["a", "z"]

    async def test_more_full_keys_than_are_compared_hide_none(self, storage: Storage) -> None:
        await storage.set_limit("a", per_key=1)
        await storage.store_tasks([a_task(f"h{n}", task_type="a", concurrency_key=f"key-{n}") for n in range(70)])
        assert len(await storage.claim_next_tasks("agent-1", limit=70)) == 70
        await storage.store_tasks([a_task(f"w{n}", task_type="a", concurrency_key=f"key-{n}") for n in range(70)])
        await storage.store_task(a_task("free", task_type="a", concurrency_key="key-none"))

        assert await _claim_all(storage) == ["free"]
