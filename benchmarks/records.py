"""Makes the records that every peer stores and reads: the same fields, values and sizes for all."""

from datetime import UTC, datetime, timedelta

from swarm_persistence import EventModel, MetricModel, TaskModel, TaskPriority, TaskStatus

AGENTS = 100
"""Agents that the records are spread over."""

METRIC_TYPE = "duration_ms"
_START = datetime(2026, 1, 1, tzinfo=UTC)
_PRIORITIES = tuple(TaskPriority)


def agent_name(number: int) -> str:
    """Return the id of an agent."""
    return f"agent-{number % AGENTS:03d}"


def make_events(count: int) -> list[EventModel]:
    """Return events as the seed's documentation shows them, with time-ordered ids of their own."""
    return [
        EventModel(
            event_type="task_completed",
            agent_id=agent_name(number),
            data={"task_id": f"task-{number}", "duration_ms": 5000 + number % 1000, "result": "success"},
            timestamp=_START + timedelta(milliseconds=number),
        )
        for number in range(count)
    ]


def make_tasks(count: int, pending: int | None = None, first: int = 0) -> list[TaskModel]:
    """Return tasks, the last `pending` of them (all, if not said) pending and the others completed.

    They are as old as they would be if `first` others had been created before.
    """
    waiting_from = 0 if pending is None else first + count - pending
    return [
        TaskModel(
            task_type="analyze-data",
            payload={"dataset": "sales_data.csv", "shard": number},
            priority=_PRIORITIES[number % len(_PRIORITIES)],
            status=TaskStatus.PENDING if number >= waiting_from else TaskStatus.COMPLETED,
            created_at=_START + timedelta(milliseconds=number),
            updated_at=_START + timedelta(milliseconds=number),
        )
        for number in range(first, first + count)
    ]


def make_metrics(count: int) -> list[MetricModel]:
    """Return metrics of one type, over all agents."""
    return [
        MetricModel(
            agent_id=agent_name(number),
            metric_type=METRIC_TYPE,
            value=float(number % 977),
            unit="ms",
            tags={"stage": "parse"},
            timestamp=_START + timedelta(milliseconds=number),
        )
        for number in range(count)
    ]


def span_of_metrics(count: int) -> tuple[datetime, datetime]:
    """Return the times that hold all of so many metrics."""
    return _START, _START + timedelta(milliseconds=count)
