"""The tools of tasks."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from swarm_persistence import Storage, TaskModel
from swarm_persistence.durations import LONGEST_SECONDS
from swarm_persistence.mcp.shown import DEFAULT_CHARACTERS, listed, shown
from swarm_persistence.mcp.tools.parameters import (
    AgentId,
    Characters,
    Claim,
    Group,
    JsonValue,
    Lease,
    Limit,
    NewGroup,
    NewTags,
    Priority,
    Tags,
    TaskId,
)
from swarm_persistence.query.filters import query_where
from swarm_persistence.storage.interventions import claim_or_requeue, task_as_claimed

_LEASE = 300.0
"""Longer than the default: a language model takes longer for a step than a program."""

_propagator = TraceContextTextMapPropagator()


async def enqueue_task(
    storage: Storage,
    *,
    task_type: Annotated[str, Meta(description="The kind of work; agents can claim by it.")],
    payload: Annotated[JsonValue, Meta(description="What the agent needs to know to do it: any JSON value.")] = None,
    priority: Priority = "medium",
    dependencies: Annotated[
        Sequence[str], Meta(description="Ids of tasks that must be completed before this one can be claimed.")
    ] = (),
    delay_seconds: Annotated[
        float, Meta(ge=0, le=LONGEST_SECONDS, description="Not to be claimed before this time has passed.")
    ] = 0,
    max_retries: Annotated[int, Meta(ge=0, description="How often it is tried again after a failure.")] = 3,
    idempotency_key: Annotated[
        str | None,
        Meta(description="Of two tasks with one key, only the first is stored: makes repeating this call safe."),
    ] = None,
    key_policy: Annotated[
        Literal["for_ever", "while_active"],
        Meta(description="Until when it holds its idempotency_key: forever, or until it has ended."),
    ] = "for_ever",
    fails_with_dependencies: Annotated[
        bool, Meta(description="False: it goes on waiting if a task that it depends on fails or is cancelled.")
    ] = True,
    group: NewGroup = None,
    tags: NewTags = None,
    concurrency_key: Annotated[
        str | None, Meta(description="A limit of its type counts it by this key, such as one customer.")
    ] = None,
    required_capabilities: Annotated[
        Sequence[str], Meta(description="What an agent must be capable of, to get it as its next task.")
    ] = (),
) -> dict[str, Any]:
    """Add a task to the queue of the swarm, for any agent to claim."""
    task = TaskModel.new(
        task_type,
        payload,
        priority,
        dependencies=dependencies,
        run_at=datetime.now(UTC) + timedelta(seconds=delay_seconds) if delay_seconds else None,
        max_retries=max_retries,
        idempotency_key=idempotency_key,
        key_policy=key_policy,
        fails_with_dependencies=fails_with_dependencies,
        group=group,
        tags=tags,
        concurrency_key=concurrency_key,
        required_capabilities=required_capabilities,
        trace_parent=_caller_trace_parent(storage),
    )
    stored = await storage.store_task(task)
    return {"task_id": stored.id, "status": stored.status.value, "created": stored.id == task.id}


async def claim_next_task(
    storage: Storage,
    *,
    agent_id: AgentId,
    task_types: Annotated[list[str] | None, Meta(description="Only tasks of these types. Default: any type.")] = None,
    capabilities: Annotated[
        list[str] | None, Meta(description="What you can do. Default: what you have registered.")
    ] = None,
    lease_seconds: Lease = _LEASE,
    ageing_seconds: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="A task counts as one priority higher for each time so long that it has waited."),
    ] = None,
    wait_seconds: Annotated[float, Meta(ge=0, le=50, description="How long to wait if no task is ready.")] = 0,
    max_characters: Characters = 20_000,
) -> dict[str, Any]:
    """Get the next ready task: highest priority first, then oldest. No other agent gets it while your claim holds.

    Do the work, then call complete_task or fail_task with the returned task id and claim number. 'task' is null if
    there is none.
    """
    claim = partial(
        storage.claim_next_tasks,
        agent_id,
        limit=1,
        task_types=task_types,
        capabilities=capabilities,
        lease=lease_seconds,
        ageing=ageing_seconds,
    )
    tasks = await claim_or_requeue(storage, claim, wait_seconds)
    if not tasks:
        return {"task": None, "hint": "no task is ready; wait_seconds waits for one, list_tasks shows what there is"}
    (task,) = tasks
    return {"task": _shown(task, max_characters), "claim": task.claim_count}


async def extend_lease(
    storage: Storage, *, task_id: TaskId, agent_id: AgentId, claim: Claim, lease_seconds: Lease = _LEASE
) -> dict[str, Any]:
    """Keep a claimed task for this many more seconds from now. Call it while you work on a long task."""
    task = await task_as_claimed(storage, task_id, agent_id, claim)
    await storage.extend_lease(task, lease=lease_seconds)
    return {"task_id": task_id, "lease_expires_at": msgspec.to_builtins(task.lease_expires_at)}


async def report_progress(
    storage: Storage,
    *,
    task_id: TaskId,
    agent_id: AgentId,
    claim: Claim,
    progress: Annotated[float, Meta(ge=0, le=1, description="How far you are, from 0 to 1.")],
    text: Annotated[str | None, Meta(description="What you are doing, or have done.")] = None,
) -> dict[str, Any]:
    """Tell how far you are with a claimed task. It does not extend the lease."""
    await storage.report_progress(await task_as_claimed(storage, task_id, agent_id, claim), progress, text)
    return {"task_id": task_id, "progress": progress}


async def complete_task(
    storage: Storage,
    *,
    task_id: TaskId,
    agent_id: AgentId,
    claim: Claim,
    result: Annotated[JsonValue, Meta(description="The outcome: any JSON value.")] = None,
) -> dict[str, Any]:
    """Finish a claimed task with its result. Tasks that depend on it can be claimed from now on."""
    await storage.complete_task(await task_as_claimed(storage, task_id, agent_id, claim), result)
    return {"task_id": task_id, "status": "completed"}


async def fail_task(
    storage: Storage,
    *,
    task_id: TaskId,
    agent_id: AgentId,
    claim: Claim,
    error: Annotated[str, Meta(description="What went wrong, for those who try again.")],
    retry: Annotated[bool, Meta(description="False: never to be tried again; its dependents fail, too.")] = True,
    retry_in_seconds: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="When to try again. Default: a growing delay, from a second on."),
    ] = None,
) -> dict[str, Any]:
    """Give up a claimed task. It is tried again by any agent until its retries are used up, then it has failed."""
    task = await task_as_claimed(storage, task_id, agent_id, claim)
    await storage.fail_task(task, error, retry_in=retry_in_seconds, max_retries=None if retry else 0)
    return {"task_id": task_id, "status": task.status.value, "retries": f"{task.retry_count} of {task.max_retries}"}


async def list_tasks(
    storage: Storage,
    *,
    status: Annotated[
        Literal["pending", "assigned", "running", "completed", "failed", "cancelled"] | None,
        Meta(description="Only tasks with this status. Claimed tasks are 'assigned' or 'running'."),
    ] = None,
    task_type: Annotated[str | None, Meta(description="Only tasks of this type.")] = None,
    assigned_to: Annotated[str | None, Meta(description="Only tasks of the agent with this id.")] = None,
    task_ids: Annotated[list[str] | None, Meta(description="Only the tasks with these ids.")] = None,
    group: Group = None,
    tags: Tags = None,
    before: Annotated[str | None, Meta(description="Only tasks after this task_id in the list: the next page.")] = None,
    limit: Limit = 20,
    max_characters: Characters = DEFAULT_CHARACTERS,
) -> dict[str, Any]:
    """List tasks, newest first: to look for work, to check progress, or to read payloads and results."""
    query = query_where(
        TaskModel,
        (tags or {}).items(),
        group=group,
        status=status,
        task_type=task_type,
        assigned_to=assigned_to,
        id=task_ids,
    )
    if before is not None:
        query = query.where_lt("id", before)
    # Ids begin with the time, unless a caller has chosen others; the order is the same in any case.
    found = await storage.repository(TaskModel).query(query.order_by("id", desc=True).limit(limit + 1))
    more = f"list_tasks with the same filters and before={found[limit - 1].id!r}" if len(found) > limit else ""
    return listed("tasks", (_shown(task, max_characters) for task in found), limit, more)


async def list_blocked_tasks(
    storage: Storage, *, limit: Limit = 20, max_characters: Characters = DEFAULT_CHARACTERS
) -> dict[str, Any]:
    """List the tasks that wait for others, the most urgent first, and for which; a missing one may be mistyped."""
    found = await storage.get_blocked_tasks(limit + 1)
    unmet = await storage.get_unmet_dependencies(task_ids=[task.id for task in found])
    records = (
        {**_shown(task, max_characters), "waits_for": msgspec.to_builtins(unmet[task.id])}
        for task in found
        if task.id in unmet
    )
    return listed("tasks", records, limit, "list_blocked_tasks with a larger limit")


def _shown(task: TaskModel, characters: int) -> dict[str, Any]:
    hint = f"list_tasks with task_ids=[{task.id!r}] and a larger max_characters"
    return shown(task, characters, hint)


def _caller_trace_parent(storage: Storage) -> str | None:
    """Return the `trace_parent` for a task that a caller stores; `None` if an instrumented storage sets it itself.

    The package `mcp` makes the caller's span the current one, even if nothing is exported.
    """
    if storage.instrumentation is not None:
        return None
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")
