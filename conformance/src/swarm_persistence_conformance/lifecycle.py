"""Facts about closing a storage, closing it twice, and using it afterwards."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from swarm_persistence import AgentModel, ClosedError, QueryBuilder, Storage, TaskModel, TransactionError
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.fixtures import OpenStorage
from swarm_persistence_conformance.records import a_message, a_metric, a_task, an_agent, an_event, ids

CALLS: dict[str, Callable[[Storage], Coroutine[Any, Any, Any]]] = {
    "store_agent": lambda storage: storage.store_agent(an_agent()),
    "get_agent": lambda storage: storage.get_agent("agent-1"),
    "update_agent": lambda storage: storage.update_agent(an_agent()),
    "delete_agent": lambda storage: storage.delete_agent("agent-1"),
    "list_agents": lambda storage: storage.list_agents(),
    "list_agents_by_status": lambda storage: storage.list_agents_by_status("active"),
    "store_task": lambda storage: storage.store_task(a_task()),
    "get_task": lambda storage: storage.get_task("task-1"),
    "update_task": lambda storage: storage.update_task(a_task()),
    "get_pending_tasks": lambda storage: storage.get_pending_tasks(),
    "get_tasks_by_agent": lambda storage: storage.get_tasks_by_agent("agent-1"),
    "claim_task": lambda storage: storage.claim_task("task-1", "agent-1"),
    "store_event": lambda storage: storage.store_event(an_event()),
    "get_events_by_agent": lambda storage: storage.get_events_by_agent("agent-1", 1),
    "get_events_by_type": lambda storage: storage.get_events_by_type("x", 1),
    "get_events_since": lambda storage: storage.get_events_since(0),
    "store_message": lambda storage: storage.store_message(a_message()),
    "get_messages_between": lambda storage: storage.get_messages_between("a", "b", 1),
    "get_unread_messages": lambda storage: storage.get_unread_messages("a"),
    "mark_message_read": lambda storage: storage.mark_message_read("message-1"),
    "store_metric": lambda storage: storage.store_metric(a_metric()),
    "get_metrics_by_agent": lambda storage: storage.get_metrics_by_agent("a", "x"),
    "get_aggregated_metrics": lambda storage: storage.get_aggregated_metrics("x", 0, 1),
    "count_by": lambda storage: storage.count_by(AgentModel, "status"),
    "get_task_throughput": lambda storage: storage.get_task_throughput(0, 1, 60),
    "get_waiting_tasks": lambda storage: storage.get_waiting_tasks(),
    "get_agent_liveness": lambda storage: storage.get_agent_liveness(),
    "get_waiting_dependents": lambda storage: storage.get_waiting_dependents("task-1"),
    "begin_transaction": lambda storage: storage.begin_transaction(),
    "vacuum": lambda storage: storage.vacuum(),
    "checkpoint": lambda storage: storage.checkpoint(),
    "get_storage_size": lambda storage: storage.get_storage_size(),
    "store_many": lambda storage: storage.store_many([an_agent()]),
    "find_all": lambda storage: storage.repository(AgentModel).find_all(),
    "save": lambda storage: storage.repository(AgentModel).save(an_agent()),
    "query": lambda storage: storage.repository(AgentModel).query(QueryBuilder(AgentModel)),
    "count": lambda storage: storage.repository(AgentModel).count(),
}


@pytest.mark.asyncio
class TestLifecycle:
    """The contract of `close`."""

    async def test_a_storage_may_be_closed_twice(self, open_storage: OpenStorage) -> None:
        async with open_storage() as storage:
            await storage.close()
            await storage.close()

    async def test_a_storage_may_be_closed_unused_and_many_times_at_once(self, open_storage: OpenStorage) -> None:
        async with open_storage() as storage:
            await asyncio.gather(*(storage.close() for _ in range(5)))

    @pytest.mark.parametrize("verb", CALLS)
    async def test_a_closed_storage_refuses_every_call(self, open_storage: OpenStorage, verb: str) -> None:
        async with open_storage() as storage:
            await storage.close()

            with pytest.raises(ClosedError, match="closed"):
                await CALLS[verb](storage)

    async def test_a_closed_storage_tells_nothing_of_its_pool(self, open_storage: OpenStorage) -> None:
        async with open_storage() as storage:
            await storage.close()

            with pytest.raises(ClosedError, match="closed"):
                storage.pool_status()

    async def test_a_repository_of_a_closed_storage_refuses_calls(self, open_storage: OpenStorage) -> None:
        async with open_storage() as storage:
            repository = storage.repository(AgentModel)
            await storage.close()

            with pytest.raises(ClosedError):
                await repository.find_all()

    async def test_the_end_of_the_block_closes_the_storage(self, open_storage: OpenStorage) -> None:
        async with open_storage() as storage:
            async with storage as entered:
                await entered.store_agent(an_agent())
            assert entered is storage

            with pytest.raises(ClosedError):
                await storage.list_agents()

    async def test_an_exception_closes_the_storage_and_passes(self, open_storage: OpenStorage) -> None:
        async with open_storage() as storage:
            with pytest.raises(ZeroDivisionError):
                async with storage:
                    raise ZeroDivisionError

            with pytest.raises(ClosedError):
                await storage.list_agents()

    async def test_closing_ends_an_open_transaction(self, open_storage: OpenStorage) -> None:
        async with open_storage() as storage:
            transaction = await storage.begin_transaction()
            await storage.store_task(a_task())
            await storage.close()

            with pytest.raises((ClosedError, TransactionError)):
                await transaction.commit()
            del transaction
            gc.collect()

    async def test_closing_lets_those_who_wait_finish_or_tells_them(self, open_storage: OpenStorage) -> None:
        async with open_storage() as storage:
            calls = [elsewhere(storage.store_task(a_task(str(number)))) for number in range(20)]
            await asyncio.sleep(0)

            await storage.close()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)

        assert {type(outcome) for outcome in outcomes} <= {TaskModel, ClosedError}

    async def test_two_storages_that_are_opened_fresh_share_nothing(self, open_storage: OpenStorage) -> None:
        async with open_storage() as first, open_storage() as second:
            await first.store_task(a_task("first's"))
            await second.store_task(a_task("second's"))

            assert ids(await first.get_pending_tasks()) == ["first's"]
            assert ids(await second.get_pending_tasks()) == ["second's"]
