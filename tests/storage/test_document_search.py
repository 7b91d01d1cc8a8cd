"""A search reads its candidates page by page, and finds all of them: by a scan, by an index, by their embeddings."""

from collections.abc import Sequence

import pytest

from swarm_persistence import DocumentModel, Storage
from swarm_persistence.storage import document_search
from swarm_persistence.storage.document_search import FoundDocument

PAGE = 10


def keys_of(found: Sequence[FoundDocument]) -> list[str]:
    """Return the keys of found documents, sorted."""
    return sorted(each.document.key for each in found)


@pytest.mark.parametrize("count", [PAGE - 1, PAGE, 2 * PAGE + 5, 3 * PAGE])
async def test_each_document_is_found_whatever_page_it_is_on(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(document_search, "_PAGE", PAGE)
    keys = [f"{number:03}" for number in range(count)]
    documents = [
        DocumentModel.new(("c",), key, "a red fox", embedding=[1.0, float(place)]) for place, key in enumerate(keys)
    ]
    await storage.put_documents([*documents, DocumentModel.new(("c",), "other", "a hen")])

    assert keys_of(await storage.search_documents("red", limit=None)) == keys
    assert keys_of(await storage.nearest_documents([1.0, 0.0], limit=count + 1)) == keys
    await storage.index_documents(("c",))
    assert keys_of(await storage.search_documents("red", ("c",), limit=None)) == keys
