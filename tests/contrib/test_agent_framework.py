"""What Agent Framework says of storages for checkpoints, as facts: on ours on each engine, and on those that it ships.

The framework's distributions hold no tests. `FAILS` names the facts that do not hold on its own storages.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from agent_framework import (
    CheckpointStorage,
    FileCheckpointStorage,
    InMemoryCheckpointStorage,
    Workflow,
    WorkflowBuilder,
    WorkflowCheckpoint,
    WorkflowCheckpointException,
    WorkflowContext,
    executor,
)

from contrib.storages import ENGINES, expect_what_fails, opened
from swarm_persistence import EventModel
from swarm_persistence.contrib.agent_framework import SwarmCheckpointStorage

FAILS = {
    "test_of_equal_times_the_last_saved_is_the_latest": {"framework-memory", "framework-files"},
    "test_checkpoints_are_listed_in_the_order_of_their_saves": {"framework-files"},
    "test_a_type_that_is_not_allowed_is_refused_when_it_is_saved": {"framework-memory"},
    "test_a_time_without_a_zone_is_taken_as_utc": {"framework-memory", "framework-files"},
}


@dataclass
class Allowed:
    """A type of the application's that the storages allow."""

    name: str


@dataclass
class Unknown:
    """One that they do not."""

    name: str


ALLOWED = [f"{Allowed.__module__}:Allowed"]


@pytest.fixture(autouse=True)
def _expect_what_fails(request: pytest.FixtureRequest) -> None:
    expect_what_fails(request, FAILS)


@pytest_asyncio.fixture(params=[*ENGINES, "framework-memory", "framework-files"])
async def checkpoints(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CheckpointStorage]:
    """Give each storage for checkpoints."""
    if request.param == "framework-memory":
        yield InMemoryCheckpointStorage()
    elif request.param == "framework-files":
        yield FileCheckpointStorage(tmp_path, allowed_checkpoint_types=ALLOWED)
    else:
        async with await opened(request.param, request, tmp_path) as storage:
            yield SwarmCheckpointStorage(storage, allowed_checkpoint_types=ALLOWED)


def a_checkpoint(id: str, name: str = "flow", **fields: Any) -> WorkflowCheckpoint:
    """Return a checkpoint."""
    return WorkflowCheckpoint(workflow_name=name, graph_signature_hash="hash", checkpoint_id=id, **fields)


def at(second: int, zone: str = "+00:00") -> str:
    """Return a time."""
    return f"2027-01-01T00:00:{second:02}{zone}"


async def test_a_checkpoint_comes_out_equal(checkpoints: CheckpointStorage) -> None:
    state = {
        "text": "ä\U0001f600\0",
        "huge": 2**80,
        "floats": [1.0, 0.1, float("inf")],
        "pickled": [(1, 2), {3, 4}, b"\0\xff", datetime(2027, 1, 1, tzinfo=UTC), Counter("aab"), Allowed("x")],
        "none": None,
    }
    checkpoint = a_checkpoint("1", state=state, previous_checkpoint_id="0", iteration_count=3, metadata={"n": 1})

    assert await checkpoints.save(checkpoint) == "1"

    assert await checkpoints.load("1") == checkpoint
    assert await checkpoints.list_checkpoints(workflow_name="flow") == [checkpoint]
    assert await checkpoints.get_latest(workflow_name="flow") == checkpoint


async def test_an_unknown_checkpoint_is_refused(checkpoints: CheckpointStorage) -> None:
    with pytest.raises(WorkflowCheckpointException, match="unknown"):
        await checkpoints.load("unknown")
    assert await checkpoints.get_latest(workflow_name="unknown") is None
    assert await checkpoints.list_checkpoint_ids(workflow_name="unknown") == []
    assert await checkpoints.delete("unknown") is False


async def test_a_checkpoint_belongs_to_its_workflow(checkpoints: CheckpointStorage) -> None:
    for id, name in (("1", "a"), ("2", "b"), ("3", "a")):
        await checkpoints.save(a_checkpoint(id, name))

    assert sorted(await checkpoints.list_checkpoint_ids(workflow_name="a")) == ["1", "3"]
    assert [each.checkpoint_id for each in await checkpoints.list_checkpoints(workflow_name="b")] == ["2"]


async def test_checkpoints_are_listed_in_the_order_of_their_saves(checkpoints: CheckpointStorage) -> None:
    ids = [f"{number * 7 % 10}" for number in range(10)]
    for id in ids:
        await checkpoints.save(a_checkpoint(id))

    assert await checkpoints.list_checkpoint_ids(workflow_name="flow") == ids
    assert [each.checkpoint_id for each in await checkpoints.list_checkpoints(workflow_name="flow")] == ids


