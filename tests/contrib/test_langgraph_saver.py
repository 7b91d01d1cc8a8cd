"""Facts about LangGraph's checkpoints in a storage, on each engine."""

import asyncio
import inspect
import operator
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict, cast

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint, get_checkpoint_id
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph

from swarm_persistence import (
    BlockingStorage,
    DocumentModel,
    EventModel,
    MessageModel,
    SqliteStorage,
    Storage,
    TaskModel,
    TaskStatus,
    TransactionError,
    open_storage,
)
from swarm_persistence.contrib.langgraph import SwarmSaver


class State(TypedDict):
    """What the graph of these facts carries."""

    count: int


def _added(values: list[int], more: Sequence[list[int]]) -> list[int]:
    return values + [each for some in more for each in some]


class Log(TypedDict):
    """What the graph with a channel of differences carries."""

    log: Annotated[list[int], DeltaChannel(_added)]


def counting_graph(saver: BaseCheckpointSaver[Any]) -> Any:
    """Return a graph of two nodes that count."""

    async def count(state: State) -> State:
        return {"count": state["count"] + 1}

    builder = StateGraph(State)
    builder.add_node("first", count)
    builder.add_node("second", count)
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    builder.add_edge("second", END)
    return builder.compile(checkpointer=saver)


async def test_langgraphs_conformance_suite_passes_whole(storage: Storage) -> None:
    @checkpointer_test(name="SwarmSaver")
    async def saver() -> AsyncIterator[SwarmSaver]:
        yield SwarmSaver(storage)

    report = await validate(saver)

    failures = [failure for result in report.results.values() for failure in result.failures or ()]
    assert failures == []
    # What the suite does not detect, it leaves out, and calls the rest a success.
    assert sum(result.tests_passed for result in report.results.values()) == 81


class Sum(TypedDict):
    """What the graphs of nodes that run at once, or one after the other, carry."""

    count: Annotated[int, operator.add]


def adding_graph(saver: BaseCheckpointSaver[Any], *edges: tuple[str, str]) -> Any:
    """Return a graph of nodes without `await` that add 1."""

    def add(_: Sum) -> Sum:
        return {"count": 1}

    builder: Any = StateGraph(Sum)
    for node in {name for edge in edges for name in edge} - {START, END}:
        builder.add_node(node, add)
    for start, end in edges:
        builder.add_edge(start, end)
    return builder.compile(checkpointer=saver)


def test_without_await_a_graph_of_one_node_at_a_time_saves_within_the_transaction(tmp_path: Path) -> None:
    config = {"configurable": {"thread_id": "thread"}}
    with open_storage(tmp_path / "swarm.db") as storage:
        graph = adding_graph(SwarmSaver(storage), (START, "first"), ("first", "second"), ("second", END))

        def run_and_fail() -> None:
            with storage.transaction():
                assert graph.invoke({"count": 0}, config, durability="sync") == {"count": 2}
                raise RuntimeError("the power is cut")

        with pytest.raises(RuntimeError, match="the power is cut"):
            run_and_fail()
        assert storage.list_collections() == []
        with storage.transaction():
            graph.invoke({"count": 0}, config, durability="sync")
        assert len([*graph.get_state_history(config)]) == 4


async def test_nodes_that_run_at_once_save_within_the_transaction_of_an_async_graph(storage: Storage) -> None:
    graph = adding_graph(SwarmSaver(storage), (START, "one"), (START, "other"), ("one", END), ("other", END))
    config = {"configurable": {"thread_id": "thread"}}

    async def run_and_fail() -> None:
        async with storage.transaction():
            assert await graph.ainvoke({"count": 0}, config, durability="sync") == {"count": 2}
            raise RuntimeError("the power is cut")

    with pytest.raises(RuntimeError, match="the power is cut"):
        await run_and_fail()
    assert await storage.list_collections() == []


async def test_without_await_nodes_that_run_at_once_cannot_save_within_a_transaction(tmp_path: Path) -> None:
    async with await SqliteStorage.builder().transaction_timeout(0.2).build(tmp_path / "swarm.db") as opened:
        storage = BlockingStorage(opened)
        graph = adding_graph(SwarmSaver(storage), (START, "one"), (START, "other"), ("one", END), ("other", END))

        def run() -> None:
            with storage.transaction():
                graph.invoke({"count": 0}, {"configurable": {"thread_id": "thread"}}, durability="sync")

        with pytest.raises(TransactionError, match="transaction_timeout"):
            await asyncio.to_thread(run)
        assert await storage.storage.list_collections(("langgraph", "thread", "checkpoints")) == []


