"""Facts about LangGraph's long-term store in a storage, on each engine."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypedDict, cast
from uuid import UUID

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.store.base import BaseStore, GetOp, IndexConfig, ListNamespacesOp, MatchCondition, Op, PutOp, SearchOp

from swarm_persistence import InvalidQueryError, SerializationError, Storage, open_storage
from swarm_persistence.contrib.langgraph import SwarmStore
from swarm_persistence.contrib.langgraph.filters import matcher


def letters(texts: Sequence[str]) -> list[list[float]]:
    """Embed texts by how often they have each letter."""
    return [[float(text.casefold().count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]


class State(TypedDict):
    """What the graph of these facts carries."""

    said: str


async def test_reads_of_a_batch_come_before_its_writes_and_the_last_write_of_a_key_stays(storage: Storage) -> None:
    store = SwarmStore(storage)
    await store.aput(("a",), "k", {"n": 0})

    answers = await store.abatch(
        [
            PutOp(("a",), "k", {"n": 1}),
            PutOp(("a",), "k", {"n": 2}),
            PutOp(("b",), "gone", {"n": 3}),
            PutOp(("b",), "gone", None),
            GetOp(("a",), "k"),
            GetOp(("b",), "gone"),
        ]
    )

    assert answers[:4] == [None] * 4
    assert cast(Any, answers[4]).value == {"n": 0}
    assert answers[5] is None
    assert cast(Any, await store.aget(("a",), "k")).value == {"n": 2}
    assert await store.aget(("b",), "gone") is None


async def test_a_batch_that_cannot_be_stored_changes_nothing(storage: Storage) -> None:
    store = SwarmStore(storage)
    await store.aput(("a",), "kept", {"n": 0})

    with pytest.raises(SerializationError):
        await store.abatch([PutOp(("a",), "kept", None), PutOp(("a",), "bad", {"n": float("nan")})])

    assert await store.aget(("a",), "kept") is not None


async def test_an_item_belongs_to_the_transaction_in_which_it_is_put(storage: Storage) -> None:
    store = SwarmStore(storage)

    async def put_and_fail() -> None:
        async with storage.transaction():
            await store.aput(("a",), "k", {"n": 1})
            assert await store.aget(("a",), "k") is not None
            raise RuntimeError("the power is cut")

    with pytest.raises(RuntimeError, match="the power is cut"):
        await put_and_fail()

    assert await store.aget(("a",), "k") is None


async def test_a_read_moves_the_expiry_and_keeps_the_time_of_the_write(storage: Storage) -> None:
    store = SwarmStore(storage)
    collection = ("langgraph.store", "a")
    await store.aput(("a",), "k", {"n": 1}, ttl=60)
    written = await store.aget(("a",), "k", refresh_ttl=False)
    assert written is not None
    soon = timedelta(minutes=5)

    for read in (store.aget(("a",), "k"), store.asearch(("a",)), store.asearch(("a",), filter={"n": 1})):
        assert await storage.touch_documents(collection, expires_at=soon) == 1
        await read
        document = await storage.get_document(collection, "k")
        assert document is not None
        assert document.expires_at is not None
        assert document.expires_at > datetime.now(UTC) + timedelta(minutes=50)
    assert await store.aget(("a",), "k") == written

    await storage.touch_documents(collection, expires_at=soon)
    await store.asearch(("a",), refresh_ttl=False)
    document = await storage.get_document(collection, "k")
    assert document is not None
    assert document.expires_at is not None
    assert document.expires_at < datetime.now(UTC) + timedelta(minutes=10)


async def test_what_has_expired_is_not_read_before_it_is_swept(storage: Storage) -> None:
    store = SwarmStore(storage, index={"dims": 26, "embed": letters})
    await store.aput(("a",), "k", {"text": "over"}, ttl=60)
    await storage.touch_documents(("langgraph.store", "a"), expires_at=datetime(2020, 1, 1, tzinfo=UTC))

    assert await store.aget(("a",), "k") is None
    assert await store.asearch((), query="over") == []
    assert await store.asearch(("a",)) == []
    assert await store.alist_namespaces() == []
    assert await store.asweep_ttl() == 1


async def test_without_embeddings_a_query_ranks_items_by_its_words(storage: Storage) -> None:
    store = SwarmStore(storage)
    for key, text in (("tea", "likes green tea"), ("work", "writes Python"), ("cup", "tea, tea, always tea")):
        await store.aput(("user", "facts"), key, {"text": text})

    found = await store.asearch(("user",), query="tea")
    assert [item.key for item in found] == ["cup", "tea", "work"]
    assert [item.score is None for item in found] == [False, False, True]

    (second,) = await store.asearch(("user",), query="tea", limit=1, offset=1)
    assert second.key == "tea"


async def test_an_item_is_found_by_the_vector_of_its_that_fits_best(storage: Storage) -> None:
    store = SwarmStore(storage, index={"dims": 26, "embed": letters, "fields": ["name", "notes[*]"]})
    await store.aput(("a",), "one", {"name": "zzz", "notes": ["bbb", "ccc"]})
    await store.aput(("a",), "two", {"name": "bbz", "notes": []})
    await store.aput(("a",), "none", {"name": "bbb"}, index=False)

    found = await store.asearch(("a",), query="bbb")

    assert [item.key for item in found] == ["one", "two", "none"]
    assert found[0].score == pytest.approx(1.0)
    assert found[2].score is None


async def test_the_best_few_are_the_first_of_all(storage: Storage) -> None:
    index: IndexConfig = {"dims": 26, "embed": letters, "fields": ["name", "notes[*]"]}
    texts = ("aab", "abb", "bbb", "abc", "zzz", "bbz", "bz", "azz")
    for store in (SwarmStore(storage, index=index), SwarmStore(storage)):
        for number, text in enumerate(texts):
            value = {"name": text, "notes": ["b", text] if number % 3 == 0 else [], "even": number % 2 == 0}
            await store.aput(("a",), text, value)

        for query in ("bbb", "zzz", None):
            for wanted in (None, {"even": True}):
                every = [item.key for item in await store.asearch(("a",), query=query, filter=wanted)]
                assert len(every) == (len(texts) if wanted is None else len(texts) // 2)
                for limit in (1, 2, 3):
                    found = await store.asearch(("a",), query=query, filter=wanted, limit=limit, offset=1)
                    assert [item.key for item in found] == every[1 : limit + 1]


async def test_a_filter_finds_an_item_among_more_than_a_page(storage: Storage) -> None:
    store = SwarmStore(storage)
    await store.abatch([PutOp(("many", str(n % 3)), f"{n:05}", {"n": n, "tag": {"odd": n % 2}}) for n in range(1203)])

    found = await store.asearch(("many",), filter={"n": {"$gte": 1200}, "tag": {"odd": 0}}, limit=5)
    assert sorted(item.key for item in found) == ["01200", "01202"]
    assert len(await store.asearch(("many",), filter={"tag.odd": 1}, limit=2000)) == 601
    assert len(await store.asearch(("many", "1"), limit=2000)) == 401


async def test_the_items_written_last_come_first(storage: Storage) -> None:
    store = SwarmStore(storage)
    for key in ("b", "a", "c"):
        await store.aput(("x",), key, {"is": True})

    for wanted in (None, {"is": True}):
        first = await store.asearch(("x",), filter=wanted, limit=2)
        rest = await store.asearch(("x",), filter=wanted, limit=2, offset=2)
        assert [item.key for item in first + rest] == ["c", "a", "b"]


async def test_a_filter_that_few_items_pass_finds_the_ones_written_last(storage: Storage) -> None:
    store = SwarmStore(storage)
    for start in range(0, 1200, 200):
        await store.abatch([PutOp(("x",), f"{n:04}", {"kind": n % 40}) for n in range(start, start + 200)])

    for kind in (0, 39):
        keys = [f"{n:04}" for n in range(1200) if n % 40 == kind]
        batches = [keys[start : start + 5] for start in range(0, len(keys), 5)]  # of a batch, the lowest key first
        every = [key for batch in reversed(batches) for key in batch]
        for limit, offset in ((2, 0), (3, 4), (10, 10), (40, 0)):
            found = await store.asearch(("x",), filter={"kind": kind}, limit=limit, offset=offset)
            assert [each.key for each in found] == every[offset : offset + limit]


FILTERS: list[dict[str, Any]] = [
    {"kind": "a"},
    {"kind": {"$eq": "b"}},
    {"rank": {"$gt": 10, "$lte": 20}},
    {"rank": 7, "kind": "a"},
    {"rank": 7.0},
    {"is": True},
    {"is": 1},
    {"is": {"$gte": False}},
    {"rank": {"$gt": False}},
    {"kind": {"$ne": "a"}},
    {"kind": None},
    {"user": {"name": "\0", "age": {"$lt": 3}}},
    {"user.name": "é"},
    {"user": {"name.x": 1}},
    {"user": {}},
    {"tags": ["a", "b"]},
    {"rank": 2**70},
    {"rank": float("nan")},
    {"rank": {"$lt": float("inf")}},
    {"kind": "\ud800"},
    {"\udc00": {"$gte": 0}},
    {"kind": {"$eq": {"a": 1}}},
]


async def test_a_filter_finds_what_one_of_python_would(storage: Storage) -> None:
    users = [{"name": "\0", "age": 1}, {"name": "é", "age": 5}, {"name.x": 1}, {}, None, 5]
    kinds = ["a", "b", None, 1, {"a": 1}]
    items = [
        {
            "rank": (n, float(n), 2**70, str(n), True)[n % 5],
            **({} if n % 7 == 0 else {"kind": kinds[n % 5]}),
            "user": users[n % 6],
            "is": (True, 1, "true", False)[n % 4],
            "tags": ["a", "b"] if n % 2 else "a",
        }
        for n in range(60)
    ]
    store = SwarmStore(storage)
    await store.abatch([PutOp(("f",), f"{n:02}", value) for n, value in enumerate(items)])

    for wanted in FILTERS:
        accepts = matcher(wanted)
        found = await store.asearch(("f",), filter=wanted, limit=100)
        accepted = [f"{n:02}" for n, value in enumerate(items) if accepts(value)]
        assert sorted(item.key for item in found) == accepted, wanted


async def test_true_is_not_1_to_a_filter(storage: Storage) -> None:
    store = SwarmStore(storage)
    for key, value in (("true", True), ("one", 1), ("float", 1.0), ("text", "1")):
        await store.aput(("a",), key, {"it": value})

    async def keys(wanted: Any) -> list[str]:
        return sorted(item.key for item in await store.asearch(("a",), filter={"it": wanted}))

    assert await keys(True) == ["true"]
    assert await keys(1) == ["float", "one"]
    assert await keys({"$ne": True}) == ["float", "one", "text"]
    assert await keys({"$gte": 0}) == ["float", "one"]


async def test_a_batch_of_reads_answers_each_in_its_place(storage: Storage) -> None:
    store = SwarmStore(storage)
    await store.abatch([PutOp((f"n{n}",), "k", {"n": n}) for n in range(5)])
    ops: list[Op] = [
        SearchOp(("n1",)),
        GetOp(("n2",), "k"),
        ListNamespacesOp((MatchCondition("prefix", ("n3",)),)),
        PutOp(("n0",), "k", None),
        SearchOp((), filter={"n": 4}),
        GetOp(("n9",), "k"),
        SearchOp(("n0",)),
    ]

    for results in (await store.abatch(ops), await asyncio.to_thread(store.batch, ops)):
        first, second, third, fourth, fifth, sixth, _ = cast(list[Any], results)
        assert [item.value for item in first] == [{"n": 1}]
        assert second.value == {"n": 2}
        assert third == [("n3",)]
        assert fourth is sixth is None
        assert [item.value for item in fifth] == [{"n": 4}]
    assert results[-1] == []


async def test_a_search_that_fails_in_a_batch_fails_the_batch(storage: Storage) -> None:
    store = SwarmStore(storage)
    await store.aput(("a",), "k", {"n": 1})

    with pytest.raises(ValueError, match="operator '\\$near'"):
        await store.abatch([SearchOp(("a",)), SearchOp(("a",), filter={"n": {"$near": 1}}), PutOp(("a",), "k", None)])

    assert await store.aget(("a",), "k") is not None


async def test_what_makes_no_sense_is_refused_by_its_name(storage: Storage) -> None:
    store = SwarmStore(storage, index={"dims": 3, "embed": letters})
    await store.aput(("a",), "k", {"n": 1}, index=False)

    with pytest.raises(ValueError, match="operator '\\$near'"):
        await store.asearch(("a",), filter={"n": {"$near": 1}})
    with pytest.raises(ValueError, match="26 numbers, expected dims, 3"):
        await store.aput(("a",), "bad", {"text": "t"})
    with pytest.raises(TypeError, match="expected a GetOp"):
        await store.abatch(cast(Any, ["get"]))
    for ttl in (True, 0, -1, float("nan"), float("inf"), 1e9, "1"):
        with pytest.raises(InvalidQueryError, match=r"ttl is .*, expected minutes"):
            await store.aput(("a",), "bad", {}, index=False, ttl=cast(Any, ttl))
    for number in (-1, True, 2**63):
        for name in ("limit", "offset"):
            with pytest.raises(InvalidQueryError, match=f"{name} is {number}, expected a whole number"):
                await cast(Any, store).asearch(("a",), **{name: number})
            with pytest.raises(InvalidQueryError, match=f"{name} is {number}, expected a whole number"):
                await cast(Any, store).alist_namespaces(**{name: number})
    assert await store.aget(("a",), "bad") is None
    assert len(await store.asearch(("a",))) == 1


async def test_a_tuple_comes_back_as_a_list(storage: Storage) -> None:
    store = SwarmStore(storage)

    await store.aput(("a",), "k", {"place": (1, {"x": ((),)})})

    found = await store.aget(("a",), "k")
    assert found is not None
    assert found.value == {"place": [1, {"x": [[]]}]}


async def test_what_would_come_back_as_a_text_that_says_less_is_refused(storage: Storage) -> None:
    store = SwarmStore(storage)

    for value in (b"\xff", bytearray(b"\xff"), memoryview(b"\xff"), Decimal("1.50")):
        with pytest.raises(SerializationError, match=r"document\.value\['a'\]\[0\] is .*, expected a JSON value"):
            await store.aput(("a",), "k", {"a": [value]})
    assert await store.aget(("a",), "k") is None

    await store.aput(("a",), "k", {"id": UUID(int=1), "day": date(2026, 11, 30), "set": {1}})
    found = await store.aget(("a",), "k")
    assert found is not None
    assert found.value == {"id": str(UUID(int=1)), "day": "2026-11-30", "set": [1]}


async def test_a_read_moves_the_expiry_of_an_item_of_an_earlier_release_which_has_no_label(storage: Storage) -> None:
    store = SwarmStore(storage)
    collection = ("langgraph.store", "a")
    await store.aput(("a",), "k", {"n": 1}, ttl=60)
    document = await storage.get_document(collection, "k")
    assert document is not None
    document.label, document.expires_at = None, datetime.now(UTC) + timedelta(minutes=5)
    await storage.put_documents([document])

    await store.aget(("a",), "k")

    moved = await storage.get_document(collection, "k")
    assert moved is not None
    assert moved.expires_at is not None
    assert moved.expires_at > datetime.now(UTC) + timedelta(minutes=50)


async def test_a_read_gives_no_expiry_to_what_replaces_its_item_meanwhile(storage: Storage) -> None:
    store = SwarmStore(storage, index={"dims": 26, "embed": letters, "fields": ["texts[*]"]})
    touch = storage.touch_documents

    async def touch_what_was_replaced(*args: Any, **kwargs: Any) -> int:
        await SwarmStore(storage).aput(("a",), "k", {"n": 2}, ttl=None)
        return await touch(*args, **kwargs)

    for texts in ([], ["one"], ["one", "two"]):
        await store.aput(("a",), "k", {"texts": texts}, ttl=60)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(storage, "touch_documents", touch_what_was_replaced)
            assert await store.aget(("a",), "k") is not None

        document = await storage.get_document(("langgraph.store", "a"), "k")
        assert document is not None
        assert (document.value, document.expires_at) == ({"n": 2}, None)


def test_the_same_store_serves_callers_without_a_loop(tmp_path: Path) -> None:
    def remember(state: State, *, store: BaseStore) -> State:
        store.put(("said",), str(len(store.search(("said",)))), {"text": state["said"]})
        return state

    with open_storage(tmp_path / "swarm.db") as storage:
        store = SwarmStore(storage, index={"dims": 26, "embed": letters})
        builder = StateGraph(State)
        builder.add_node("remember", remember)
        builder.add_edge(START, "remember")
        builder.add_edge("remember", END)
        graph = builder.compile(store=store)
        for said in ("apples", "zebras"):
            graph.invoke(cast(Any, {"said": said}))

        found, _ = store.batch([SearchOp(("said",), query="zebra"), PutOp(("said",), "0", None)])

        assert [item.value["text"] for item in cast(Any, found)] == ["zebras", "apples"]
        assert store.list_namespaces() == [("said",)]
        assert store.get(("said",), "0") is None


async def test_a_ttl_may_be_a_timedelta(storage: Storage) -> None:
    store = SwarmStore(storage)

    await store.aput(("a",), "k", {"n": 1}, ttl=cast(Any, timedelta(hours=1.5)))

    document = await storage.get_document(("langgraph.store", "a"), "k")
    assert document is not None
    assert document.expires_at == document.created_at + timedelta(minutes=90)
    assert await store.aget(("a",), "k", refresh_ttl=True) is not None
