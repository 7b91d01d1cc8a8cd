"""The coordination verbs as cases: setup, call, and the state to inspect afterwards."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any

from swarm_persistence import MessageModel, NotFoundError, Storage, TaskModel, TaskStatus, WaitTimeoutError
from swarm_persistence_conformance.held_tasks import stored
from swarm_persistence_conformance.records import a_message, a_task, an_agent, an_event
from swarm_persistence_conformance.verb_cases import VerbCase


async def _family(storage: Storage, name: str) -> Any:
    """Return the state of a task, and of its dependent."""
    tasks = [await storage.get_task(name), await storage.get_task(f"{name} next")]
    shown = [task and (task.status, task.assigned_to, task.retry_count, task.error, task.version) for task in tasks]
    blocked = {task.id for task in await storage.get_blocked_tasks()}
    return [_anonymous(each, name) for each in shown], f"{name} next" in blocked


def _anonymous(shown: Any, name: str) -> Any:
    return shown and tuple(part.replace(name, "…") if type(part) is str else part for part in shown)


async def _hold(storage: Storage, name: str, max_retries: int = 3) -> None:
    await storage.store_tasks([a_task(name, max_retries=max_retries), a_task(f"{name} next", dependencies=[name])])
    await storage.claim_task(name, "agent-1", lease=3600)


async def _hold_for_the_last_time(storage: Storage, name: str) -> None:
    await _hold(storage, name, max_retries=0)


async def _let_expire(storage: Storage, name: str) -> None:
    await _hold(storage, name, max_retries=0)
    await storage.extend_lease(await stored(storage, name), lease=0.000001)


async def _claim_one(storage: Storage, name: str) -> None:
    assert await storage.claim_next_task("agent-1", task_types=[name])


async def _wait_for_one(storage: Storage, name: str) -> None:
    assert await storage.claim_next_task("agent-1", task_types=[name], wait=30)


async def _store_of_a_type(storage: Storage, name: str) -> None:
    await storage.store_task(a_task(name, task_type=name))


async def _claim_two(storage: Storage, name: str) -> None:
    assert len(await storage.claim_next_tasks("agent-1", limit=9, task_types=[name])) == 2


async def _two_of_a_type(storage: Storage, name: str) -> Any:
    return [await _family(storage, f"{name}-{number}") for number in (1, 2)]


async def _store_two_of_a_type(storage: Storage, name: str) -> None:
    await storage.store_tasks([a_task(f"{name}-{number}", task_type=name) for number in (1, 2)])


async def _complete_with_dependent(storage: Storage, name: str) -> None:
    await _hold(storage, name)
    await storage.complete_task(await stored(storage, name))


async def _message(storage: Storage, name: str) -> Any:
    message = await storage.repository(MessageModel).find_by_id(name)
    return message and (message.read, message.acknowledged_at is None, message.result)


async def _store_message(storage: Storage, name: str) -> None:
    await storage.store_message(a_message(name, to_agent=name))


async def _lost_agent(storage: Storage, name: str) -> Any:
    agent = await storage.get_agent(name)
    return agent and agent.version


async def _events(storage: Storage, name: str) -> int:
    return len(await storage.read_events(types=[name]))


def _pair(name: str) -> list[TaskModel]:
    return [a_task(f"{name} next", dependencies=[name]), a_task(name, idempotency_key=name)]


def _rename(task: TaskModel) -> None:
    task.error = "modified"


COORDINATION_WRITES: dict[str, VerbCase] = {
    "store_tasks": VerbCase(lambda storage, name: storage.store_tasks(_pair(name)), _family),
    "claim_next_task": VerbCase(_claim_one, _family, _store_of_a_type),
    "claim_next_task with a wait": VerbCase(_wait_for_one, _family, _store_of_a_type),
    "claim_next_tasks": VerbCase(_claim_two, _two_of_a_type, _store_two_of_a_type),
    "extend_lease": VerbCase(lambda storage, name: _held(storage, name, "extend_lease"), _family, _hold),
    "complete_task": VerbCase(lambda storage, name: _held(storage, name, "complete_task"), _family, _hold),
    "release_task": VerbCase(lambda storage, name: _held(storage, name, "release_task"), _family, _hold),
    "fail_task": VerbCase(lambda storage, name: _held(storage, name, "fail_task", "no luck"), _family, _hold),
    "fail_task for good": VerbCase(
        lambda storage, name: _held(storage, name, "fail_task", "no luck"), _family, _hold_for_the_last_time
    ),
    "cancel_task": VerbCase(lambda storage, name: storage.cancel_task(name), _family, _hold),
    "retry_task": VerbCase(lambda storage, name: storage.retry_task(name), _family, _complete_with_dependent),
    "update_task to cancelled": VerbCase(
        lambda storage, name: storage.update_task(a_task(name, status=TaskStatus.CANCELLED, version=2)), _family, _hold
    ),
    "update_task to pending again": VerbCase(
        lambda storage, name: storage.update_task(a_task(name, version=3)), _family, _complete_with_dependent
    ),
    "requeue_expired_tasks": VerbCase(lambda storage, _: storage.requeue_expired_tasks(), _family, _let_expire),
    "heartbeat": VerbCase(
        lambda storage, name: storage.heartbeat(name),
        _lost_agent,
        lambda storage, name: storage.store_agent(an_agent(name)),
    ),
    "modify": VerbCase(lambda storage, name: storage.modify(TaskModel, name, _rename), _family, _hold),
    "append_events": VerbCase(
        lambda storage, name: storage.append_events([an_event(f"{name}-{n}", event_type=name) for n in (1, 2)]), _events
    ),
    "mark_messages_read": VerbCase(
        lambda storage, name: storage.mark_messages_read(name, up_to=a_message(name, to_agent=name)),
        _message,
        _store_message,
    ),
    "acknowledge_message": VerbCase(
        lambda storage, name: storage.acknowledge_message(name, "done"), _message, _store_message
    ),
}


async def _held(storage: Storage, name: str, verb: str, *arguments: Any) -> None:
    await getattr(storage, verb)(await stored(storage, name), *arguments)


async def _watch_briefly(records: AsyncGenerator[Any, None]) -> None:
    async with aclosing(records):
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(records)


async def _wait_for_a_pending_task(storage: Storage) -> None:
    with suppress(WaitTimeoutError, NotFoundError):
        await storage.wait_for_task("task-1", timeout=0.01)


COORDINATION_READS: dict[str, Callable[[Storage], Coroutine[Any, Any, Any]]] = {
    "claim_next_task": lambda storage: storage.claim_next_task("agent-1", task_types=["never"]),
    "a wait for a task": lambda storage: storage.claim_next_task("agent-1", task_types=["never"], wait=0.01),
    "wait_for_task": _wait_for_a_pending_task,
    "get_ready_tasks": lambda storage: storage.get_ready_tasks(),
    "get_blocked_tasks": lambda storage: storage.get_blocked_tasks(),
    "read_events": lambda storage: storage.read_events(),
    "watch_events": lambda storage: _watch_briefly(storage.watch_events()),
    "watch_messages": lambda storage: _watch_briefly(storage.watch_messages("a")),
    "watch_tasks": lambda storage: _watch_briefly(storage.watch_tasks()),
}
