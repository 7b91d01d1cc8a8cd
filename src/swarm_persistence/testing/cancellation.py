"""Facts about cancelled callers: each call did all or nothing, and the storage goes on."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from swarm_persistence.errors import TransactionError
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence.storage import Storage
from swarm_persistence.testing.callers import cancel_after, elsewhere, turns_before_cancelling
from swarm_persistence.testing.records import a_message, a_metric, a_task, an_agent, an_event, ids

Call = Callable[[Storage, str], Coroutine[Any, Any, Any]]


class Trial(NamedTuple):
    """A verb to cancel: what must be there before, the call, and what to look at afterwards."""

    call: Call
    look: Call
    prepare: Call | None = None


async def _agent(storage: Storage, name: str) -> Any:
    agent = await storage.get_agent(name)
    return agent and (agent.name, agent.version)


async def _task(storage: Storage, name: str) -> Any:
    task = await storage.get_task(name)
    return task and (task.status, task.error, task.version)


async def _events(storage: Storage, name: str) -> int:
    return len(await storage.get_events_by_agent(name, 10))


async def _messages(storage: Storage, name: str) -> tuple[int, int]:
    return len(await storage.get_messages_between(name, name, 10)), len(await storage.get_unread_messages(name))


async def _metrics(storage: Storage, name: str) -> int:
    return len(await storage.get_metrics_by_agent(name, "duration_ms"))


async def _agent_and_task(storage: Storage, name: str) -> Any:
    return await _agent(storage, name), await _task(storage, name)


async def _two_tasks(storage: Storage, name: str) -> Any:
    return await _task(storage, f"{name}-1"), await _task(storage, f"{name}-2")


async def _store_agent_that_runs_a_task(storage: Storage, name: str) -> None:
    running = a_task(name, status=TaskStatus.RUNNING, assigned_to=name)
    await storage.store_many([an_agent(name), running])


async def _store_two_in_a_block(storage: Storage, name: str) -> None:
    async with storage.transaction():
        await storage.store_task(a_task(f"{name}-1"))
        await storage.store_task(a_task(f"{name}-2"))


async def _store_two_in_a_nested_block(storage: Storage, name: str) -> None:
    async with storage.transaction():
        await storage.store_task(a_task(f"{name}-1"))
        async with storage.transaction():
            await storage.store_task(a_task(f"{name}-2"))


async def _store_two_by_begin_and_commit(storage: Storage, name: str) -> None:
    transaction = await storage.begin_transaction()
    try:
        await asyncio.gather(*(storage.store_task(a_task(f"{name}-{number}")) for number in (1, 2)))
    except BaseException:
        await transaction.rollback()
        raise
    await transaction.commit()


async def _wait_to_begin(storage: Storage, name: str) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(30):
            await _store_two_in_a_block(storage, name)


WRITES: dict[str, Trial] = {
    "store_agent": Trial(lambda storage, name: storage.store_agent(an_agent(name)), _agent),
    "update_agent": Trial(
        lambda storage, name: storage.update_agent(an_agent(name, name="new", version=1)),
        _agent,
        lambda storage, name: storage.store_agent(an_agent(name)),
    ),
    "delete_agent": Trial(
        lambda storage, name: storage.delete_agent(name), _agent_and_task, _store_agent_that_runs_a_task
    ),
    "store_task": Trial(lambda storage, name: storage.store_task(a_task(name)), _task),
    "update_task": Trial(
        lambda storage, name: storage.update_task(a_task(name, error="new", version=1)),
        _task,
        lambda storage, name: storage.store_task(a_task(name)),
    ),
    "claim_task": Trial(
        lambda storage, name: storage.claim_task(name, name),
        _task,
        lambda storage, name: storage.store_task(a_task(name)),
    ),
    "store_event": Trial(lambda storage, name: storage.store_event(an_event(name, agent_id=name)), _events),
    "store_message": Trial(
        lambda storage, name: storage.store_message(a_message(name, from_agent=name, to_agent=name)), _messages
    ),
    "mark_message_read": Trial(
        lambda storage, name: storage.mark_message_read(name),
        _messages,
        lambda storage, name: storage.store_message(a_message(name, from_agent=name, to_agent=name)),
    ),
    "store_metric": Trial(lambda storage, name: storage.store_metric(a_metric(name, agent_id=name)), _metrics),
    "store_many": Trial(
        lambda storage, name: storage.store_many([a_task(f"{name}-1"), a_task(f"{name}-2")]), _two_tasks
    ),
    "save": Trial(
        lambda storage, name: storage.repository(TaskModel).save(a_task(name, error="new", version=1)),
        _task,
        lambda storage, name: storage.store_task(a_task(name)),
    ),
    "a transaction block": Trial(_store_two_in_a_block, _two_tasks),
    "a nested transaction block": Trial(_store_two_in_a_nested_block, _two_tasks),
    "begin and commit with gather": Trial(_store_two_by_begin_and_commit, _two_tasks),
    "a block within a timeout": Trial(_wait_to_begin, _two_tasks),
}

READS: dict[str, Callable[[Storage], Coroutine[Any, Any, Any]]] = {
    "get_agent": lambda storage: storage.get_agent("agent-1"),
    "list_agents": lambda storage: storage.list_agents(),
    "list_agents_by_status": lambda storage: storage.list_agents_by_status("active"),
    "get_task": lambda storage: storage.get_task("task-1"),
    "get_pending_tasks": lambda storage: storage.get_pending_tasks(),
    "get_tasks_by_agent": lambda storage: storage.get_tasks_by_agent("agent-1"),
    "get_events_by_agent": lambda storage: storage.get_events_by_agent("agent-1", 1),
    "get_events_by_type": lambda storage: storage.get_events_by_type("x", 1),
    "get_events_since": lambda storage: storage.get_events_since(0),
    "get_messages_between": lambda storage: storage.get_messages_between("a", "b", 1),
    "get_unread_messages": lambda storage: storage.get_unread_messages("a"),
    "get_metrics_by_agent": lambda storage: storage.get_metrics_by_agent("a", "x"),
    "get_aggregated_metrics": lambda storage: storage.get_aggregated_metrics("x", 0, 1),
    "query": lambda storage: storage.repository(TaskModel).query(QueryBuilder(TaskModel)),
    "count": lambda storage: storage.repository(TaskModel).count(),
    "vacuum": lambda storage: storage.vacuum(),
    "checkpoint": lambda storage: storage.checkpoint(),
    "get_storage_size": lambda storage: storage.get_storage_size(),
}


@pytest.mark.asyncio
class TestCancellation:
    """What a cancelled caller leaves behind."""

    @pytest.mark.parametrize("verb", WRITES)
    async def test_a_cancelled_write_has_done_all_or_nothing_for_good(self, storage: Storage, verb: str) -> None:
        call, look, prepare = WRITES[verb]
        if prepare:
            await prepare(storage, "whole")
        nothing = await look(storage, "whole")
        await call(storage, "whole")
        everything = await look(storage, "whole")
        assert nothing != everything

        for turns in turns_before_cancelling():
            name = f"after {turns}"
            if prepare:
                await prepare(storage, name)
            was_cancelled = await cancel_after(turns, call(storage, name))
            # A write that was under way may still arrive; it does so before anything that is written later.
            await storage.store_task(a_task(f"probe {name}"))
            found = await look(storage, name)
            await storage.store_task(a_task(f"second probe {name}"))

            assert found in ((nothing, everything) if was_cancelled else (everything,))
            assert await look(storage, name) == found

    @pytest.mark.parametrize("verb", READS)
    async def test_a_cancelled_read_keeps_the_storage_usable(self, storage: Storage, verb: str) -> None:
        for turns in turns_before_cancelling():
            await cancel_after(turns, READS[verb](storage))

        await storage.store_task(a_task())

        assert ids(await storage.get_pending_tasks()) == ["task-1"]

    async def test_one_cancelled_before_it_ran_has_done_nothing(self, storage: Storage) -> None:
        was_cancelled = await cancel_after(0, storage.store_task(a_task()))

        assert (was_cancelled, await storage.get_task("task-1")) == (True, None)

    @pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 10, 50])
    async def test_cancelling_some_callers_does_not_disturb_their_neighbours(
        self, storage: Storage, turns: int
    ) -> None:
        calls = [elsewhere(storage.store_task(a_task(str(number)))) for number in range(30)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for call in calls[::3]:
            call.cancel()

        outcomes = await asyncio.gather(*calls, return_exceptions=True)

        neighbours = [outcome for number, outcome in enumerate(outcomes) if number % 3]
        stored = set(ids(await storage.get_pending_tasks()))
        assert neighbours == [None] * 20
        assert {str(number) for number, outcome in enumerate(outcomes) if outcome is None} <= stored

    async def test_one_who_is_cancelled_waiting_to_write_keeps_no_one_else_from_it(self, storage: Storage) -> None:
        for turns in range(12):
            transaction = await storage.begin_transaction()
            await storage.store_task(a_task(f"holder {turns}"))
            was_cancelled = await cancel_after(turns, _store_two_in_a_block(storage, f"waiting {turns}"))
            waiting = elsewhere(storage.store_task(a_task(f"neighbour {turns}")))
            await transaction.commit()
            await waiting

            assert was_cancelled
            assert await _two_tasks(storage, f"waiting {turns}") == (None, None)
            assert await storage.get_task(f"neighbour {turns}") is not None

    async def test_a_cancelled_commit_has_committed_all_or_nothing(self, storage: Storage) -> None:
        for turns in turns_before_cancelling():
            transaction = await storage.begin_transaction()
            await storage.store_many([a_task(f"{turns}-1"), a_task(f"{turns}-2")])
            ending = asyncio.ensure_future(transaction.commit())
            for _ in range(turns):
                await asyncio.sleep(0)
            ending.cancel()
            with suppress(asyncio.CancelledError):
                await ending
            if transaction.is_open:
                await transaction.rollback()

            # A commit that was under way may still arrive, before anything that is written later.
            await elsewhere(storage.store_event(an_event(str(turns))))
            first, second = await elsewhere(_two_tasks(storage, str(turns)))
            assert (first is None) == (second is None)

    async def test_a_cancelled_rollback_has_undone_everything(self, storage: Storage) -> None:
        for turns in turns_before_cancelling():
            transaction = await storage.begin_transaction()
            await storage.store_task(a_task())
            ending = asyncio.ensure_future(transaction.rollback())
            for _ in range(turns):
                await asyncio.sleep(0)
            ending.cancel()
            with suppress(asyncio.CancelledError):
                await ending
            if transaction.is_open:
                await transaction.rollback()

            assert await elsewhere(storage.get_task("task-1")) is None

    async def test_a_cancellation_that_the_caller_absorbs_does_not_lead_to_a_commit(self, storage: Storage) -> None:
        absorbed: set[int] = set()

        async def absorb(turns: int) -> None:
            async with storage.transaction():
                await storage.store_task(a_task(f"{turns}-1"))
                try:
                    await storage.store_task(a_task(f"{turns}-2"))
                except asyncio.CancelledError:
                    absorbed.add(turns)

        for turns in range(0, 300, 5):
            try:
                await cancel_after(turns, absorb(turns))
                is_refused = False
            except TransactionError:
                is_refused = True

            assert is_refused == (turns in absorbed)
            assert turns not in absorbed or await _two_tasks(storage, str(turns)) == (None, None)

    async def test_a_timeout_around_a_transaction_leaves_all_or_nothing(self, storage: Storage) -> None:
        never = asyncio.Event()

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit, storage.transaction():
                await storage.store_task(a_task("1"))
                limit.reschedule(0)
                await never.wait()
        await storage.store_task(a_task("2"))

        assert ids(await storage.get_pending_tasks()) == ["2"]
