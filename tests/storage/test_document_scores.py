"""The score of a search is BM25's with its usual constants, computed by hand here."""

import pytest

from swarm_persistence import DocumentModel, MemoryStorage


async def test_frequent_words_in_short_documents_score_highest() -> None:
    storage = MemoryStorage()
    texts = {"short": "red red fox", "long": "red hen hen hen hen", "other": "a blue fox"}
    await storage.put_documents([DocumentModel.new(("c",), key, text) for key, text in texts.items()])

    found = await storage.search_documents("red", ("c",))

    # k1 = 1.2 and b = 0.75, over the two documents that match, whose average length is 4 words:
    # f · (k1 + 1) / (f + k1 · (1 - b + b · length / 4)).
    assert [each.document.key for each in found] == ["short", "long"]
    assert [each.score for each in found] == pytest.approx(
        [2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 4)), 1 * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 5 / 4))]
    )
