"""`BlockingStorage` wraps a storage that is open already, so that both forms share it."""

import asyncio
from pathlib import Path

from swarm_persistence import BlockingStorage, DocumentModel, MemoryStorage, SqliteStorage, Storage


def in_a_thread(storage: Storage) -> DocumentModel | None:
    blocking = BlockingStorage(storage)
    with blocking.transaction():
        blocking.put_documents([DocumentModel.new(("a",), "of the thread", 1)])
    return blocking.get_document(("a",), "of the loop")


async def test_both_forms_share_an_open_file(tmp_path: Path) -> None:
    async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
        await _share(storage)


async def test_both_forms_share_a_memory() -> None:
    async with MemoryStorage() as storage:
        await _share(storage)


async def _share(storage: Storage) -> None:
    await storage.put_documents([DocumentModel.new(("a",), "of the loop", 2)])

    found = await asyncio.to_thread(in_a_thread, storage)

    assert found is not None
    assert found.value == 2
    assert await storage.list_document_keys(("a",)) == ["of the loop", "of the thread"]
