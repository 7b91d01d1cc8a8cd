"""Facts about searching documents, by their words and by their embeddings."""

from datetime import timedelta
from typing import Any

import pytest

from swarm_persistence import FoundDocument, InvalidQueryError, SerializationError, Storage
from swarm_persistence.testing import ManualClock, now
from swarm_persistence_conformance.documents import NOTES
from swarm_persistence_conformance.records import a_document


def keys(found: list[FoundDocument]) -> list[str]:
    """Return the keys of the documents that were found, in their order."""
    return [each.document.key for each in found]


@pytest.mark.asyncio
class TestDocumentSearch:
    """The contract of `search_documents` and `nearest_documents`."""

    async def test_every_word_must_be_there_in_any_case_and_place(self, storage: Storage) -> None:
        await storage.put_documents(
            [
                a_document("both", value={"title": "Leases END", "parts": [{"text": "claims; a claim"}]}),
                a_document("one", value="leases"),
                a_document("keys do not count", value={"leases": "claim"}),
                a_document("none", value=[1, None, True]),
            ]
        )

        assert keys(await storage.search_documents("claim LEASES")) == ["both"]
        assert keys(await storage.search_documents("lease")) == []
        assert keys(await storage.search_documents("!?")) == []

    async def test_the_best_match_comes_first(self, storage: Storage) -> None:
        await storage.put_documents(
            [
                a_document("long", value="lease " + "word " * 50),
                a_document("often", value="lease lease lease"),
                a_document("short", value="lease"),
                *(a_document(f"other-{number}", value="nothing of that") for number in range(300)),
            ]
        )

        found = await storage.search_documents("lease")

        assert keys(found) == ["often", "short", "long"]
        assert found[0].score > found[1].score > found[2].score > 0
        assert keys(await storage.search_documents("lease", limit=1)) == ["often"]
        assert len(await storage.search_documents("nothing", limit=1000)) == 300

    async def test_only_the_given_collections_are_searched(self, storage: Storage, clock: ManualClock) -> None:
        await storage.put_documents(
            [
                a_document("here", value="word", embedding=[1.0]),
                a_document("above", collection=("notes",), value="word", embedding=[1.0]),
                a_document("beside", collection=("notes", "agent-2"), value="word", embedding=[1.0]),
                a_document("gone", value="word", embedding=[1.0], expires_at=now() + timedelta(seconds=1)),
            ]
        )
        clock.advance(1)

        for search, argument in ((storage.search_documents, "word"), (storage.nearest_documents, [2.0])):
            verb: Any = search
            assert keys(await verb(argument)) == ["above", "here", "beside"]
            assert keys(await verb(argument, NOTES)) == ["here"]
            assert keys(await verb(argument, ("notes",), below=False)) == ["above"]

    async def test_the_nearest_has_the_most_similar_direction(self, storage: Storage) -> None:
        await storage.put_documents(
            [
                a_document("east", embedding=[10.0, 0.0]),
                a_document("north", embedding=[0.0, 0.5]),
                a_document("west", embedding=[-1.0, 0.0]),
                a_document("of another length", embedding=[1.0]),
                a_document("without a direction", embedding=[0.0, 0.0]),
                a_document("without an embedding"),
            ]
        )

        found = await storage.nearest_documents([1, 0.1])

        assert keys(found) == ["east", "north", "west"]
        assert [round(each.score, 3) for each in found] == [0.995, 0.1, -0.995]
        assert keys(await storage.nearest_documents([0.0, 1.0], limit=1)) == ["north"]

    async def test_an_invalid_argument_is_refused(self, storage: Storage) -> None:
        verbs: list[Any] = [storage.search_documents, storage.nearest_documents]
        wrong: list[tuple[Any, Any]] = [
            (verbs[0], 5),
            *((verbs[1], embedding) for embedding in ([], 5, ["x"], [0.0])),
        ]
        for verb, argument in wrong:
            with pytest.raises((InvalidQueryError, SerializationError)):
                await verb(argument)
        right: list[tuple[Any, Any]] = [(verbs[0], "x"), (verbs[1], [1.0])]
        for verb, argument in right:
            with pytest.raises(InvalidQueryError, match="limit"):
                await verb(argument, limit=-1)
            with pytest.raises(InvalidQueryError, match="below"):
                await verb(argument, below=1)
