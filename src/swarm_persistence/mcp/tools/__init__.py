"""The tools, a file for each noun."""

from swarm_persistence.mcp.tool import SwarmTool
from swarm_persistence.mcp.tools import (
    agents,
    deletions,
    documents,
    events,
    interventions,
    limits,
    messages,
    metrics,
    schedules,
    status,
    tasks,
)

_WRITING = (
    agents.register_agent,
    agents.heartbeat,
    tasks.enqueue_task,
    tasks.claim_next_task,
    tasks.extend_lease,
    tasks.report_progress,
    tasks.complete_task,
    tasks.fail_task,
    interventions.retry_task,
    interventions.release_task,
    interventions.approve_task,
    interventions.reject_task,
    schedules.store_schedule,
    schedules.pause_schedule,
    schedules.resume_schedule,
    limits.set_limit,
    messages.send_message,
    messages.read_messages,
    events.append_event,
    metrics.record_metric,
    documents.remember,
)
_DESTROYING = (
    interventions.cancel_task,
    schedules.delete_schedule,
    limits.delete_limit,
    deletions.delete_records,
    deletions.prune,
)
_READING = (
    status.swarm_status,
    tasks.list_tasks,
    tasks.list_blocked_tasks,
    interventions.wait_for_task,
    schedules.list_schedules,
    limits.list_limits,
    events.read_events,
    documents.recall,
)

TOOLS = {
    tool.name: tool
    for tool in (
        *(SwarmTool(function, is_read_only=True) for function in _READING),
        *(SwarmTool(function, is_read_only=False) for function in _WRITING),
        *(SwarmTool(function, is_read_only=False, is_destructive=True) for function in _DESTROYING),
    )
}