async def test_the_latest_is_told_by_its_time(checkpoints: CheckpointStorage) -> None:
    for id, time in (("1", at(1)), ("2", at(3)), ("3", at(2)), ("4", at(59, "+01:00"))):
        await checkpoints.save(a_checkpoint(id, timestamp=time))

    latest = await checkpoints.get_latest(workflow_name="flow")
    assert latest is not None
    assert latest.checkpoint_id == "2"


async def test_of_equal_times_the_last_saved_is_the_latest(checkpoints: CheckpointStorage) -> None:
    for id in ("2", "3", "1"):
        await checkpoints.save(a_checkpoint(id, timestamp=at(1)))

    latest = await checkpoints.get_latest(workflow_name="flow")
    assert latest is not None
    assert latest.checkpoint_id == "1"


async def test_a_time_without_a_zone_is_taken_as_utc(checkpoints: CheckpointStorage) -> None:
    for id, time in (("1", at(1)), ("2", at(3, "")), ("3", at(2))):
        await checkpoints.save(a_checkpoint(id, timestamp=time))

    latest = await checkpoints.get_latest(workflow_name="flow")
    assert latest is not None
    assert latest.checkpoint_id == "2"


async def test_a_checkpoint_is_replaced(checkpoints: CheckpointStorage) -> None:
    for name, count in (("old", 1), ("new", 2)):
        await checkpoints.save(a_checkpoint("1", name, iteration_count=count))

    assert (await checkpoints.load("1")).iteration_count == 2
    assert await checkpoints.list_checkpoint_ids(workflow_name="old") == []
    assert await checkpoints.get_latest(workflow_name="old") is None
    assert await checkpoints.list_checkpoint_ids(workflow_name="new") == ["1"]


async def test_a_deleted_checkpoint_is_gone(checkpoints: CheckpointStorage) -> None:
    for number in (1, 2):
        await checkpoints.save(a_checkpoint(f"{number}", timestamp=at(number)))

    assert await checkpoints.delete("2") is True
    assert await checkpoints.delete("2") is False
    latest = await checkpoints.get_latest(workflow_name="flow")
    assert latest is not None
    assert latest.checkpoint_id == "1"
    assert await checkpoints.list_checkpoint_ids(workflow_name="flow") == ["1"]


async def test_what_is_returned_is_a_copy(checkpoints: CheckpointStorage) -> None:
    checkpoint = a_checkpoint("1", state={"list": [1]})
    await checkpoints.save(checkpoint)
    checkpoint.state["list"].append(2)
    (await checkpoints.load("1")).state["list"].append(3)

    assert (await checkpoints.load("1")).state == {"list": [1]}


async def test_a_type_that_is_not_allowed_is_refused_when_it_is_saved(checkpoints: CheckpointStorage) -> None:
    with pytest.raises(WorkflowCheckpointException):
        await checkpoints.save(a_checkpoint("1", state={"x": Unknown("x")}))

    assert await checkpoints.list_checkpoint_ids(workflow_name="flow") == []


async def test_many_writers_lose_no_checkpoint(checkpoints: CheckpointStorage) -> None:
    await asyncio.gather(*(checkpoints.save(a_checkpoint(f"{number}")) for number in range(30)))

    assert len(await checkpoints.list_checkpoints(workflow_name="flow")) == 30


def a_workflow(checkpoints: CheckpointStorage) -> Workflow:
    """Return a workflow of two steps."""

    @executor(id="shout")
    async def shout(text: str, context: WorkflowContext[str]) -> None:
        await context.send_message(text.upper())

    @executor(id="answer")
    async def answer(text: str, context: WorkflowContext[str, str]) -> None:
        await context.yield_output(f"{text}!")

    builder = WorkflowBuilder(
        name="shouting", start_executor=shout, checkpoint_storage=checkpoints, output_from=[answer]
    )
    return builder.add_edge(shout, answer).build()


async def test_a_workflow_goes_on_from_a_checkpoint(checkpoints: CheckpointStorage) -> None:
    assert (await a_workflow(checkpoints).run("why")).get_outputs() == ["WHY!"]
    saved = await checkpoints.list_checkpoints(workflow_name="shouting")
    first = min(saved, key=lambda each: (each.iteration_count, each.timestamp))

    again = await a_workflow(checkpoints).run(checkpoint_id=first.checkpoint_id)

    assert again.get_outputs() == ["WHY!"]


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_checkpoint_belongs_to_the_callers_transaction(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with await opened(engine, request, tmp_path) as storage:
        checkpoints = SwarmCheckpointStorage(storage)

        async def run_and_fail() -> None:
            async with storage.transaction():
                await a_workflow(checkpoints).run("why")
                await storage.store_event(EventModel.new("answered", {}))
                raise RuntimeError("the power is cut")

        with pytest.raises(RuntimeError, match="cut"):
            await run_and_fail()

        assert await checkpoints.list_checkpoint_ids(workflow_name="shouting") == []
        assert await storage.read_events() == []
