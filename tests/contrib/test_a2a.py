"""What A2A says of its stores, as facts: on our stores on each engine, and on those that the SDK ships.

The SDK's distributions hold no tests. `FAILS` names the facts that do not hold on the SDK's own stores.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from a2a.auth.user import User
from a2a.helpers import new_text_artifact, new_text_message
from a2a.server.cluster import (
    ConcurrentTaskModificationError,
    TaskVersion,
    VersionedDatabaseTaskStore,
    VersionedTaskStore,
)
from a2a.server.context import ServerCallContext
from a2a.server.tasks import (
    DatabasePushNotificationConfigStore,
    DatabaseTaskStore,
    InMemoryPushNotificationConfigStore,
    InMemoryTaskStore,
    PushNotificationConfigStore,
    TaskStore,
)
from a2a.types.a2a_pb2 import ListTasksRequest, Task, TaskPushNotificationConfig, TaskState, TaskStatus
from a2a.utils.errors import InvalidParamsError
from a2a.utils.task import encode_page_token
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]
from sqlalchemy.ext.asyncio import create_async_engine

from contrib.storages import ENGINES, expect_what_fails, opened
from swarm_persistence import Storage
from swarm_persistence.contrib.a2a import SwarmPushNotificationConfigStore, SwarmTaskStore, SwarmVersionedTaskStore

FAILS = {
    "test_times_differ_by_nanoseconds": {"a2a-database"},
    "test_owners_may_use_the_same_ids": {"a2a-database"},
    "test_owners_may_use_the_same_ids_of_configurations": {"a2a-database"},
}


class Named(User):
    """A user by name."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def is_authenticated(self) -> bool:
        """Whether there is a name."""
        return bool(self._name)

    @property
    def user_name(self) -> str:
        """The name."""
        return self._name


ANN, BOB, UNNAMED = (ServerCallContext(user=Named(name)) for name in ("ann", "bob", ""))


@pytest.fixture(autouse=True)
def _expect_what_fails(request: pytest.FixtureRequest) -> None:
    expect_what_fails(request, FAILS)


