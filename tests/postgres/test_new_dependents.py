"""Facts about storing tasks that wait for others: it is one statement, unless there may be a cycle or a failure."""

from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import pytest_asyncio

from postgres.proxies import Proxy, new_proxy
from postgres.servers import Server
from swarm_persistence import ConflictError, DependencyCycleError, PostgresStorage, TaskModel, TaskStatus, blocking
from swarm_persistence.storage import failures
from swarm_persistence_conformance.records import a_task, an_agent, ids

MANY = 600

STORES: dict[str, Callable[[PostgresStorage, TaskModel], Awaitable[object]]] = {
    "store_task": lambda storage, task: storage.store_task(task),
    "store_tasks": lambda storage, task: storage.store_tasks([a_task("own"), task]),
    "store_many": lambda storage, task: storage.store_many([task, a_task("own")]),
}


@pytest_asyncio.fixture
async def impatient(server: Server, schema: str) -> AsyncIterator[tuple[PostgresStorage, Proxy]]:
    """Give a storage that does not wait for long, and the proxy before its server."""
    async with new_proxy(server) as proxy:
        url = proxy.url(schema=schema, connection_timeout=5, operation_timeout=0.5)
        async with await PostgresStorage.open(url) as storage:
            yield storage, proxy


class TestStatements:
    """What is sent to the server."""

    @pytest.mark.parametrize("verb", STORES)
    async def test_a_task_and_its_links_are_one_statement(
        self, storage: PostgresStorage, statements: list[str], verb: str
    ) -> None:
        await storage.store_tasks([a_task("open"), a_task("done", status=TaskStatus.COMPLETED)])
        statements.clear()

        await STORES[verb](storage, a_task("waits", dependencies=["open", "done", "unknown"]))

        assert len(statements) == 1
        task = await storage.claim_next_task("agent-1")
        assert task is not None
        assert task.id == "open"
        await storage.complete_task(task)
        assert ids(await storage.get_blocked_tasks()) == ["waits"]
        await storage.store_task(a_task("unknown", status=TaskStatus.COMPLETED))
        assert "waits" in ids(await storage.get_ready_tasks())

    async def test_a_task_whose_dependencies_are_completed_is_ready_at_once(
        self, storage: PostgresStorage, statements: list[str]
    ) -> None:
        await storage.store_tasks([a_task(id, status=TaskStatus.COMPLETED) for id in ("a", "b")])
        statements.clear()

        await storage.store_task(a_task("next", dependencies=["a", "b", "a"]))

        assert len(statements) == 1
        assert ids(await storage.get_ready_tasks()) == ["next"]

    async def test_tasks_that_wait_for_each_other_in_one_batch_are_one_statement(
        self, storage: PostgresStorage, statements: list[str]
    ) -> None:
        chain = [a_task(f"{n:03}", dependencies=[f"{n - 1:03}"] if n else []) for n in range(100)]

        await storage.store_many(chain)

        assert len(statements) == 1
        assert [task.version for task in chain] == [1] * 100
        assert ids(await storage.get_ready_tasks()) == ["000"]
        assert ids(await storage.get_blocked_tasks()) == ids(chain[1:])

    async def test_a_batch_with_other_records_is_stored_in_a_transaction(
        self, storage: PostgresStorage, statements: list[str]
    ) -> None:
        await storage.store_many([an_agent("agent"), a_task("waits", dependencies=["x"])])

        assert len(statements) > 1
        assert ids(await storage.get_blocked_tasks()) == ["waits"]

    async def test_large_batches_count_their_links_as_well(self, storage: PostgresStorage) -> None:
        names = [f"part-{number}" for number in range(MANY)]
        await storage.store_task(a_task("whole", dependencies=names))
        await storage.store_many([a_task(f"after-{name}", dependencies=["whole"]) for name in names])

        await storage.store_many([a_task(name, status=TaskStatus.COMPLETED) for name in names])

        assert ids(await storage.get_ready_tasks()) == ["whole"]
        assert len(await storage.get_blocked_tasks()) == MANY


class TestRefusals:
    """What the statement leaves to the long way, or refuses itself."""

    async def test_a_task_that_is_stored_already_is_named_though_its_links_are_there_too(
        self, storage: PostgresStorage
    ) -> None:
        await storage.store_task(a_task("twice", dependencies=["x", "y"]))

        with pytest.raises(ConflictError, match="twice"):
            await storage.store_task(a_task("twice", dependencies=["z", "y"]))

        for id in ("x", "y"):
            await storage.store_task(a_task(id, status=TaskStatus.COMPLETED))
        assert ids(await storage.get_ready_tasks()) == ["twice"]

    async def test_one_that_others_wait_for_is_stored_and_closes_no_cycle(self, storage: PostgresStorage) -> None:
        await storage.store_task(a_task("last", dependencies=["middle"]))
        await storage.store_task(a_task("middle", dependencies=["first"]))

        with pytest.raises(DependencyCycleError):
            await storage.store_task(a_task("first", dependencies=["last"]))

        assert ids(await storage.get_blocked_tasks()) == ["last", "middle"]

    async def test_one_whose_dependency_was_cancelled_fails_at_once(self, storage: PostgresStorage) -> None:
        await storage.store_task(a_task("cancelled"))
        await storage.cancel_task("cancelled")

        task = await storage.store_task(a_task("in vain", dependencies=["cancelled", "unknown"]))

        assert task.status is TaskStatus.FAILED


class TestClaimsInBetween:
    """A task is claimed by its id while its dependency fails: one step has found it pending, the next one does not."""

    async def test_the_claim_holds_and_what_waits_for_it_does_not_fail(
        self, storage: PostgresStorage, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await storage.store_tasks([
            a_task("first"),
            a_task("claimed", dependencies=["first"]),
            a_task("behind", dependencies=["claimed"]),
            a_task("pending", dependencies=["first"]),
        ])  # fmt: skip
        doomed_by = failures._doomed_by
        claims: list[bool] = []

        def claim() -> bool:
            with blocking.open_storage(url) as other:
                return other.claim_task("claimed", "agent")

        def claim_first(*arguments: Any) -> Any:
            if not claims:
                with ThreadPoolExecutor() as thread:  # this one runs the event loop
                    claims.append(thread.submit(claim).result())
            return doomed_by(*arguments)

        monkeypatch.setattr(failures, "_doomed_by", claim_first)

        assert await storage.cancel_task("first")

        assert claims == [True]
        tasks = {id: await storage.get_task(id) for id in ("first", "claimed", "behind", "pending")}
        assert {id: task.status for id, task in tasks.items() if task} == {
            "first": TaskStatus.CANCELLED,
            "claimed": TaskStatus.ASSIGNED,
            "behind": TaskStatus.PENDING,
            "pending": TaskStatus.FAILED,
        }


class TestLostAnswers:
    """What becomes of a task whose storing was done, unheard."""

    async def test_it_is_stored_once_and_told_as_stored(
        self, impatient: tuple[PostgresStorage, Proxy], storage: PostgresStorage
    ) -> None:
        behind, proxy = impatient
        proxy.fatal_words = proxy.arming_words = b"the lost one"

        task = await behind.store_task(a_task("the lost one", dependencies=["x"]))

        assert proxy.fatal_words is None  # it was met
        assert task.version == 1
        assert ids(await storage.get_blocked_tasks()) == ["the lost one"]
        await storage.store_task(a_task("x", status=TaskStatus.COMPLETED))
        assert ids(await storage.get_ready_tasks()) == ["the lost one"]
