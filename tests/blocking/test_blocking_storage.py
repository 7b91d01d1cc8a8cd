"""Facts about the blocking form: the same methods without await, from many threads, with transactions of their own."""

import inspect
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from sqlite.programs import Program, run_program
from swarm_persistence import (
    AgentModel,
    AgentStatus,
    BlockingRepository,
    BlockingStorage,
    BlockingTransaction,
    ClosedError,
    ConflictError,
    NotFoundError,
    OtherError,
    QueryBuilder,
    Repository,
    Storage,
    TaskModel,
    Transaction,
    TransactionError,
    open_storage,
)
from swarm_persistence_conformance.records import a_task, an_agent, ids

ASYNC_ONLY = {"engine"}
"""What an engine does is awaited: `storage.storage.engine` gives it to those that await it."""

BLOCKING_ONLY = {"run", "storage"}
"""What an adapter needs that is written for the asynchronous form."""


def public_methods(owner: type[Any]) -> dict[str, Any]:
    return {
        name: member
        for name, member in inspect.getmembers(owner)
        if not name.startswith("_") and (callable(member) or isinstance(member, property))
    }


def parameters(member: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(member, property):
        return []
    return [(each.name, each.kind, each.default) for each in inspect.signature(member).parameters.values()]


class TestForm:
    @pytest.mark.parametrize(
        ("awaitable", "blocking"),
        [(Storage, BlockingStorage), (Repository, BlockingRepository), (Transaction, BlockingTransaction)],
    )
    def test_every_method_has_its_counterpart_with_the_same_parameters(
        self, awaitable: type[Any], blocking: type[Any]
    ) -> None:
        expected = {
            name: parameters(member) for name, member in public_methods(awaitable).items() if name not in ASYNC_ONLY
        }
        found = {
            name: parameters(member) for name, member in public_methods(blocking).items() if name not in BLOCKING_ONLY
        }

        assert found == expected

    def test_every_method_says_what_it_does(self) -> None:
        for owner in (BlockingStorage, BlockingRepository, BlockingTransaction):
            assert [name for name, member in public_methods(owner).items() if not inspect.getdoc(member)] == []

    def test_no_method_gives_something_to_await(self, storage: BlockingStorage) -> None:
        storage.store_agent(an_agent())
        results = [
            storage.get_agent("agent-1"),
            storage.list_agents(),
            storage.store_many([a_task()]),
            storage.get_storage_size(),
            storage.repository(AgentModel).count(),
            storage.claim_task("task-1", "agent-1"),
        ]

        assert [type(result) for result in results] == [AgentModel, list, int, int, int, bool]

    def test_its_text_names_the_storage(self, tmp_path: Path) -> None:
        with open_storage(tmp_path / "swarm.db") as storage:
            assert repr(storage) == f"BlockingSqliteStorage('{tmp_path}/swarm.db')"


class TestUse:
    def test_the_seeds_repository(self, storage: BlockingStorage) -> None:
        repository = storage.repository(AgentModel)
        agent = AgentModel.new("worker-001", "researcher", ["analysis"])

        repository.save(agent)
        agent.set_status(AgentStatus.ACTIVE)
        repository.update(agent)

        assert repository.find_by_id(agent.id) == agent
        assert repository.find_all() == [agent]
        assert repository.query(QueryBuilder(AgentModel).where_eq("status", "active")) == [agent]
        assert repository.count(QueryBuilder(AgentModel).where_eq("status", "idle")) == 0
        repository.delete(agent.id)
        assert repository.find_by_id(agent.id) is None

    def test_the_schemas_of_one_database(self, storage: BlockingStorage) -> None:
        with storage.schema("acme") as other:
            other.store_task(a_task())
            assert storage.schema("acme") is other
            assert other.schema(storage.schema_name) is storage
            assert (other.schema_name, ids(other.get_pending_tasks())) == ("acme", ["task-1"])
            assert storage.get_pending_tasks() == []

        with pytest.raises(ClosedError):
            other.get_pending_tasks()
        again = storage.schema("acme")
        assert again is not other
        assert ids(again.get_pending_tasks()) == ["task-1"]
        storage.close()
        with pytest.raises(ClosedError):
            again.get_pending_tasks()

    def test_errors_are_the_same(self, storage: BlockingStorage) -> None:
        storage.store_agent(an_agent())

        with pytest.raises(ConflictError, match="agent 'agent-1' exists already"):
            storage.store_agent(an_agent())
        with pytest.raises(NotFoundError):
            storage.mark_message_read("missing")

    def test_a_closed_one_refuses(self) -> None:
        with open_storage(":memory:") as storage:
            storage.close()
            storage.close()

        with pytest.raises(ClosedError):
            storage.list_agents()

    def test_a_path_that_cannot_be_opened_raises(self, tmp_path: Path) -> None:
        with pytest.raises(OtherError):
            open_storage("nosuch://scheme")


class TestTransactions:
    def test_a_block_commits(self, storage: BlockingStorage) -> None:
        with storage.transaction() as transaction:
            storage.store_agent(an_agent())
            assert transaction.is_open

        assert not transaction.is_open
        assert ids(storage.list_agents()) == ["agent-1"]

    def test_a_block_rolls_back_on_an_exception(self, storage: BlockingStorage) -> None:
        def fail() -> None:
            with storage.transaction():
                storage.store_agent(an_agent())
                raise ValueError("its own")

        with pytest.raises(ValueError, match="its own"):
            fail()

        assert storage.list_agents() == []

    def test_the_seeds_way(self, storage: BlockingStorage) -> None:
        transaction = storage.begin_transaction()
        storage.store_task(a_task("task-1"))
        storage.store_task(a_task("task-2"))
        transaction.commit()

        assert ids(storage.get_pending_tasks()) == ["task-1", "task-2"]
        with pytest.raises(TransactionError, match="over already"):
            transaction.rollback()

    def test_nested_ones_undo_their_own_part(self, storage: BlockingStorage) -> None:
        with storage.transaction():
            storage.store_agent(an_agent("outer"))
            inner = storage.begin_transaction()
            storage.store_agent(an_agent("inner"))
            inner.rollback()

        assert ids(storage.list_agents()) == ["outer"]

    def test_it_belongs_to_its_thread(self, storage: BlockingStorage) -> None:
        seen: list[Any] = []
        with storage.transaction():
            storage.store_agent(an_agent())
            thread = threading.Thread(target=lambda: seen.append(storage.list_agents()))
            thread.start()
            thread.join(20)

            assert seen == [[]]
            assert ids(storage.list_agents()) == ["agent-1"]

    def test_one_left_behind_by_its_thread_is_rolled_back(self, storage: BlockingStorage) -> None:
        caught: list[Any] = []

        def leave() -> None:
            with pytest.warns(ResourceWarning, match="was dropped") as warnings:
                storage.begin_transaction()
            caught.extend(warnings)

        thread = threading.Thread(target=leave)
        thread.start()
        thread.join(20)

        storage.store_agent(an_agent())
        assert len(caught) == 1


class TestThreads:
    def test_many_threads_use_one_storage(self, storage: BlockingStorage) -> None:
        errors: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for place in range(20):
                    storage.store_agent(an_agent(f"{number}-{place}"))
                    assert storage.get_agent(f"{number}-{place}") is not None
                with storage.transaction():
                    storage.store_task(a_task(f"task-{number}"))
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

        assert errors == []
        assert len(storage.list_agents()) == 160
        assert storage.repository(TaskModel).count() == 8

    def test_transactions_of_threads_wait_for_each_other_and_lose_nothing(self, storage: BlockingStorage) -> None:
        storage.store_task(a_task(retry_count=0))

        def add() -> None:
            for _ in range(10):
                with storage.transaction():
                    task = storage.get_task("task-1")
                    assert task is not None
                    task.retry_count += 1
                    storage.update_task(task)

        threads = [threading.Thread(target=add) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

        task = storage.get_task("task-1")
        assert task is not None
        assert task.retry_count == 50


class TestProcess:
    def test_ctrl_c_gives_up_the_call_and_leaves_the_storage_usable(self, tmp_path: Path) -> None:
        program = Program(
            """
            import sys, threading
            from swarm_persistence import AgentModel, open_storage

            with open_storage(sys.argv[1]) as storage:
                held, over = threading.Event(), threading.Event()

                def hold():
                    with storage.transaction():
                        held.set()
                        while storage.pool_status().waiting == 0:
                            pass
                        print("waits", flush=True)
                        over.wait()

                holder = threading.Thread(target=hold)
                holder.start()
                held.wait()
                try:
                    storage.store_agent(AgentModel(id="given up", name="", agent_type=""))
                except KeyboardInterrupt:
                    print("interrupted", flush=True)
                over.set()
                holder.join()
                storage.store_agent(AgentModel(id="after", name="", agent_type=""))
                print([agent.id for agent in storage.list_agents()])
            """,
            tmp_path / "swarm.db",
        )
        assert program.wait_for_line() == "waits"

        os.kill(program.process.pid, signal.SIGINT)

        assert program.finish() == ["interrupted", "['after']"]

    def test_a_forked_child_may_open_its_own(self, tmp_path: Path) -> None:
        lines = run_program(
            """
            import os, sys
            from swarm_persistence import AgentModel, ClosedError, open_storage

            with open_storage(sys.argv[1]) as storage:
                storage.store_agent(AgentModel(id="parent", name="", agent_type=""))
                if child := os.fork():
                    assert os.waitpid(child, 0)[1] == 0
                    print(len(storage.list_agents()))
                else:
                    try:
                        storage.list_agents()
                    except ClosedError:
                        with open_storage(sys.argv[1]) as own:
                            own.store_agent(AgentModel(id="child", name="", agent_type=""))
                    os._exit(0)
            """,
            tmp_path / "swarm.db",
        )

        assert lines == ["2"]
