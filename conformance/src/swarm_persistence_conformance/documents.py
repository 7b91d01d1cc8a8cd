"""Facts about single documents: put, read, update, take, expire."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from swarm_persistence import (
    ConflictError,
    DocumentModel,
    InvalidQueryError,
    NotFoundError,
    Pruned,
    PutCounts,
    QueryBuilder,
    SerializationError,
    Storage,
)
from swarm_persistence.testing import ManualClock, now
from swarm_persistence_conformance.records import a_document, after, everything_in

NOTES = ("notes", "agent-1")


async def stored(storage: Storage, key: str = "note-1") -> DocumentModel:
    """Return a stored document of `NOTES`."""
    document = await storage.get_document(NOTES, key)
    assert document is not None
    return document


@pytest.mark.asyncio
class TestDocuments:
    """The contract of the verbs of one document."""

    async def test_a_new_document_can_be_stored_and_read(self, storage: Storage) -> None:
        document = DocumentModel.new(NOTES, "note-1", {"text": "…"}, b"\0\xff", label="run-1")

        assert await storage.put_documents([document]) == PutCounts(added=1)

        assert (document.version, document.id) == (1, DocumentModel.id_of(NOTES, "note-1"))
        assert await storage.get_document(NOTES, "note-1") == document

    async def test_bytes_come_out_equal(self, storage: Storage) -> None:
        some = [None, b"", b"\0", b"null", bytes(range(256)) * 100]
        documents = [a_document(str(number), data=data) for number, data in enumerate(some)]

        await storage.put_documents(documents)

        assert await storage.list_documents(NOTES) == documents

    @pytest.mark.parametrize(
        ("collection", "key"),
        [
            ((), "key"),
            (("",), ""),
            (("", ""), "key"),
            (("a b", "!", '"', "a!b", '"!', "\t\n"), "a!b c"),
            (("äöü", "\u20ac", "\U0001f600"), "\U0010ffff"),
            (("a", "b"), " x"),
            (("a",), "b! x"),
        ],
    )
    async def test_any_text_can_be_a_part_of_a_collection_or_a_key(
        self, storage: Storage, collection: tuple[str, ...], key: str
    ) -> None:
        await storage.put_documents([a_document(key, collection=collection), a_document("beside")])

        found = await storage.get_document(collection, key)

        assert found is not None
        assert (found.collection, found.key) == (collection, key)
        assert await storage.list_document_keys(collection) == [key]
        assert collection in await storage.list_collections()

    async def test_an_embedding_is_kept_in_single_precision_and_the_caller_sees_it(self, storage: Storage) -> None:
        document = a_document(embedding=[0.1, 2, -3.5])

        await storage.put_documents([document])

        assert document.embedding == [0.10000000149011612, 2.0, -3.5]
        assert await storage.get_document(NOTES, "note-1") == document

    async def test_a_later_put_replaces_all_but_the_creation_and_raises_the_version(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.put_documents([a_document(value="old", data=b"old", label="old", created_at=after(1))])
        clock.advance(60)

        document = a_document(value="new", created_at=after(2))
        assert await storage.put_documents([document]) == PutCounts(replaced=1)

        assert (document.version, document.created_at, document.updated_at) == (2, after(1), now())
        found = await stored(storage)
        assert found == document
        assert (found.value, found.data, found.label) == ("new", None, None)

    async def test_documents_of_if_absent_leave_those_that_are_stored(self, storage: Storage) -> None:
        await storage.put_documents([a_document(value="stored")])

        kept, added = a_document(value="late"), a_document("note-2", value="new")
        counts = await storage.put_documents([a_document("note-3")], if_absent=[kept, added])

        assert counts == PutCounts(added=2, kept=1)
        assert (kept.version, added.version) == (0, 1)
        assert (await stored(storage)).value == "stored"

    async def test_of_documents_of_one_key_the_last_one_is_written(self, storage: Storage) -> None:
        first, last = a_document(value="first"), a_document(value="last")

        assert await storage.put_documents([first, last]) == PutCounts(added=1)

        assert ((await stored(storage)).value, last.version, first.version) == ("last", 1, 0)

    async def test_put_and_if_absent_are_one_write(self, storage: Storage) -> None:
        with pytest.raises(SerializationError, match=r"document\.value"):
            await storage.put_documents([a_document()], if_absent=[a_document("note-2", value=float("nan"))])

        assert await storage.list_documents((), below=True) == []

    async def test_no_documents_are_no_write(self, storage: Storage) -> None:
        assert await storage.put_documents([]) == PutCounts()

    async def test_many_documents_are_put_in_one_write(self, storage: Storage) -> None:
        documents = [a_document(f"{number:05}", value=number) for number in range(3000)]
        await storage.put_documents(documents[:1000])

        assert await storage.put_documents(documents) == PutCounts(added=2000, replaced=1000)

        assert [document.version for document in documents] == [2] * 1000 + [1] * 2000
        assert await storage.list_documents(NOTES) == documents

    async def test_concurrent_puts_of_one_document_are_all_counted(self, storage: Storage) -> None:
        counts = await asyncio.gather(*(storage.put_documents([a_document(value=n)]) for n in range(20)))

        assert sum(each.added for each in counts) == 1
        assert (await stored(storage)).version == 20

    async def test_each_of_several_puts_at_once_is_told_of_its_own_documents(self, storage: Storage) -> None:
        await storage.put_documents([a_document("note")])
        for number in (1, 2, 3):
            new, replacing, kept = a_document(f"new-{number}"), a_document("note", value=number), a_document("note")
            mixed, twice, once, absent = await asyncio.gather(
                storage.put_documents([new, replacing]),
                storage.put_documents([a_document(f"both-{number}")]),
                storage.put_documents([a_document(f"both-{number}")], if_absent=[kept]),
                storage.put_documents([], if_absent=[a_document(f"other-{number}"), a_document(f"more-{number}")]),
            )

            assert mixed == PutCounts(added=1, replaced=1)
            assert {twice, once} in (
                {PutCounts(added=1), PutCounts(replaced=1, kept=1)},
                {PutCounts(replaced=1), PutCounts(added=1, kept=1)},
            )
            assert absent == PutCounts(added=2)
            assert (new.version, replacing.version, kept.version) == (1, number + 1, 0)
            found = await storage.get_document(NOTES, "note")
            assert found is not None
            assert (found.value, found.version) == (number, number + 1)
        assert len(await storage.list_documents(NOTES)) == 13

    async def test_an_update_replaces_the_version_that_was_read(self, storage: Storage) -> None:
        document = a_document()
        await storage.put_documents([document])
        stale = await stored(storage)
        document.value = "changed"

        await storage.update_document(document)

        assert await storage.get_document(NOTES, "note-1") == document
        with pytest.raises(ConflictError, match="changed since it was read"):
            await storage.update_document(stale)
        await storage.update_document(stale, force=True)
        assert stale.version == 3

    async def test_an_update_of_what_is_not_stored_is_refused(self, storage: Storage) -> None:
        with pytest.raises(NotFoundError, match="document"):
            await storage.update_document(a_document())

    async def test_modify_loses_no_concurrent_change(self, storage: Storage) -> None:
        document = a_document(value=0)
        await storage.put_documents([document])

        def add_one(record: DocumentModel) -> None:
            record.value += 1

        await asyncio.gather(*(storage.modify(DocumentModel, document.id, add_one) for _ in range(10)))

        assert (await stored(storage)).value == 10

    @pytest.mark.parametrize("change", [{"key": "other"}, {"collection": (*NOTES, "other")}])
    async def test_modify_does_not_write_another_document(self, storage: Storage, change: dict[str, Any]) -> None:
        document, other = a_document("note", value=1), a_document("note", value=2)
        for name, value in change.items():
            setattr(other, name, value)
        await storage.put_documents([document, other])

        def move(record: DocumentModel) -> None:
            for name, value in change.items():
                setattr(record, name, value)

        with pytest.raises(InvalidQueryError, match="the function returned document"):
            await storage.modify(DocumentModel, document.id, move)

        kept = [await storage.get_document(each.collection, each.key) for each in (document, other)]
        assert [each and (each.value, each.version) for each in kept] == [(1, 1), (2, 1)]

    async def test_documents_of_keys_come_in_the_order_of_the_keys(self, storage: Storage) -> None:
        await storage.put_documents([a_document(key) for key in "abc"])

        found = await storage.get_documents(NOTES, ["c", "missing", "a", "c"])

        assert [document.key for document in found] == ["c", "a"]
        assert await storage.get_documents(NOTES, []) == []

    async def test_a_document_is_taken_once(self, storage: Storage) -> None:
        await storage.put_documents([a_document(value="once", data=b"x")])

        taken = await asyncio.gather(*(storage.take_document(NOTES, "note-1") for _ in range(10)))

        assert [each.value for each in taken if each is not None] == ["once"]
        assert await storage.get_document(NOTES, "note-1") is None

    async def test_a_document_written_in_a_transaction_goes_with_it(self, storage: Storage) -> None:
        document = a_document()

        transaction = await storage.begin_transaction()
        await storage.put_documents([document])
        assert await storage.get_document(NOTES, "note-1") == document
        assert await storage.take_document(NOTES, "note-1") is not None
        await storage.put_documents([document])
        await transaction.rollback()

        assert document.version == 0
        assert await storage.get_document(NOTES, "note-1") is None

    async def test_a_query_may_compare_collections(self, storage: Storage) -> None:
        await storage.put_documents([a_document(), a_document(collection=("other",), label="x")])
        documents = storage.repository(DocumentModel)

        found = await documents.query(QueryBuilder(DocumentModel).where_eq("collection", NOTES))

        assert [each.collection for each in found] == [NOTES]
        assert await documents.count(QueryBuilder(DocumentModel).where_eq("label", "x")) == 1
        with pytest.raises(InvalidQueryError, match=r"document\.data"):
            QueryBuilder(DocumentModel).where_eq("data", b"")

    async def test_the_id_follows_collection_and_key(self, storage: Storage) -> None:
        document = a_document()
        document.key = "moved"

        await storage.put_documents([document])

        assert document.id == DocumentModel.id_of(NOTES, "moved")
        assert await storage.get_document(NOTES, "moved") == document

    async def test_a_document_survives_its_json_form(self, storage: Storage) -> None:
        document = a_document(data=b"\0\xff", embedding=[1.5], label="x")
        await storage.put_documents([document])

        assert DocumentModel.from_json(document.to_json()) == await stored(storage)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("collection", ["notes"]),
            ("collection", "notes"),
            ("collection", ("a", 1)),
            ("collection", ("a\0",)),
            ("collection", ("a", ["b"])),
            ("key", 5),
            ("key", "x" * 3000),
            ("label", 5),
            ("data", "text"),
            ("data", bytearray(b"x")),
            ("embedding", [float("inf")]),
            ("embedding", [1e300]),
            ("embedding", []),
            ("embedding", (1.0,)),
            ("value", {1}),
            ("expires_at", datetime(2026, 1, 1)),  # noqa: DTZ001 - refused for that
        ],
    )
    async def test_a_value_that_cannot_be_stored_is_refused_by_its_field(
        self, storage: Storage, field: str, value: Any
    ) -> None:
        document = a_document()
        setattr(document, field, value)

        with pytest.raises((SerializationError, InvalidQueryError), match=r"document\."):
            await storage.put_documents([a_document("good"), document])

        assert await storage.get_document(NOTES, "good") is None

    @pytest.mark.parametrize(
        "call",
        [
            lambda storage: storage.put_documents(a_document()),
            lambda storage: storage.put_documents(["x"]),
            lambda storage: storage.get_document("notes", "key"),
            lambda storage: storage.get_document(NOTES, 5),
            lambda storage: storage.get_documents(NOTES, "key"),
            lambda storage: storage.get_documents(NOTES, None),
            lambda storage: storage.take_document(("a", 5), "key"),
            lambda storage: storage.list_documents(NOTES, limit=-1),
            lambda storage: storage.list_documents(NOTES, below=1),
            lambda storage: storage.list_documents(NOTES, after=5),
            lambda storage: storage.delete_documents(NOTES, keys="key"),
            lambda storage: storage.touch_documents(NOTES, expires_at="soon"),
            lambda storage: storage.touch_documents(NOTES, expires_at=timedelta(-1)),
            lambda storage: storage.copy_documents(NOTES, NOTES),
            lambda storage: storage.copy_documents(("notes",), NOTES, below=True),
            lambda storage: storage.list_collections(depth=-1),
            lambda storage: storage.prune(0, documents="yes"),
        ],
    )
    async def test_an_invalid_argument_is_refused(self, storage: Storage, call: Callable[[Any], Any]) -> None:
        with pytest.raises((InvalidQueryError, SerializationError)):
            await call(storage)


@pytest.mark.asyncio
class TestExpiredDocuments:
    """What has expired counts as absent."""

    async def test_no_read_finds_it(self, storage: Storage, clock: ManualClock) -> None:
        document = a_document(expires_at=now() + timedelta(seconds=60))
        await storage.put_documents([document])
        assert await storage.get_document(NOTES, "note-1") == document

        clock.advance(60)

        assert await storage.get_document(NOTES, "note-1") is None
        assert await storage.get_documents(NOTES, ["note-1"]) == []
        assert await storage.list_documents((), below=True) == []
        assert await storage.list_document_keys(NOTES) == []
        assert await storage.list_collections() == []
        assert await storage.take_document(NOTES, "note-1") is None
        assert (await everything_in(storage))["DocumentModel"] == []
        documents = storage.repository(DocumentModel)
        assert await documents.find_by_id(document.id) is None
        assert await documents.query(QueryBuilder(DocumentModel)) == []
        assert await documents.count() == 0
        assert [each async for each in documents.iterate()] == []

    async def test_no_update_finds_it(self, storage: Storage, clock: ManualClock) -> None:
        document = a_document(expires_at=now() + timedelta(seconds=60))
        await storage.put_documents([document])
        clock.advance(60)

        with pytest.raises(NotFoundError):
            await storage.update_document(document)
        with pytest.raises(NotFoundError):
            await storage.modify(DocumentModel, document.id, lambda record: record)
        assert await storage.touch_documents(NOTES, expires_at=None) == 0
        assert await storage.copy_documents(NOTES, ("copy",)) == 0

    async def test_a_put_takes_its_place_as_a_new_document(self, storage: Storage, clock: ManualClock) -> None:
        expired = [a_document(key, expires_at=now() + timedelta(seconds=60)) for key in "abcd"]
        await storage.put_documents(expired)
        await storage.put_documents(expired)
        clock.advance(60)

        a, b, c, d = (a_document(key, value="new", created_at=after(5)) for key in "abcd")
        assert await storage.put_documents([a], if_absent=[b]) == PutCounts(added=2)
        await storage.repository(DocumentModel).save(c)
        await storage.store_many([d])

        assert await storage.list_documents(NOTES) == [a, b, c, d]
        assert [(each.version, each.created_at) for each in (a, b, c, d)] == [(1, after(5))] * 4

    async def test_a_deletion_of_a_range_deletes_it_and_does_not_count_it(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        lasting = [a_document(key, expires_at=now() + timedelta(seconds=90)) for key in "ab"]
        await storage.put_documents([*lasting, a_document("c", expires_at=now() + timedelta(seconds=60))])
        clock.advance(60)

        assert await storage.delete_documents(NOTES) == 2

        assert (await storage.prune(0)).documents == 0

    async def test_prune_deletes_it_and_nothing_else(self, storage: Storage, clock: ManualClock) -> None:
        moment = now()
        await storage.put_documents(
            [a_document("gone", expires_at=moment), a_document("stays", expires_at=moment + timedelta(seconds=60))]
        )
        await storage.put_documents([a_document("for ever")])

        assert await storage.prune(0, documents=False) == Pruned()
        assert await storage.prune(86_400) == Pruned(documents=1)
        assert await storage.list_document_keys(NOTES) == ["for ever", "stays"]

    async def test_the_expiry_of_many_can_be_moved(self, storage: Storage, clock: ManualClock) -> None:
        await storage.put_documents([a_document(f"{n:04}") for n in range(1200)])

        assert await storage.touch_documents(NOTES, after="0009", expires_at=timedelta(seconds=60)) == 1190
        assert await storage.touch_documents(NOTES, keys=["0010", "0011"], expires_at=None) == 2

        assert (await stored(storage, "0012")).expires_at == now() + timedelta(seconds=60)
        clock.advance(60)
        assert len(await storage.list_document_keys(NOTES)) == 12
        assert (await stored(storage, "0010")).version == 3

    async def test_an_expiry_may_be_given_in_unix_seconds(self, storage: Storage) -> None:
        await storage.put_documents([a_document()])

        await storage.touch_documents(NOTES, expires_at=4_000_000_000)

        assert (await stored(storage)).expires_at == datetime.fromtimestamp(4_000_000_000, UTC)
