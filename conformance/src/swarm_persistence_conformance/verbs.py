"""Every verb with valid arguments, for the facts that hold for all verbs."""

import inspect
from collections.abc import AsyncGenerator
from typing import Any

from swarm_persistence import AgentModel, MetricModel, QueryBuilder, Storage, TaskModel, TaskPriority, TaskStatus
from swarm_persistence_conformance.records import (
    MOMENT,
    a_document,
    a_message,
    a_metric,
    a_schedule,
    a_task,
    an_agent,
    an_event,
)

_REPOSITORY = "repository."
_BEGINNING = 0


async def store_records(storage: Storage) -> None:
    """Store the records that the verbs need."""
    await storage.store_agent(an_agent())
    ended = a_task("a", task_type="a", status=TaskStatus.FAILED, priority=TaskPriority.LOW, group="a")
    await storage.store_tasks([a_task(group="a"), a_task("held-1"), ended])
    await storage.claim_task("held-1", "agent-1")
    of_agent = {"agent_id": "agent-1", "group": "a"}
    await storage.store_many([an_event(**of_agent), an_event("event-2", event_type="a", **of_agent)])
    await storage.store_many([a_message(), a_metric(agent_id="agent-1")])
    await storage.put_documents([a_document(label="run-1")])
    await storage.store_schedule(a_schedule(next_at=MOMENT))


