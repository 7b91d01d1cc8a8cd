"""Facts about searching documents, by their words and by their embeddings."""

from datetime import timedelta
from typing import Any

import pytest

from swarm_persistence import FoundDocument, InvalidQueryError, SerializationError, Storage, TransactionError
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

    async def test_a_word_is_found_beside_what_json_escapes(self, storage: Storage) -> None:
        texts = ("\0word", "a\nword\x1f", 'say "word"', "\\word\\u", "Stra\u00dfe", "STRASSE word", "\u2028\u0130")
        await storage.put_documents([a_document(f"{n}", value={"of": [text]}) for n, text in enumerate(texts)])

        async def keys(query: str) -> list[str]:
            return sorted(found.document.key for found in await storage.search_documents(query, ("notes",)))

        assert await keys("WORD") == ["0", "1", "2", "3", "5"]
        assert await keys("stra\u00dfe") == ["4", "5"]
        assert await keys("\u0130") == ["6"]
        assert await keys("of") == []

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
        assert len(await storage.search_documents("nothing")) == 10
        assert len(await storage.search_documents("nothing", limit=None)) == 300

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
                a_document("without a direction", embedding=[0.0, 0.0]),
                a_document("without an embedding"),
            ]
        )

        found = await storage.nearest_documents([1, 0.1])

        assert keys(found) == ["east", "north", "west"]
        assert [round(each.score, 3) for each in found] == [0.995, 0.1, -0.995]
        assert keys(await storage.nearest_documents([0.0, 1.0], limit=1)) == ["north"]
        assert keys(await storage.nearest_documents([1, 0.1], limit=None)) == ["east", "north", "west"]

    async def test_the_metric_decides_what_is_near(self, storage: Storage) -> None:
        await storage.put_documents(
            [
                a_document("far", embedding=[10.0, 1.0]),
                a_document("near", embedding=[1.0, 0.5]),
                a_document("zero", embedding=[0.0, 0.0]),
            ]
        )

        by_distance = await storage.nearest_documents([1.0, 0.0], metric="euclidean")
        assert [(each.document.key, round(each.score, 3)) for each in by_distance] == [
            ("near", -0.5),
            ("zero", -1.0),
            ("far", -9.055),
        ]
        by_product = await storage.nearest_documents([1.0, 0.0], metric="dot")
        assert [(each.document.key, each.score) for each in by_product] == [("far", 10.0), ("near", 1.0), ("zero", 0.0)]
        assert keys(await storage.nearest_documents([0.0, 0.0], metric="euclidean", limit=1)) == ["zero"]
        wrong: Any = "manhattan"
        with pytest.raises(InvalidQueryError, match="metric is 'manhattan', expected 'cosine', 'dot' or 'euclidean'"):
            await storage.nearest_documents([1.0, 0.0], metric=wrong)

    async def test_another_number_of_dimensions_is_refused(self, storage: Storage) -> None:
        await storage.put_documents(
            [a_document("three", embedding=[1.0, 2.0, 3.0]), a_document(collection=("else",), embedding=[1.0])]
        )

        with pytest.raises(InvalidQueryError, match=r"embedding has 2 dimensions, expected 3 as document .*three"):
            await storage.nearest_documents([1.0, 0.0], NOTES)
        assert keys(await storage.nearest_documents([1.0], ("else",))) == ["note-1"]

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


@pytest.mark.asyncio
class TestDocumentIndexes:
    """The contract of `index_documents`: a search finds the same with an index as without."""

    async def test_a_search_sees_each_write_at_once(self, storage: Storage) -> None:
        await storage.put_documents([a_document("old", value="word"), a_document("replaced", value="word")])
        await storage.index_documents(("notes",))
        assert keys(await storage.search_documents("word", ("notes",))) == ["old", "replaced"]

        await storage.put_documents([a_document("new", value={"a": ["WORD"]}), a_document("replaced", value="other")])
        assert keys(await storage.search_documents("word", ("notes",))) == ["new", "old"]
        assert keys(await storage.search_documents("other", NOTES)) == ["replaced"]

        assert await storage.delete_documents(NOTES, keys=["old"]) == 1
        await storage.put_documents([a_document("again", value="nothing")])
        assert keys(await storage.search_documents("word", ("notes",))) == ["new"]
        assert keys(await storage.search_documents("nothing")) == ["again"]

    async def test_an_index_finds_what_a_scan_finds(self, storage: Storage) -> None:
        texts = ["lease " * number + "retry " * (number % 3) + "x" * 100 for number in range(1, 130)]
        strange = [
            "caf\u00e9 stra\u00dfe \u0130",
            "a_b c-d",
            'quote" OR NOT * ( NEAR',
            "x\u0001y",
            "\u65e5\u672c\u8a9e",
            "e\u0301t\u00e9",
        ]
        documents = [
            a_document(f"{place:03}", collection=("notes", f"agent-{place % 2}"), value=[text, {"n": place}])
            for place, text in enumerate([*texts, *strange])
        ]
        await storage.put_documents([*documents, a_document("else", collection=("else",), value="lease retry")])
        queries = [
            "lease",
            "retry lease",
            "x" * 100,
            "CAF\u00c9",
            "strasse",
            "a_b",
            "c d",
            '"',
            'OR "NOT',
            "NEAR(",
            "*",
            "y",
        ]
        queries += ["\u65e5\u672c\u8a9e", "\u0130", "t\u00e9", "none", "lease none"]
        scopes: list[dict[str, Any]] = [
            {"collection": ("notes",)},
            {"collection": ("notes",), "below": False},
            {"collection": ("notes", "agent-1")},
        ]
        searches = [(query, {**scope, "limit": 200}) for query in queries for scope in scopes]
        scanned = [await storage.search_documents(query, **scope) for query, scope in searches]

        await storage.index_documents(("notes",))

        assert [await storage.search_documents(query, **scope) for query, scope in searches] == scanned
        assert sum(map(bool, scanned)) > 20
        assert keys(await storage.search_documents("lease retry", limit=200))[-1:] != []
        await storage.unindex_documents(("notes",))
        assert await storage.search_documents(queries[0], **searches[0][1]) == scanned[0]

    async def test_a_transaction_finds_what_it_has_written(self, storage: Storage) -> None:
        await storage.put_documents([a_document("gone", value="word"), a_document("kept", value="word")])
        await storage.index_documents(NOTES)

        transaction = await storage.begin_transaction()
        await storage.put_documents([a_document("new", value="word")])
        await storage.delete_documents(NOTES, keys=["gone"])
        assert keys(await storage.search_documents("word", NOTES)) == ["kept", "new"]
        with pytest.raises(TransactionError, match="index_documents"):
            await storage.index_documents(NOTES)
        await transaction.rollback()

        assert keys(await storage.search_documents("word", NOTES)) == ["gone", "kept"]

    async def test_an_index_may_grow_and_be_kept_twice(self, storage: Storage) -> None:
        await storage.put_documents(
            [a_document("above", collection=("notes",), value="word"), a_document(value="word")]
        )

        await storage.index_documents(NOTES)
        await storage.index_documents(NOTES)
        await storage.index_documents()
        await storage.index_documents(NOTES)
        assert keys(await storage.search_documents("word")) == ["above", "note-1"]

        await storage.unindex_documents(NOTES)
        assert keys(await storage.search_documents("word", NOTES)) == ["note-1"]
        await storage.unindex_documents()
        await storage.unindex_documents(("never",))
        assert keys(await storage.search_documents("word")) == ["above", "note-1"]
