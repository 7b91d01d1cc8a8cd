"""Documents in IndexedDB: their bytes are no text."""

from typing import Any

from swarm_persistence import DocumentModel
from swarm_persistence.backends.wasm import WasmStorage

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

    data = bytes(range(256)) * 4096
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
