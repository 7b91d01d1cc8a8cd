"""Facts about many documents: list, delete, copy and watch them."""

import asyncio
import re
from contextlib import aclosing
from typing import Any

import pytest

from swarm_persistence import DocumentModel, InvalidQueryError, QueryBuilder, Storage, TransactionError
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.documents import NOTES
from swarm_persistence_conformance.records import a_document

TREE = [
    ((), "root"),
    (("a",), "2"),
    (("a",), "1"),
    (("a", ""), "empty"),
    (("a", "b"), "3"),
    (("a", "b", "c"), "deep"),
    (("a b",), "not below a"),
    (("b",), "other"),
]
"""Collections and keys, in another order than their own."""
SORTED = sorted(TREE)


async def store_tree(storage: Storage) -> None:
    """Store the documents of `TREE`, one after the other; each has the first part of its collection as label."""
    for collection, key in TREE:
        label = collection[0] if collection else None
        await storage.put_documents([a_document(key, collection=collection, label=label)])


def places(documents: list[DocumentModel]) -> list[tuple[tuple[str, ...], str]]:
    """Return collection and key of documents."""
    return [(document.collection, document.key) for document in documents]


@pytest.mark.asyncio
class TestDocumentLists:
    """The contract of the verbs of many documents."""

    async def test_a_list_holds_one_collection_by_key(self, storage: Storage) -> None:
        await store_tree(storage)

        assert places(await storage.list_documents(("a",))) == [(("a",), "1"), (("a",), "2")]
        assert places(await storage.list_documents(())) == [((), "root")]
        assert await storage.list_documents(("c",)) == []

    async def test_below_is_the_collection_and_all_that_begin_with_its_parts(self, storage: Storage) -> None:
        await store_tree(storage)

        assert places(await storage.list_documents((), below=True)) == SORTED
        below_a = [place for place in SORTED if place[0][:1] == ("a",)]
        assert places(await storage.list_documents(("a",), below=True)) == below_a
        assert places(await storage.list_documents(["a", "b"], below=True)) == [
            (("a", "b"), "3"),
            (("a", "b", "c"), "deep"),
        ]

    @pytest.mark.parametrize("below", [False, True])
    @pytest.mark.parametrize("collection", sorted({place[0] for place in TREE} | {("c",)}))
    async def test_a_query_of_a_collection_finds_what_a_list_does(
        self, storage: Storage, collection: tuple[str, ...], below: bool
    ) -> None:
        await store_tree(storage)
        listed = await storage.list_documents(collection, below=below)
        repository = storage.repository(DocumentModel)

        query = QueryBuilder(DocumentModel).where_collection(collection, below=below).order_by("id")

        assert await repository.query(query) == listed
        for place, document in enumerate(listed):
            assert await repository.query(query.where_gt("id", document.id)) == listed[place + 1 :]
            assert await repository.query(query.where_lt("id", document.id)) == listed[:place]
        assert await repository.query(query.where_json("value", "nothing", "eq", 1)) == []

    async def test_desc_reverses_and_limit_cuts(self, storage: Storage) -> None:
        await store_tree(storage)

        found = await storage.list_documents((), below=True, desc=True, limit=3)

        assert places(found) == SORTED[::-1][:3]
        assert await storage.list_documents((), below=True, limit=0) == []

    async def test_arrival_is_the_order_of_the_first_puts(self, storage: Storage) -> None:
        await store_tree(storage)
        await storage.put_documents([a_document("2", collection=("a",), label="a")])

        assert await storage.list_document_keys(("a",), by_arrival=True) == ["2", "1"]
        assert await storage.list_document_keys(("a",), by_arrival=True, desc=True, limit=1) == ["1"]
        assert places(await storage.list_documents((), below=True, by_arrival=True)) == TREE

    async def test_after_and_before_exclude_their_keys(self, storage: Storage) -> None:
        await storage.put_documents([a_document(key) for key in "abcde"])

        assert await storage.list_document_keys(NOTES, after="a", before="e") == ["b", "c", "d"]
        assert await storage.list_document_keys(NOTES, after="bb", limit=1) == ["c"]
        assert await storage.list_document_keys(NOTES, before="c", desc=True, limit=1) == ["b"]
        assert await storage.list_document_keys(NOTES, after="b", by_arrival=True) == ["c", "d", "e"]
        found = await storage.list_documents(("notes",), below=True, after="b", before="d")
        assert [document.key for document in found] == ["c"]

    async def test_a_label_selects_within_the_collections(self, storage: Storage) -> None:
        await store_tree(storage)

        found = await storage.list_documents(("a",), below=True, label="a")
        assert places(found) == [place for place in SORTED if place[0][:1] == ("a",)]
        assert await storage.list_documents(("b",), label="a") == []
        assert await storage.list_document_keys(("a",), label="a", after="1") == ["2"]

    async def test_collections_are_those_that_hold_documents(self, storage: Storage) -> None:
        await store_tree(storage)

        assert await storage.list_collections() == list(dict.fromkeys(collection for collection, _ in SORTED))
        assert await storage.list_collections(("a",)) == [("a",), ("a", ""), ("a", "b"), ("a", "b", "c")]
        assert await storage.list_collections(("a",), depth=2, limit=2) == [("a",), ("a", "")]
        assert await storage.list_collections(depth=1) == [(), ("a",), ("a b",), ("b",)]
        assert await storage.list_collections(("none",)) == []

    @pytest.mark.parametrize(
        ("choice", "gone"),
        [
            ({}, ["a", "b", "c", "d"]),
            ({"keys": ["a", "c", "x"]}, ["a", "c"]),
            ({"keys": []}, []),
            ({"after": "b"}, ["c", "d"]),
            ({"before": "c"}, ["a", "b"]),
            ({"after": "a", "before": "d"}, ["b", "c"]),
            ({"label": "even"}, ["b", "d"]),
            ({"label": "even", "after": "b"}, ["d"]),
            ({"below": True}, ["a", "b", "c", "d", "deep"]),
            ({"below": True, "keys": ["a", "deep"]}, ["a", "deep"]),
            ({"below": True, "before": "c"}, ["a", "b"]),
        ],
    )
    async def test_a_deletion_takes_what_its_arguments_choose(
        self, storage: Storage, choice: dict[str, Any], gone: list[str]
    ) -> None:
        documents = [a_document(key, label="even" if key in "bd" else None) for key in "abcd"]
        deep, beside = a_document("deep", collection=(*NOTES, "x")), a_document("a", collection=("notes", "agent-10"))
        await storage.put_documents([*documents, deep, beside])

        assert await storage.delete_documents(NOTES, **choice) == len(gone)

        left = await storage.list_documents(("notes",), below=True)
        assert [document.key for document in left] == [
            key for key in ("a", "b", "c", "d", "deep") if key not in gone
        ] + ["a"]

    async def test_many_documents_are_deleted_and_copied_in_several_writes(self, storage: Storage) -> None:
        documents = [a_document(f"{n:04}", collection=(*NOTES, str(n % 3)), value=n) for n in range(1300)]
        await storage.put_documents(documents)

        assert await storage.copy_documents(NOTES, ("copy",), below=True) == 1300

        copies = await storage.list_documents(("copy",), below=True)
        expected = sorted((("copy", str(n % 3)), f"{n:04}", n) for n in range(1300))
        assert [(each.collection, each.key, each.value) for each in copies] == expected
        assert await storage.delete_documents((), below=True) == 2600
        assert await storage.list_collections() == []

    @pytest.mark.parametrize(
        ("source", "target", "below"),
        [(("a!",), ("a!",), False), (("a!",), ("a!", " b"), True), (("a!", " b"), ("a!",), True), ((), ("a!",), True)],
    )
    async def test_a_copy_into_itself_is_refused_by_the_targets_parts(
        self, storage: Storage, source: tuple[str, ...], target: tuple[str, ...], below: bool
    ) -> None:
        with pytest.raises(InvalidQueryError, match=re.escape(f"target is {target!r}, expected a collection that")):
            await storage.copy_documents(source, target, below=below)

    async def test_a_copy_is_a_document_of_its_own(self, storage: Storage) -> None:
        original = a_document(value=[1], data=b"x", label="run", embedding=[1.0])
        await storage.put_documents([original])
        await storage.put_documents([a_document(), a_document("other", collection=("copy",))])
        await storage.put_documents([original])

        assert await storage.copy_documents(NOTES, ("copy",)) == 1

        copy = await storage.get_document(("copy",), "note-1")
        assert copy is not None
        assert (copy.value, copy.data, copy.label, copy.embedding, copy.version) == ([1], b"x", "run", [1.0], 1)
        assert copy.created_at == original.created_at
        assert await storage.get_document(NOTES, "note-1") == original

    async def test_a_rolled_back_deletion_deletes_nothing(self, storage: Storage) -> None:
        await storage.put_documents([a_document(key) for key in "abc"])

        transaction = await storage.begin_transaction()
        assert await storage.delete_documents(NOTES) == 3
        assert await storage.list_documents(NOTES) == []
        await transaction.rollback()

        assert await storage.list_document_keys(NOTES) == ["a", "b", "c"]

    async def test_a_watcher_sees_each_write_within_its_collections(self, storage: Storage) -> None:
        await storage.put_documents([a_document("stored"), a_document("else", collection=("else",))])

        async with aclosing(storage.watch_documents(("notes",), below=True)) as documents:
            assert (await anext(documents)).key == "stored"
            waiting = asyncio.ensure_future(anext(documents))
            await elsewhere(storage.put_documents([a_document("else", collection=("else",))]))
            await elsewhere(storage.put_documents([a_document("new")]))
            assert (await waiting).key == "new"
            await elsewhere(storage.put_documents([a_document("stored", value="changed")]))
            changed = await anext(documents)
            assert (changed.key, changed.value, changed.version) == ("stored", "changed", 2)

    async def test_a_watcher_of_one_collection_does_not_see_those_below(self, storage: Storage) -> None:
        async with aclosing(storage.watch_documents(("notes",))) as documents:
            waiting = asyncio.ensure_future(anext(documents))
            await elsewhere(storage.put_documents([a_document()]))
            await elsewhere(storage.put_documents([a_document("here", collection=("notes",))]))
            assert (await waiting).key == "here"

    async def test_a_transaction_watches_nothing(self, storage: Storage) -> None:
        async with storage.transaction():
            with pytest.raises(TransactionError):
                storage.watch_documents(NOTES)
