"""Facts about the writes of which the verbs of many documents consist, in memory, where they are easily seen."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from swarm_persistence import DocumentModel, MemoryStorage
from swarm_persistence.engines.reads import Read, Select
from swarm_persistence.engines.steps import Delete, DeleteFirst, Put
from swarm_persistence.query.query import Condition

KEYS = [f"{number:04}" for number in range(2000)]


@pytest_asyncio.fixture
async def storage() -> AsyncIterator[MemoryStorage]:
    """Give a storage in memory."""
    async with MemoryStorage() as storage:
        yield storage


@pytest.fixture
def calls(storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """Give what the engine was asked for, each with the result."""
    seen: list[tuple[Any, Any]] = []
    engine: Any = storage._engine
    read, write = engine.read, engine.write

    async def watched_read(what: Any) -> Any:
        seen.append((what, await read(what)))
        return seen[-1][1]

    async def watched_write(steps: Any) -> Any:
        seen.append((steps, await write(steps)))
        return seen[-1][1]

    monkeypatch.setattr(engine, "read", watched_read)
    monkeypatch.setattr(engine, "write", watched_write)
    return seen


def ids_of(condition: Condition) -> tuple[Any, ...]:
    """Return the values of a condition with `IN`."""
    assert isinstance(condition.value, tuple)
    return condition.value


def is_put(steps: Any) -> bool:
    """Tell whether a call was a write of documents."""
    return isinstance(steps, list | tuple) and isinstance(steps[0], Put)


@pytest.mark.parametrize("verb", ["delete_documents", "touch_documents"])
async def test_of_the_documents_below_only_those_of_the_keys_are_read(
    storage: MemoryStorage, calls: list[tuple[Any, Any]], verb: str
) -> None:
    """No id of another document leaves the engine, however many there are."""
    await storage.put_documents([DocumentModel.new(("notes", str(len(key))), key) for key in [*KEYS, "one", "other"]])
    calls.clear()

    changes = {"expires_at": None} if verb == "touch_documents" else {}
    chosen = ["absent", "one", "other"]
    assert await getattr(storage, verb)(("notes",), below=True, keys=chosen, **changes) == 2

    read = [row for what, rows in calls if isinstance(what, Read) for row in rows]
    assert [id for id, _ in read] == [DocumentModel.id_of(("notes", str(len(key))), key) for key in ("one", "other")]


@pytest.mark.parametrize("below", [False, True])
async def test_each_of_many_keys_is_named_in_one_write_only(
    storage: MemoryStorage, calls: list[tuple[Any, Any]], below: bool
) -> None:
    await storage.put_documents([DocumentModel.new(("notes",), key) for key in [*KEYS, "left"]])
    calls.clear()

    assert await storage.delete_documents(("notes",), below=below, keys=KEYS) == len(KEYS)

    named = [
        len(ids_of(condition))
        for steps, _ in calls
        if isinstance(steps, list) and isinstance(steps[0], Delete)
        for condition in steps[0].query.conditions
        if condition.operator == "IN"
    ]
    assert sum(named) == len(KEYS)
    assert max(named) <= 500
    assert await storage.list_document_keys(("notes",)) == ["left"]


async def test_a_copy_holds_few_bytes_at_once(storage: MemoryStorage, calls: list[tuple[Any, Any]]) -> None:
    sizes = [*[100] * 300, *[5_000_000] * 5, 10_000_000, *[1_000_000] * 20, 10]
    documents = [DocumentModel.new(("a",), f"{place:03}", None, bytes(size)) for place, size in enumerate(sizes)]
    await storage.put_documents(documents)
    calls.clear()

    assert await storage.copy_documents(("a",), ("b",)) == len(sizes)

    read = [[len(each.data) for each in found] for what, found in calls if isinstance(what, Select)]
    written = [[len(each.data) for each in steps[0].models] for steps, _ in calls if is_put(steps)]
    assert read == written
    assert all(len(batch) == 1 or sum(batch) <= 8 * 2**20 for batch in read)
    assert len(read) < 15
    assert [len(each.data or b"") for each in await storage.list_documents(("b",))] == sizes


async def test_a_deletion_of_a_range_takes_few_bytes_at_once(
    storage: MemoryStorage, calls: list[tuple[Any, Any]]
) -> None:
    sizes = [*[100] * 2500, *[20 * 2**20] * 3, 40 * 2**20, 10]
    documents = [DocumentModel.new(("a",), f"{place:04}", None, bytes(size)) for place, size in enumerate(sizes)]
    await storage.put_documents(documents)
    calls.clear()

    assert await storage.delete_documents(("a",)) == len(sizes)

    deleted = [found[0][0] for steps, found in calls if isinstance(steps[0], DeleteFirst)]
    assert deleted == [2000, 501, 1, 1, 1, 1]