async def test_a_checkpoint_its_task_event_and_message_are_committed_as_one(storage: Storage) -> None:
    graph = counting_graph(SwarmSaver(storage))
    task = TaskModel.new("count", {})
    await storage.store_task(task)
    thread = {"configurable": {"thread_id": "conversation"}}

    async def run_and_report() -> None:
        async with storage.transaction():
            await graph.ainvoke({"count": 1}, thread, durability="sync")
            claimed = await storage.claim_next_task("agent")
            assert claimed is not None
            await storage.complete_task(claimed, {"count": 3})
            await storage.store_event(EventModel.new("counted", {}))
            await storage.store_message(MessageModel.new("agent", "reader", "answer", "it is 3"))
            if fails:
                raise RuntimeError("the power is cut")

    fails = True
    with pytest.raises(RuntimeError, match="the power is cut"):
        await run_and_report()
    assert (await graph.aget_state(thread)).values == {}
    assert await storage.read_events() == []

    fails = False
    await run_and_report()
    assert (await graph.aget_state(thread)).values == {"count": 3}
    stored = await storage.get_task(task.id)
    assert stored is not None
    assert stored.status is TaskStatus.COMPLETED
    assert len(await storage.read_events()) == 1


async def test_keep_latest_keeps_the_state_and_its_writes(storage: Storage) -> None:
    saver = SwarmSaver(storage)
    graph = counting_graph(saver)
    thread = {"configurable": {"thread_id": "conversation"}}
    await graph.ainvoke({"count": 1}, thread)

    await saver.aprune(["conversation"])

    assert (await graph.aget_state(thread)).values == {"count": 3}
    assert len([each async for each in graph.aget_state_history(thread)]) == 1
    assert await storage.list_document_keys(("langgraph", "conversation", "writes", "")) == []


async def test_keep_latest_refuses_a_thread_with_a_delta_channel(storage: Storage) -> None:
    builder = StateGraph(Log)
    builder.add_node("add", lambda state: {"log": [len(state["log"])]})
    builder.add_edge(START, "add")
    saver = SwarmSaver(storage)
    graph = builder.compile(checkpointer=saver)
    await graph.ainvoke({"log": [1]}, {"configurable": {"thread_id": "delta"}})

    with pytest.raises(NotImplementedError, match="DeltaChannel: delta"):
        await saver.aprune(["delta"], strategy="keep_latest")

    assert len([each async for each in saver.alist({"configurable": {"thread_id": "delta"}})]) > 1


async def test_a_filter_by_none_finds_what_has_no_such_name(storage: Storage) -> None:
    config: Any = {"configurable": {"thread_id": "conversation", "checkpoint_ns": ""}}
    for saver in (SwarmSaver(storage), InMemorySaver()):
        await saver.aput(config, empty_checkpoint(), {"source": "input"}, {})

        assert len([each async for each in saver.alist(config, filter={"writes": None})]) == 1
        assert [each async for each in saver.alist(config, filter={"source": None})] == []


async def test_the_namespace_none_is_the_root(storage: Storage) -> None:
    saver = SwarmSaver(storage)
    config: Any = {"configurable": {"thread_id": "conversation", "checkpoint_ns": None}}

    stored = await saver.aput(config, empty_checkpoint(), {}, {})

    found = await saver.aget_tuple(config)
    assert found is not None
    assert found.config == stored
    assert stored["configurable"]["checkpoint_ns"] == ""


async def test_a_write_that_is_stored_stays_unless_its_channel_is_special(storage: Storage) -> None:
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    for saver in (SwarmSaver(storage), InMemorySaver()):
        stored = await saver.aput(config, empty_checkpoint(), {}, {})
        for writes in (
            [("a", 1)],
            [("a", 2), ("b", b"3")],
            [("__error__", "first")],
            [("__error__", "second")],
            [("a", 4), ("__interrupt__", "wait"), ("c", None)],
            [],
        ):
            await saver.aput_writes(stored, writes, "task")

        found = await saver.aget_tuple(stored)

        assert found is not None
        assert sorted(found.pending_writes or (), key=str) == [
            ("task", "__error__", "second"),
            ("task", "__interrupt__", "wait"),
            ("task", "a", 1),
            ("task", "b", b"3"),
            ("task", "c", None),
        ]


