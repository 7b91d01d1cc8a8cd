"""The tools, a file for each noun."""

from swarm_persistence.mcp.tool import SwarmTool
from swarm_persistence.mcp.tools import agents, documents, events, messages, metrics, status, tasks

_WRITING = (
    agents.register_agent,
    agents.heartbeat,
    tasks.enqueue_task,
    tasks.claim_next_task,
    tasks.extend_lease,
    tasks.complete_task,
    tasks.fail_task,
    messages.send_message,
    messages.read_messages,
    events.append_event,
    metrics.record_metric,
    documents.remember,
)
_READING = (status.swarm_status, tasks.list_tasks, events.read_events, documents.recall)

TOOLS = {
    tool.name: tool
    for tool in (
        *(SwarmTool(function, is_read_only=True) for function in _READING),
        *(SwarmTool(function, is_read_only=False) for function in _WRITING),
    )
}
