"""The verbs as cases: setup, call, and the state to inspect afterwards."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, NamedTuple

from swarm_persistence import AgentModel, QueryBuilder, Storage, TaskModel, TaskStatus
from swarm_persistence_conformance.records import a_message, a_metric, a_task, after, an_agent, an_event

Call = Callable[[Storage, str], Coroutine[Any, Any, Any]]


class VerbCase(NamedTuple):
    """A verb with its setup, its call, and a function that inspects the state afterwards."""

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


async def two_tasks(storage: Storage, name: str) -> Any:
    return await _task(storage, f"{name}-1"), await _task(storage, f"{name}-2")


async def _store_agent_that_runs_a_task(storage: Storage, name: str) -> None:
    running = a_task(name, status=TaskStatus.RUNNING, assigned_to=name)
    await storage.store_many([an_agent(name), running])


async def store_two_in_a_block(storage: Storage, name: str) -> None:
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


async def _store_two_by_run_transaction(storage: Storage, name: str) -> None:
    async def work() -> None:
        await storage.store_task(a_task(f"{name}-1"))
        await storage.store_task(a_task(f"{name}-2"))

    await storage.run_transaction(work)


async def _iterate(storage: Storage) -> list[TaskModel]:
    return [task async for task in storage.repository(TaskModel).iterate(batch_size=1)]


async def _wait_to_begin(storage: Storage, name: str) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(30):
            await store_two_in_a_block(storage, name)


WRITES: dict[str, VerbCase] = {
    "store_agent": VerbCase(lambda storage, name: storage.store_agent(an_agent(name)), _agent),
    "update_agent": VerbCase(
        lambda storage, name: storage.update_agent(an_agent(name, name="new", version=1)),
        _agent,
        lambda storage, name: storage.store_agent(an_agent(name)),
    ),
    "delete_agent": VerbCase(
        lambda storage, name: storage.delete_agent(name), _agent_and_task, _store_agent_that_runs_a_task
    ),
    "store_task": VerbCase(lambda storage, name: storage.store_task(a_task(name)), _task),
    "update_task": VerbCase(
        lambda storage, name: storage.update_task(a_task(name, error="new", version=1)),
        _task,
        lambda storage, name: storage.store_task(a_task(name)),
    ),
    "claim_task": VerbCase(
        lambda storage, name: storage.claim_task(name, name),
        _task,
        lambda storage, name: storage.store_task(a_task(name)),
    ),
    "store_event": VerbCase(lambda storage, name: storage.store_event(an_event(name, agent_id=name)), _events),
    "store_message": VerbCase(
        lambda storage, name: storage.store_message(a_message(name, from_agent=name, to_agent=name)), _messages
    ),
    "mark_message_read": VerbCase(
        lambda storage, name: storage.mark_message_read(name),
        _messages,
        lambda storage, name: storage.store_message(a_message(name, from_agent=name, to_agent=name)),
    ),
    "store_metric": VerbCase(lambda storage, name: storage.store_metric(a_metric(name, agent_id=name)), _metrics),
    "store_many": VerbCase(
        lambda storage, name: storage.store_many([a_task(f"{name}-1"), a_task(f"{name}-2")]), two_tasks
    ),
    "save": VerbCase(
        lambda storage, name: storage.repository(TaskModel).save(a_task(name, error="new", version=1)),
        _task,
        lambda storage, name: storage.store_task(a_task(name)),
    ),
    "update": VerbCase(
        lambda storage, name: storage.repository(TaskModel).update(a_task(name, error="new", version=1)),
        _task,
        lambda storage, name: storage.store_task(a_task(name)),
    ),
    "delete": VerbCase(
        lambda storage, name: storage.repository(TaskModel).delete(name),
        _task,
        lambda storage, name: storage.store_task(a_task(name)),
    ),
    "delete of an agent": VerbCase(
        lambda storage, name: storage.repository(AgentModel).delete(name),
        _agent_and_task,
        _store_agent_that_runs_a_task,
    ),
    "run_transaction": VerbCase(_store_two_by_run_transaction, two_tasks),
    "prune": VerbCase(
        lambda storage, _: storage.prune(after(1), tasks=False, messages=False, metrics=False),
        _events,
        lambda storage, name: storage.store_event(an_event(name, agent_id=name)),
    ),
    "a transaction block": VerbCase(store_two_in_a_block, two_tasks),
    "a nested transaction block": VerbCase(_store_two_in_a_nested_block, two_tasks),
    "begin and commit with gather": VerbCase(_store_two_by_begin_and_commit, two_tasks),
    "a block within a timeout": VerbCase(_wait_to_begin, two_tasks),
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
    "find_by_id": lambda storage: storage.repository(TaskModel).find_by_id("task-1"),
    "find_all": lambda storage: storage.repository(TaskModel).find_all(),
    "iterate": _iterate,
    "aggregate_metrics": lambda storage: storage.aggregate_metrics("x", 0, 1, bucket=60, functions=("avg", "p95")),
    "count_by": lambda storage: storage.count_by(TaskModel, "task_type", "status"),
    "get_task_throughput": lambda storage: storage.get_task_throughput(0, 1, 60),
    "get_waiting_tasks": lambda storage: storage.get_waiting_tasks(),
    "get_agent_liveness": lambda storage: storage.get_agent_liveness(),
    "get_waiting_dependents": lambda storage: storage.get_waiting_dependents("task-1"),
    "migration_status": lambda storage: storage.migration_status(),
    "count": lambda storage: storage.repository(TaskModel).count(),
    "vacuum": lambda storage: storage.vacuum(),
    "checkpoint": lambda storage: storage.checkpoint(),
    "get_storage_size": lambda storage: storage.get_storage_size(),
}