async def test_writes_of_an_earlier_release_are_read_beside_later_ones(storage: Storage) -> None:
    saver = SwarmSaver(storage)
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    stored = await saver.aput(config, empty_checkpoint(), {}, {})
    id = stored["configurable"]["checkpoint_id"]
    kept = [("a", "earlier", 0, 1000), ("__error__", "failed", -1, 999)]
    await storage.put_documents(
        DocumentModel.new(
            ("langgraph", "t", "writes", ""), f"{id}/task/{number:06}", ["", "task", place, channel, kind], data
        )
        for channel, written, place, number in kept
        for kind, data in [saver.serde.dumps_typed(written)]
    )
    await saver.aput_writes(stored, [("a", "later"), ("b", "new")], "task")

    found = await saver.aget_tuple(stored)

    assert found is not None
    assert found.pending_writes == [("task", "__error__", "failed"), ("task", "a", "earlier"), ("task", "b", "new")]


async def test_metadata_may_hold_tuples(storage: Storage) -> None:
    saver = SwarmSaver(storage)
    metadata: Any = {"source": "loop", "step": 1, "counts": (1, 2)}
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}

    stored = await saver.aput(config, empty_checkpoint(), metadata, {})

    found = await saver.aget_tuple(stored)
    assert found is not None
    assert cast(Any, found.metadata)["counts"] == [1, 2]
    assert [each.config async for each in saver.alist(config, filter={"counts": (1, 2)})] == [stored]


async def test_metadata_that_is_no_json_comes_back(storage: Storage) -> None:
    saver = SwarmSaver(storage)
    cut: Any = {"source": "loop", "said": "an emoji, cut in half: \ud83d", "rate": float("inf"), "run_id": "\ud83d"}
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}

    stored = await saver.aput(config, empty_checkpoint(), cut, {})

    found = await saver.aget_tuple(stored)
    assert found is not None
    assert found.metadata == cut
    for wanted in (
        {"source": "loop"},
        {"said": cut["said"]},
        {"source": "loop", "said": cut["said"]},
        {"rate": float("inf")},
    ):
        assert [each.config async for each in saver.alist(config, filter=wanted, limit=1)] == [stored]
    await saver.adelete_for_runs(["\ud83d"])
    assert await saver.aget_tuple(config) is None


@pytest.mark.parametrize("wanted", [{"n": 2}, {"n": 1}, {"n": True}, {"n": None}, {"n": "2"}, {"n": 2, "m": ["x"]}, {}])
@pytest.mark.parametrize("limit", [1, 3, None])
async def test_a_filter_finds_what_langgraphs_own_saver_finds(
    storage: Storage, wanted: dict[str, Any], limit: int | None
) -> None:
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    savers: list[BaseCheckpointSaver[Any]] = [SwarmSaver(storage), InMemorySaver()]
    values: list[Any] = [2, "2", True, 1, None, 2.0, [2], {"x": 2}, 2, 3]
    checkpoints = [empty_checkpoint() for _ in values]
    for saver in savers:
        for checkpoint, value in zip(checkpoints, values, strict=True):
            await saver.aput(config, checkpoint, cast(Any, {"n": value, "m": ["x"]}), {})

    ours, theirs = [
        [each.checkpoint["id"] async for each in saver.alist(config, filter=wanted, before=before, limit=limit)]
        for before in [cast(Any, {"configurable": {"checkpoint_id": checkpoints[-1]["id"]}})]
        for saver in savers
    ]

    assert ours == theirs


async def test_a_run_of_any_number_of_checkpoints_is_deleted_with_their_writes(storage: Storage) -> None:
    saver = SwarmSaver(storage)
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    for number in range(50):
        run_id = "other" if number == 25 else "run"
        stored = await saver.aput(config, empty_checkpoint(), cast(Any, {"step": number, "run_id": run_id}), {})
        await saver.aput_writes(stored, [("channel", number)], "task")

    await saver.adelete_for_runs(["run", "unknown"])

    [left] = [each async for each in saver.alist(config)]
    assert (left.metadata["step"], left.pending_writes) == (25, [("task", "channel", 25)])
    assert len(await storage.list_documents(("langgraph",), below=True)) == 2