@pytest_asyncio.fixture(params=[*ENGINES, "a2a-memory", "a2a-database"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """Give each pair of stores: of tasks, of configurations."""
    async with AsyncExitStack() as stack:
        if request.param == "a2a-memory":
            yield InMemoryTaskStore(), InMemoryPushNotificationConfigStore()
        elif request.param == "a2a-database":
            engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/a2a.db")
            stack.push_async_callback(engine.dispose)
            database = DatabaseTaskStore(engine), DatabasePushNotificationConfigStore(engine)
            for each in database:
                await each.initialize()
            yield database
        else:
            storage = await stack.enter_async_context(await opened(request.param, request, tmp_path))
            yield SwarmTaskStore(storage), SwarmPushNotificationConfigStore(storage)


@pytest.fixture
def tasks(stores: Any) -> TaskStore:
    """Give the store of tasks."""
    found: TaskStore = stores[0]
    return found


@pytest.fixture
def configurations(stores: Any) -> PushNotificationConfigStore:
    """Give the store of configurations."""
    found: PushNotificationConfigStore = stores[1]
    return found


@pytest_asyncio.fixture(params=[*ENGINES, "a2a-database"])
async def versioned(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VersionedTaskStore]:
    """Give each store of tasks with versions."""
    async with AsyncExitStack() as stack:
        if request.param == "a2a-database":
            engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/a2a.db")
            stack.push_async_callback(engine.dispose)
            yield VersionedDatabaseTaskStore(engine)
        else:
            storage = await stack.enter_async_context(await opened(request.param, request, tmp_path))
            yield SwarmVersionedTaskStore(storage)


def a_task(id: str, context: str = "c", state: Any = TaskState.TASK_STATE_WORKING, seconds: int | None = None) -> Task:
    """Return a task, whose status was set at this second of 2027."""
    timestamp = None if seconds is None else Timestamp(seconds=1_800_000_000 + seconds)
    return Task(id=id, context_id=context, status=TaskStatus(state=state, timestamp=timestamp))


async def listed(tasks: TaskStore, context: ServerCallContext = ANN, **params: Any) -> list[str]:
    """Return the ids of the tasks of one page."""
    return [task.id for task in (await tasks.list(ListTasksRequest(**params), context)).tasks]


async def test_a_task_comes_out_equal(tasks: TaskStore) -> None:
    task = a_task("t", seconds=1)
    task.status.timestamp.nanos = 123_456_789
    task.history.append(new_text_message("ä\U0001f600"))
    task.artifacts.append(new_text_artifact("name", "text"))
    task.metadata.update({"n": 1.5, "nested": {"list": [None, True]}})
    task.artifacts[0].parts.add().raw = b"\0\xff"
    task.metadata.get_or_create_struct("empty")

    await tasks.save(task, ANN)

    assert await tasks.get("t", ANN) == task
    assert (await tasks.list(ListTasksRequest(), ANN)).tasks == [task]


async def test_a_task_is_replaced(tasks: TaskStore) -> None:
    for state in (TaskState.TASK_STATE_WORKING, TaskState.TASK_STATE_COMPLETED):
        await tasks.save(a_task("t", state=state), ANN)

    found = await tasks.get("t", ANN)
    assert found is not None
    assert found.status.state == TaskState.TASK_STATE_COMPLETED
    assert await listed(tasks, status=TaskState.TASK_STATE_WORKING) == []
    assert await listed(tasks, status=TaskState.TASK_STATE_COMPLETED) == ["t"]


async def test_an_unknown_task_is_none(tasks: TaskStore) -> None:
    assert await tasks.get("unknown", ANN) is None
    assert await listed(tasks) == []
    await tasks.delete("unknown", ANN)


async def test_what_is_returned_is_a_copy(tasks: TaskStore) -> None:
    task = a_task("t")
    await tasks.save(task, ANN)
    task.context_id = "changed"
    found = await tasks.get("t", ANN)
    assert found is not None
    found.context_id = "changed"

    again = await tasks.get("t", ANN)
    assert again is not None
    assert again.context_id == "c"


async def test_a_task_is_its_owners(tasks: TaskStore) -> None:
    await tasks.save(a_task("t"), ANN)
    await tasks.save(a_task("u"), UNNAMED)

    for other in (BOB, UNNAMED):
        assert await tasks.get("t", other) is None
        await tasks.delete("t", other)
    assert await listed(tasks, BOB) == []
    assert await listed(tasks, UNNAMED) == ["u"]
    assert await listed(tasks) == ["t"]


async def test_owners_may_use_the_same_ids(tasks: TaskStore) -> None:
    await tasks.save(a_task("t", context="ann's"), ANN)
    await tasks.save(a_task("t", context="bob's"), BOB)

    found = [await tasks.get("t", context) for context in (ANN, BOB)]
    assert [task and task.context_id for task in found] == ["ann's", "bob's"]


async def test_a_deleted_task_is_gone(tasks: TaskStore) -> None:
    for id in ("t", "u"):
        await tasks.save(a_task(id), ANN)

    await tasks.delete("t", ANN)

    assert await tasks.get("t", ANN) is None
    assert await listed(tasks) == ["u"]


async def test_the_last_changed_task_comes_first(tasks: TaskStore) -> None:
    for id, seconds in (("a", 2), ("b", None), ("c", 3), ("d", 3), ("e", None), ("f", 1)):
        await tasks.save(a_task(id, seconds=seconds), ANN)

    assert await listed(tasks) == ["d", "c", "a", "f", "e", "b"]


async def test_times_differ_by_nanoseconds(tasks: TaskStore) -> None:
    for id, nanos in (("a", 2), ("b", 1), ("c", 3)):
        task = a_task(id, seconds=1)
        task.status.timestamp.nanos = nanos
        await tasks.save(task, ANN)

    assert await listed(tasks) == ["c", "a", "b"]


async def test_tasks_are_filtered(tasks: TaskStore) -> None:
    done = TaskState.TASK_STATE_COMPLETED
    for number, (context, state) in enumerate([("c", done), ("d", done), ("c", TaskState.TASK_STATE_FAILED)]):
        await tasks.save(a_task(str(number), context, state, seconds=number), ANN)
    await tasks.save(a_task("3", "c", done), ANN)

    assert await listed(tasks, context_id="c") == ["2", "0", "3"]
    assert await listed(tasks, status=done) == ["1", "0", "3"]
    assert await listed(tasks, context_id="c", status=done) == ["0", "3"]
    assert await listed(tasks, status_timestamp_after=Timestamp(seconds=1_800_000_001)) == ["2", "1"]
    assert await listed(tasks, context_id="unknown") == []


async def test_pages_follow_each_other(tasks: TaskStore) -> None:
    for number in range(7):
        await tasks.save(a_task(f"{number}", seconds=None if number < 2 else number), ANN)

    seen, sizes, token = [], [], ""
    while True:
        page = await tasks.list(ListTasksRequest(page_size=3, page_token=token), ANN)
        seen += [task.id for task in page.tasks]
        sizes.append((page.page_size, page.total_size))
        token = page.next_page_token
        if not token:
            break

    assert seen == ["6", "5", "4", "3", "2", "1", "0"]
    assert sizes == [(3, 7)] * 3
    assert (await tasks.list(ListTasksRequest(), ANN)).page_size == 50


async def test_a_page_of_less_than_nothing_is_refused(storage: Storage) -> None:
    with pytest.raises(InvalidParamsError, match="page_size is -1"):
        await SwarmTaskStore(storage).list(ListTasksRequest(page_size=-1), ANN)


async def test_a_token_stays_valid_when_its_task_is_deleted(tasks: TaskStore) -> None:
    for number in range(4):
        await tasks.save(a_task(f"{number}", seconds=number), ANN)
    page = await tasks.list(ListTasksRequest(page_size=2), ANN)

    await tasks.delete("2", ANN)

    assert await listed(tasks, page_token=page.next_page_token) == ["1", "0"]


async def test_a_token_that_names_a_task_begins_with_it(tasks: TaskStore) -> None:
    for number in range(4):
        await tasks.save(a_task(f"{number}", seconds=number), ANN)

    assert await listed(tasks, page_token=encode_page_token("2")) == ["2", "1", "0"]
    for wrong in (encode_page_token("unknown"), "~"):
        with pytest.raises(InvalidParamsError):
            await listed(tasks, page_token=wrong)


async def test_many_writers_lose_no_task(tasks: TaskStore) -> None:
    await asyncio.gather(*(tasks.save(a_task(f"{number:02}"), ANN) for number in range(30)))

    assert sorted(await listed(tasks)) == [f"{number:02}" for number in range(30)]


def to(goal: str, id: str = "", **fields: Any) -> TaskPushNotificationConfig:
    """Return a configuration."""
    return TaskPushNotificationConfig(id=id, url=goal, **fields)


async def test_a_configuration_comes_out_with_its_ids(configurations: PushNotificationConfigStore) -> None:
    given = to("https://a", token="secret")
    stored = await configurations.set_info("t", given, ANN)

    assert stored == to("https://a", "t", token="secret", task_id="t")
    assert given.id == ""
    assert await configurations.get_info("t", ANN) == [stored]
    assert await configurations.get_info("other", ANN) == []


async def test_a_configuration_of_the_same_id_is_replaced(configurations: PushNotificationConfigStore) -> None:
    for goal in ("https://a", "https://b"):
        await configurations.set_info("t", to(goal, "1"), ANN)
    await configurations.set_info("t", to("https://c", "2"), ANN)

    assert sorted(each.url for each in await configurations.get_info("t", ANN)) == ["https://b", "https://c"]


async def test_a_dispatch_sees_the_configurations_of_all_owners(configurations: PushNotificationConfigStore) -> None:
    await configurations.set_info("t", to("https://ann", "1"), ANN)
    await configurations.set_info("t", to("https://bob", "2"), BOB)
    await configurations.set_info("u", to("https://other", "3"), BOB)

    assert [each.url for each in await configurations.get_info("t", ANN)] == ["https://ann"]
    found = await configurations.get_info_for_dispatch("t")
    assert sorted(each.url for each in found) == ["https://ann", "https://bob"]


async def test_owners_may_use_the_same_ids_of_configurations(configurations: PushNotificationConfigStore) -> None:
    await configurations.set_info("t", to("https://ann"), ANN)
    await configurations.set_info("t", to("https://bob"), BOB)

    found = await configurations.get_info_for_dispatch("t")
    assert sorted(each.url for each in found) == ["https://ann", "https://bob"]


async def test_configurations_are_deleted_one_by_one_or_all(configurations: PushNotificationConfigStore) -> None:
    for id in "123":
        await configurations.set_info("t", to("https://a", id), ANN)
    await configurations.set_info("t", to("https://b", "4"), BOB)

    await configurations.delete_info("t", ANN, "1")
    await configurations.delete_info("t", ANN, "4")
    await configurations.delete_info("unknown", ANN)
    assert sorted(each.id for each in await configurations.get_info("t", ANN)) == ["2", "3"]

    await configurations.delete_info("t", ANN)
    assert await configurations.get_info("t", ANN) == []
    assert [each.id for each in await configurations.get_info("t", BOB)] == ["4"]


async def save(
    versioned: VersionedTaskStore, id: str, version: TaskVersion, state: Any = TaskState.TASK_STATE_WORKING
) -> TaskVersion:
    """Save a task that was derived from this version."""
    return await versioned.save(a_task(id, state=state), event=None, prev=None, prev_version=version, context=ANN)


async def test_each_save_gives_a_later_version(versioned: VersionedTaskStore) -> None:
    first = await save(versioned, "t", TaskVersion.MISSING)
    second = await save(versioned, "t", first, TaskState.TASK_STATE_COMPLETED)

    stored = await versioned.get("t", ANN)
    assert stored is not None
    assert second.is_after(first)
    assert (stored.version, stored.task.status.state) == (second, TaskState.TASK_STATE_COMPLETED)
    assert [each.id for each in (await versioned.list(ListTasksRequest(), ANN)).tasks] == ["t"]
    assert await versioned.get("t", BOB) is None
    await versioned.delete("t", ANN)
    assert await versioned.get("t", ANN) is None


async def test_a_save_of_a_stale_copy_is_refused(versioned: VersionedTaskStore) -> None:
    first = await save(versioned, "t", TaskVersion.MISSING)
    second = await save(versioned, "t", first)

    for stale in (TaskVersion.MISSING, first):
        with pytest.raises(ConcurrentTaskModificationError):
            await save(versioned, "t", stale, TaskState.TASK_STATE_FAILED)
    with pytest.raises(ConcurrentTaskModificationError):
        await save(versioned, "unknown", first)

    stored = await versioned.get("t", ANN)
    assert stored is not None
    assert (stored.version, stored.task.status.state) == (second, TaskState.TASK_STATE_WORKING)


async def test_of_writers_of_one_version_one_is_stored(versioned: VersionedTaskStore) -> None:
    first = await save(versioned, "t", TaskVersion.MISSING)

    outcomes = await asyncio.gather(*(save(versioned, "t", first) for _ in range(5)), return_exceptions=True)

    refused = [each for each in outcomes if not isinstance(each, TaskVersion)]
    assert [type(each) for each in refused] == [ConcurrentTaskModificationError] * 4


async def test_of_first_writers_one_is_stored(versioned: VersionedTaskStore) -> None:
    await save(versioned, "other", TaskVersion.MISSING)

    saves = (save(versioned, "t", TaskVersion.MISSING) for _ in range(5))
    outcomes = await asyncio.gather(*saves, return_exceptions=True)

    refused = [each for each in outcomes if not isinstance(each, TaskVersion)]
    assert [type(each) for each in refused] == [ConcurrentTaskModificationError] * 4


async def test_a_cancellation_replaces_what_is_not_finished(versioned: VersionedTaskStore) -> None:
    first = await save(versioned, "t", TaskVersion.MISSING)
    second = await save(versioned, "t", first)

    third = await save(versioned, "t", first, TaskState.TASK_STATE_CANCELED)

    assert third.is_after(second)
    for id in ("t", "unknown"):
        with pytest.raises(ConcurrentTaskModificationError):
            await save(versioned, id, third, TaskState.TASK_STATE_CANCELED)
