"""Documents in IndexedDB: their bytes are not text, and long ones are stored in pieces."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

from swarm_persistence import DatabaseError, DocumentModel
from swarm_persistence.backends.wasm import WasmStorage
from swarm_persistence.engines.rows.indexeddb.bridge import Bridge
from swarm_persistence.engines.rows.indexeddb.engine import IndexedDbSettings
from swarm_persistence.engines.rows.indexeddb.schema import VERSIONS, StoreSchema
from swarm_persistence.engines.rows.indexeddb.stored_bytes import LONGEST_IN_ROW, PIECE_BYTES

_KINDS = """(name) => new Promise((resolve, reject) => {
  const request = indexedDB.open(name);
  request.onerror = () => reject(request.error);
  request.onsuccess = () => {
    const database = request.result;
    const all = database.transaction(["documents"]).objectStore("documents").getAll();
    all.onsuccess = () => {
      database.close();
      resolve(JSON.stringify(all.result.map(({ b, d }) => [(b ?? []).map((each) => each.constructor.name), d.length])));
    };
  };
})"""


async def kinds_of_stored_bytes(name: str) -> Any:
    """Store documents with and without bytes, read them back, and return how IndexedDB keeps them."""
    from pyodide.code import run_js  # type: ignore[import-not-found]

    data = bytes(range(256)) * (LONGEST_IN_ROW // 256)
    documents = [
        DocumentModel.new(("a",), "1", "text", data, embedding=[0.5, 2.0]),
        DocumentModel.new(("a",), "2", "text"),
        DocumentModel.new(("a",), "3", None, b""),
    ]
    async with await WasmStorage.open(name) as storage:
        await storage.put_documents(documents)
    async with await WasmStorage.open(name) as storage:
        assert await storage.list_documents(("a",)) == documents
        assert await storage.list_documents(("a",), desc=True, limit=2) == documents[:0:-1]
        assert await storage.get_document(("a",), "1") == documents[0]
        assert await storage.get_storage_size() > len(data)
    return await run_js(_KINDS)(name)


_SIZES = """(name) => new Promise((resolve, reject) => {
  const request = indexedDB.open(name);
  request.onerror = () => reject(request.error);
  request.onsuccess = () => {
    const database = request.result;
    const all = database.transaction(["pieces"]).objectStore("pieces").getAll();
    all.onsuccess = () => {
      database.close();
      resolve(all.result.map(({ b: [piece] }) => piece.byteLength));
    };
  };
})"""
# As version 10 kept it: the bytes are in the record, however many.
_PUT_WITHIN = """([name, id, size]) => new Promise((resolve, reject) => {
  const request = indexedDB.open(name);
  request.onerror = () => reject(request.error);
  request.onsuccess = () => {
    const database = request.result;
    const transaction = database.transaction(["documents"], "readwrite");
    const store = transaction.objectStore("documents");
    store.get(id).onsuccess = ({ target: { result: record } }) => {
      record.b = [Uint8Array.from({ length: size }, (_, place) => place % 251)];
      store.put(record);
    };
    transaction.oncomplete = () => { database.close(); resolve(null); };
  };
})"""
LONG = 2 * PIECE_BYTES + 7


def _data(seed: int, size: int = LONG) -> bytes:
    return (bytes(range(251)) * (size // 251 + 2))[seed : seed + size]


async def _sizes_of_pieces(name: str) -> list[int]:
    """Return the bytes of each piece that the database holds."""
    from pyodide.code import run_js

    return sorted((await run_js(_SIZES)(name)).to_py(), reverse=True)


async def round_trip_of_long_bytes(name: str) -> list[int]:
    """Store long bytes, and read them in each way; return the sizes of what is stored in pieces."""
    documents = [DocumentModel.new(("a",), str(place), data=_data(place)) for place in range(3)]
    documents.append(DocumentModel.new(("a",), "short", data=_data(3, LONGEST_IN_ROW)))
    async with await WasmStorage.open(name) as storage:
        await storage.put_documents(documents)
        assert await storage.list_documents(("a",)) == documents
    async with await WasmStorage.open(name) as storage:
        assert await storage.get_document(("a",), "1") == documents[1]
        assert await storage.list_documents(("a",), desc=True) == documents[::-1]
        assert await storage.list_document_keys(("a",)) == ["0", "1", "2", "short"]
        assert await storage.get_storage_size() > 3 * LONG + LONGEST_IN_ROW
        async with storage.transaction():
            assert await storage.get_document(("a",), "2") == documents[2]
            assert [each.data for each in await storage.list_documents(("a",))] == [each.data for each in documents]
    return await _sizes_of_pieces(name)


async def pieces_after_each_change(name: str) -> dict[str, list[int]]:
    """Change documents of long bytes in each way; return the pieces that are left after each."""
    a, b = ("a",), ("b",)
    found: dict[str, list[int]] = {}

    async def note(what: str) -> None:
        found[what] = await _sizes_of_pieces(name)

    async with await WasmStorage.open(name) as storage:
        document = DocumentModel.new(a, "1", data=_data(1))
        await storage.put_documents([document])
        await note("put")
        await storage.put_documents([DocumentModel.new(a, "1", data=_data(2, PIECE_BYTES + 1))])
        await note("put again")
        await storage.touch_documents(a, expires_at=timedelta(days=1))
        stored = await storage.get_document(a, "1")
        assert stored is not None
        assert stored.data == _data(2, PIECE_BYTES + 1)
        await note("touch")
        undone = await storage.begin_transaction()
        stored.data = _data(3)
        await storage.update_document(stored)
        await undone.rollback()
        await note("update that is rolled back")
        async with storage.transaction():
            fresh = await storage.get_document(a, "1")
            assert fresh is not None
            fresh.data = _data(3)
            await storage.update_document(fresh)
        await note("update in a transaction")
        await storage.copy_documents(a, b)
        await note("copy")
        taken = await storage.take_document(a, "1")
        assert taken is not None
        assert taken.data == _data(3)
        await note("take")
        await storage.put_documents([DocumentModel.new(b, "1", data=b"short")])
        await note("put of short bytes")
        await storage.put_documents([DocumentModel.new(b, str(place), data=_data(place)) for place in range(2)])
        await note("put of two")
        await storage.delete_documents(b, keys=["0"])
        await note("delete of one")
        await storage.touch_documents(b, expires_at=timedelta(milliseconds=1))
        await asyncio.sleep(0.01)
        await storage.prune(0)
        await note("prune of what has expired")
    return found


async def long_bytes_of_version_10(name: str) -> tuple[list[int], list[int], list[str]]:
    """Fill a database of version 10, which keeps long bytes in the record, and read it by the code of today.

    Return the pieces before and after the upgrade, and the names of the last two steps.
    """
    from pyodide.code import run_js
    from pyodide.ffi import to_js  # type: ignore[import-not-found]

    old = IndexedDbSettings(schema=StoreSchema(VERSIONS[:10]))
    documents = [DocumentModel.new(("a",), f"{place:02}", data=b"short") for place in range(25)]
    async with await WasmStorage._open(name, old) as storage:
        await storage.put_documents(documents)
    for document in documents[:12]:
        await run_js(_PUT_WITHIN)(to_js([name, document.id, LONG]))
        document.data = _data(0)
    before = await _sizes_of_pieces(name)
    async with await WasmStorage.open(name) as storage:
        assert await storage.list_documents(("a",)) == documents
        after = await _sizes_of_pieces(name)
        assert await storage.delete_documents(("a",)) == 25
        assert await _sizes_of_pieces(name) == []
        steps = [step.name for step in (await storage.migration_status()).applied]
    return before, after, steps[9:]


async def read_without_a_piece(name: str) -> str:
    """Store long bytes, remove one of their pieces by another way, and return the error of a read."""
    from pyodide.code import run_js

    remove = run_js("""(name) => new Promise((resolve) => {
      indexedDB.open(name).onsuccess = ({ target: { result: database } }) => {
        const transaction = database.transaction(["pieces"], "readwrite");
        transaction.objectStore("pieces").openCursor(null, "prev").onsuccess = ({ target }) => target.result.delete();
        transaction.oncomplete = () => { database.close(); resolve(null); };
      };
    })""")
    async with await WasmStorage.open(name) as storage:
        await storage.put_documents([DocumentModel.new(("a",), "1", data=_data(1))])
        await remove(name)
        try:
            await storage.get_document(("a",), "1")
        except DatabaseError as error:
            return str(error)
    return ""


async def pieces_in_turns(name: str) -> dict[str, list[int]]:
    """Return how many pieces of 20 came in each turn of the event loop that had some, in a put and in a get."""
    counts = {"_on_piece": [0], "_on_receive": [0]}
    calls = {callback: getattr(Bridge, callback) for callback in counts}

    def counted(callback: str) -> Any:
        def call(*arguments: Any) -> Any:
            counts[callback][-1] += 1
            return calls[callback](*arguments)

        return call

    async def run(work: Awaitable[object]) -> None:
        running = asyncio.ensure_future(work)
        while not running.done():
            await asyncio.sleep(0)
            for of_turns in counts.values():
                of_turns.append(0)

    # The bridge hands its callbacks to JavaScript when it opens the database.
    for callback in counts:
        setattr(Bridge, callback, counted(callback))
    try:
        async with await WasmStorage.open(name) as storage:
            await run(storage.put_documents([DocumentModel.new(("a",), "1", data=bytes(20 * PIECE_BYTES))]))
            await run(storage.get_document(("a",), "1"))
    finally:
        for callback, call in calls.items():
            setattr(Bridge, callback, call)
    return {callback: [count for count in of_turns if count] for callback, of_turns in counts.items()}