def arguments() -> dict[str, dict[str, Any]]:
    """Return the verbs with their arguments; those of a task repository begin with `repository.`.

    An argument that begins with `*` is that of any number of values.
    """
    held = a_task("held-1", status=TaskStatus.ASSIGNED, assigned_to="agent-1", claim_count=1, version=2)
    agent = an_agent(version=1)
    within: dict[str, Any] = {"collection": ("notes", "agent-1"), "after": "a", "before": "z", "label": "run-1"}
    chosen = {**within, "below": True}
    return {
        "store_agent": {"agent": an_agent("new")},
        "get_agent": {"id": "agent-1"},
        "update_agent": {"agent": agent, "force": False},
        "delete_agent": {"id": "agent-1"},
        "list_agents": {},
        "list_agents_by_status": {"status": "initializing"},
        "heartbeat": {"agent_id": "agent-1"},
        "store_task": {"task": a_task("new", dependencies=["task-1"])},
        "store_tasks": {"tasks": [a_task("new"), a_task("newer", dependencies=["new"])]},
        "get_task": {"id": "task-1"},
        "update_task": {"task": a_task(version=1, dependencies=["held-1"]), "force": False},
        "get_pending_tasks": {},
        "get_ready_tasks": {"limit": 5},
        "get_blocked_tasks": {"limit": 5},
        "get_dependencies": {"task": a_task(dependencies=["a"])},
        "get_dependency_results": {"task": a_task(dependencies=["a"])},
        "get_unmet_dependencies": {"missing_after": 60, "task_ids": ["task-1"]},
        "get_tasks_by_agent": {"agent_id": "agent-1"},
        "watch_tasks": {
            "ids": ["task-1", "a"],
            "types": ["analyze-data", "a"],
            "statuses": ["pending", "failed"],
            "group": "a",
            "after": "0",
        },
        "claim_task": {"task_id": "task-1", "agent_id": "agent-1", "lease": 60},
        "claim_next_task": {
            "agent_id": "agent-1",
            "task_types": ["analyze-data"],
            "capabilities": ["analyze-data"],
            "lease": 60,
            "wait": 0,
            "ageing": 60,
        },
        "claim_next_tasks": {
            "agent_id": "agent-1",
            "limit": 5,
            "task_types": ["analyze-data"],
            "capabilities": ["analyze-data"],
            "lease": 60,
            "wait": 0,
            "ageing": 60,
        },
        "set_limit": {"task_type": "analyze-data", "running": 9, "per_key": 2, "starts": 9, "per": 60},
        "get_limit": {"task_type": "analyze-data"},
        "list_limits": {},
        "delete_limit": {"task_type": "analyze-data"},
        "get_held_claims": {"tasks": [held]},
        "extend_lease": {"task": held, "lease": 60},
        "report_progress": {"task": held, "progress": 0.5, "text": "half"},
        "complete_task": {"task": held, "result": {"sum": ["six"]}},
        "complete_and_claim": {
            "completions": [(held, {"sum": ["six"]})],
            "agent_id": "agent-1",
            "limit": 5,
            "task_types": ["analyze-data"],
            "capabilities": ["analyze-data"],
            "lease": 60,
        },
        "fail_task": {"task": held, "error": "no luck", "retry_in": 5, "max_retries": 2},
        "release_task": {"task": held, "retry_in": 5},
        "cancel_task": {"id": "task-1"},
        "release_tasks_of": {"agent_id": "agent-1"},
        "retry_task": {"id": "a"},
        "approve_task": {"id": "task-1", "by": "alice", "comment": "fine"},
        "reject_task": {"id": "task-1", "by": "alice", "comment": "too dear"},
        "wait_for_task": {"id": "a", "timeout": 5},
        "wait_for_tasks": {"ids": ["a"], "timeout": 5},
        "requeue_expired_tasks": {"heartbeat_timeout": 300},
        "store_event": {"event": an_event("new", idempotency_key="key")},
        "get_events_by_agent": {"agent_id": "agent-1", "limit": 5},
        "get_events_by_type": {"event_type": "task_completed", "limit": 5},
        "get_events_since": {"timestamp": _BEGINNING},
        "read_events": {"after": 0, "limit": 5, "types": ["task_completed"]},
        "append_events": {"events": [an_event("new")], "expected_sequence": 2},
        "watch_events": {"after": 0, "types": ["task_completed"], "agent_id": "agent-1", "group": "a"},
        "store_message": {"message": a_message("new")},
        "get_messages_between": {"agent1": "coordinator", "agent2": "worker-001", "limit": 5},
        "get_unread_messages": {"agent_id": "worker-001"},
        "mark_message_read": {"message_id": "message-1"},
        "mark_messages_read": {"agent_id": "worker-001", "up_to": a_message()},
        "acknowledge_message": {"message_id": "message-1", "result": ["done"]},
        "watch_messages": {"agent_id": "worker-001", "after": 0},
        "store_metric": {"metric": a_metric("new")},
        "get_metrics_by_agent": {"agent_id": "agent-1", "metric_type": "duration_ms"},
        "get_aggregated_metrics": {"metric_type": "duration_ms", "start_time": _BEGINNING, "end_time": MOMENT},
        "aggregate_metrics": {
            "metric_type": "duration_ms",
            "start": _BEGINNING,
            "end": MOMENT,
            "bucket": 60,
            "group_by": ["agent_id", "unit"],
            "functions": ["count", "p95"],
        },
        "count_by": {"records": QueryBuilder(TaskModel), "*fields": ["task_type", "status"]},
        "get_task_throughput": {"start": _BEGINNING, "end": MOMENT, "bucket": 60, "by_type": True, "limit": 5},
        "get_waiting_tasks": {},
        "get_agent_liveness": {"limit": 5},
        "get_waiting_dependents": {"id": "task-1", "limit": 5},
        "put_documents": {"documents": [a_document("new")], "if_absent": [a_document()]},
        "update_document": {"document": a_document(version=1), "force": False},
        "get_document": {"collection": ("notes", "agent-1"), "key": "note-1"},
        "get_documents": {"collection": ("notes", "agent-1"), "keys": ["note-1"]},
        "take_document": {"collection": ("notes", "agent-1"), "key": "note-1"},
        "list_documents": {**chosen, "by_arrival": False, "desc": True, "limit": 5},
        "list_document_keys": {**within, "by_arrival": False, "desc": True, "limit": 5},
        "list_collections": {"under": ("notes",), "depth": 1, "limit": 5},
        "delete_documents": {**chosen, "keys": ["note-1"]},
        "touch_documents": {**chosen, "keys": ["note-1"], "expires_at": 4_000_000_000},
        "copy_documents": {"source": ("notes", "agent-1"), "target": ("copy",), "below": True},
        "index_documents": {"collection": ("notes",)},
        "unindex_documents": {"collection": ("notes",)},
        "search_documents": {"query": "text", "collection": ("notes",), "below": True, "limit": 5},
        "nearest_documents": {"embedding": [1.0, 0.5], "collection": ("notes",), "below": True, "limit": 5},
        "watch_documents": {"collection": ("notes",), "below": True},
        "delete_where": {"query": QueryBuilder(TaskModel).where_eq("id", "task-1")},
        "erase": {"group": "tenant-1", "collections": [("notes",)]},
        "store_schedule": {"schedule": a_schedule("new")},
        "get_schedule": {"name": "hourly"},
        "list_schedules": {},
        "pause_schedule": {"name": "hourly"},
        "resume_schedule": {"name": "hourly"},
        "delete_schedule": {"name": "hourly"},
        "fire_due_schedules": {},
        "prune": {
            "older_than": 60,
            "tasks": True,
            "events": True,
            "messages": True,
            "metrics": True,
            "documents": True,
            "agents": True,
            "task_statuses": ["failed"],
        },
        "store_many": {"models": [an_event("new"), a_task("new")]},
        "modify": {"model": AgentModel, "id": "agent-1", "function": lambda record: record},
        "migrate_to": {"version": 0},
        "repository": {"model": MetricModel},
        f"{_REPOSITORY}find_by_id": {"id": "task-1"},
        f"{_REPOSITORY}find_all": {},
        f"{_REPOSITORY}save": {"entity": a_task("new")},
        f"{_REPOSITORY}update": {"entity": a_task(version=1)},
        f"{_REPOSITORY}delete": {"id": "task-1"},
        f"{_REPOSITORY}query": {"builder": QueryBuilder(TaskModel).where_eq("task_type", "analyze-data")},
        f"{_REPOSITORY}iterate": {"builder": QueryBuilder(TaskModel), "batch_size": 5},
        f"{_REPOSITORY}batches": {"builder": QueryBuilder(TaskModel), "batch_size": 5},
        f"{_REPOSITORY}count": {"builder": QueryBuilder(TaskModel)},
    }


async def call(storage: Storage, verb: str, values: dict[str, Any]) -> Any:
    """Call a verb, and return its result, or the first record of an endless iterator."""
    owner: Any = storage
    if verb.startswith(_REPOSITORY):
        owner = storage.repository(TaskModel)
    function = getattr(owner, verb.removeprefix(_REPOSITORY))
    if any(name.startswith("*") for name in values):
        *single, several = values.values()
        result = function(*single, *(several if isinstance(several, list) else [several]))
    else:
        result = function(**values)
    if isinstance(result, AsyncGenerator):
        first = await anext(result, None)
        await result.aclose()
        return first
    return await result if inspect.isawaitable(result) else result