async def test_the_history_of_several_namespaces_is_that_of_langgraphs_own_saver(storage: Storage) -> None:
    """Over several pages, with the writes of each checkpoint; the namespaces alternate, and so do two threads."""
    savers: list[BaseCheckpointSaver[Any]] = [SwarmSaver(storage), InMemorySaver()]
    for number in range(50):
        checkpoint = empty_checkpoint()
        place: Any = {"thread_id": "tu"[number % 4 == 3], "checkpoint_ns": ["", "sub:1"][number % 3 == 1]}
        for saver in savers:
            stored = await saver.aput({"configurable": place}, checkpoint, cast(Any, {"step": number % 7}), {})
            for task in range(number % 3):
                await saver.aput_writes(stored, [("channel", number), ("other", None)], f"task-{task}")

    thread = {"thread_id": "t"}
    for configurable in [None, thread, {**thread, "checkpoint_ns": ""}]:
        config: Any = configurable and {"configurable": configurable}
        for wanted in [None, {"step": 3}, {"step": 0}]:
            ours, theirs = [
                [
                    (str(get_checkpoint_id(each.config)), each.config, each.metadata, each.pending_writes or [])
                    async for each in saver.alist(config, filter=cast(Any, wanted))
                ]
                for saver in savers
            ]
            # LangGraph's own saver sorts within a namespace only.
            assert ours == sorted(theirs, key=lambda each: each[0], reverse=True)
            for limit in [0, 1, 30]:
                limited = [each.config async for each in savers[0].alist(config, filter=wanted, limit=limit)]
                assert limited == [each[1] for each in ours[:limit]]


async def test_what_concerns_many_checkpoints_reads_and_deletes_them_in_pages(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one by one: each call is a round trip to a server."""
    saver = SwarmSaver(storage)
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    for number in range(100):
        stored = await saver.aput(config, empty_checkpoint(), cast(Any, {"step": number, "run_id": "run"}), {})
        await saver.aput_writes(stored, [("channel", number)], "task")
    calls: list[str] = []
    for verb in ("get_document", "get_documents", "list_documents", "list_document_keys", "delete_documents"):

        def counted(verb: Any, run: Any) -> Any:
            def call(*args: Any, **options: Any) -> Any:
                calls.append(verb)
                return run(*args, **options)

            return call

        monkeypatch.setattr(storage, verb, counted(verb, getattr(storage, verb)))

    assert len([each async for each in saver.alist(config)]) == 100
    listing, calls[:] = len(calls), []
    await saver.adelete_for_runs(["run"])
    deleting, calls[:] = len(calls), []
    for _ in range(100):
        await saver.aput(config, empty_checkpoint(), cast(Any, {}), {})
    await saver.aprune(["t"], strategy="keep_latest")

    assert (listing, deleting, len(calls)) == (11, 21, 9)
    assert len([each async for each in saver.alist(config)]) == 1


async def test_a_single_text_is_no_list_of_ids(storage: Storage) -> None:
    saver = SwarmSaver(storage)

    with pytest.raises(TypeError, match="run_ids is 'abc', expected a list of ids"):
        await saver.adelete_for_runs("abc")
    with pytest.raises(TypeError, match="thread_ids is 'abc', expected a list of ids"):
        await saver.aprune("abc")


async def test_limit_counts_the_checkpoints_that_match_the_filter(storage: Storage) -> None:
    saver = SwarmSaver(storage)
    graph = counting_graph(saver)
    await graph.ainvoke({"count": 1}, {"configurable": {"thread_id": "t"}})

    found = [each async for each in saver.alist(None, filter={"source": "input"}, limit=1)]

    assert [each.metadata["source"] for each in found] == ["input"]


def test_langgraph_sees_that_writes_carry_the_path_of_their_task() -> None:
    assert "task_path" in inspect.signature(SwarmSaver.put_writes).parameters
    assert "task_path" in inspect.signature(SwarmSaver.aput_writes).parameters


def test_the_same_saver_serves_callers_without_a_loop(tmp_path: Path) -> None:
    with open_storage(tmp_path / "swarm.db") as storage:
        builder = StateGraph(State)
        builder.add_node("count", lambda state: {"count": state["count"] + 1})
        builder.add_edge(START, "count")
        graph = builder.compile(checkpointer=SwarmSaver(storage))
        thread: Any = {"configurable": {"thread_id": "t"}}

        graph.invoke(cast(Any, {"count": 1}), thread)

        assert graph.get_state(thread).values == {"count": 2}
        assert len([*graph.get_state_history(thread)]) == 3
