"""Graphs of ten nodes, whose checkpoints wait for the disk, and the upkeep of long threads."""

import asyncio
import gc
import operator
import time
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.graph import END, START, StateGraph

from benchmarks.langgraph.savers import sqlite_saver

NODES = 10
ITEM = "x" * 200


class State(TypedDict):
    """What the graph carries: an item more with each node."""

    items: Annotated[list[str], operator.add]


def graph_of(saver: BaseCheckpointSaver[Any]) -> Any:
    """Return a graph of ten nodes, one after the other."""

    async def add(state: State) -> State:
        return {"items": [ITEM]}

    builder = StateGraph(State)
    names = [f"node-{number}" for number in range(NODES)]
    for before, name in zip([START, *names], names, strict=False):
        builder.add_node(name, add)
        builder.add_edge(before, name)
    builder.add_edge(names[-1], END)
    return builder.compile(checkpointer=saver)


async def nodes_rate(saver: BaseCheckpointSaver[Any], threads: int, seconds: float, name: str = "thread") -> float:
    """Return the nodes done a second by so many threads at once, each of which runs one graph after the other."""
    graph = graph_of(saver)
    done = 0

    async def one(thread: int) -> None:
        nonlocal done
        number = 0
        while not number or time.perf_counter() < deadline:
            config: Any = {"configurable": {"thread_id": f"{name}-{thread}-{number}"}}
            final = await graph.ainvoke({"items": []}, config, durability="sync")
            assert len(final["items"]) == NODES
            done += NODES
            number += 1

    started = time.perf_counter()
    deadline = started + seconds
    await asyncio.gather(*(one(thread) for thread in range(threads)))
    return done / (time.perf_counter() - started)


def sqlite_rate(peer: str, path: str, threads: int, seconds: float) -> float:
    """Return the nodes done a second on a new file, by a process that does nothing else."""

    async def run() -> float:
        async with sqlite_saver(peer, Path(path)) as saver:
            gc.collect()  # of what the imports have left, no part of what is measured
            return await nodes_rate(saver, threads, seconds)

    return asyncio.run(run())


async def fill(saver: BaseCheckpointSaver[Any], thread: str, checkpoints: int, *, has_writes: bool = False) -> None:
    """Store a thread of so many checkpoints, each with a pending write if wanted."""
    config: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    for step in range(checkpoints):
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = {"items": [ITEM]}
        checkpoint["channel_versions"] = {"items": saver.get_next_version(None, None)}
        config = await saver.aput(config, checkpoint, {"source": "loop", "step": step}, checkpoint["channel_versions"])
        if has_writes:
            await saver.aput_writes(config, [("items", [ITEM])], f"task-{step}")


async def latest_rate(saver: BaseCheckpointSaver[Any], thread: str, seconds: float) -> float:
    """Return how often a second the thread's latest checkpoint is read."""
    config: Any = {"configurable": {"thread_id": thread}}
    done = 0
    started = time.perf_counter()
    while time.perf_counter() < started + seconds:
        assert await saver.aget_tuple(config) is not None
        done += 1
    return done / (time.perf_counter() - started)


async def deletion_rate(saver: BaseCheckpointSaver[Any], thread: str) -> float:
    """Return how many such threads would be deleted a second."""
    started = time.perf_counter()
    await saver.adelete_thread(thread)
    taken = time.perf_counter() - started
    config: Any = {"configurable": {"thread_id": thread}}
    assert await saver.aget_tuple(config) is None
    return 1 / taken


def process_rate(peer: str, path: str, gate: Any, number: int, seconds: float) -> float:
    """Return the nodes done a second by this process, beside others on the file that start at the same moment."""

    async def run() -> float:
        gate.wait()
        async with sqlite_saver(peer, Path(path)) as saver:
            return await nodes_rate(saver, 4, seconds, f"process-{number}")

    return asyncio.run(run())
