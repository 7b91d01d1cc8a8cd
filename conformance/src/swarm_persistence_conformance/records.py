"""Valid records to test with; each field can be overridden, and all times are `MOMENT`."""

from datetime import UTC, datetime, timedelta
from typing import Any

from swarm_persistence import (
    AgentModel,
    AgentStatus,
    CatchUp,
    ClaimOutcome,
    DocumentModel,
    EventModel,
    KeyPolicy,
    MessageModel,
    MessagePriority,
    MetricModel,
    Model,
    PastClaim,
    ScheduleModel,
    Storage,
    TaskModel,
    TaskPriority,
    TaskStatus,
)

MOMENT = datetime(2026, 1, 1, 12, 30, 15, 123456, UTC)


def after(seconds: float) -> datetime:
    """Return the time this many seconds after `MOMENT`."""
    return MOMENT + timedelta(seconds=seconds)


def an_agent(id: str = "agent-1", **fields: Any) -> AgentModel:
    """Return an agent that was created at `MOMENT`."""
    times = {"heartbeat": MOMENT, "created_at": MOMENT, "updated_at": MOMENT}
    return AgentModel(**{"id": id, "name": "worker-001", "agent_type": "researcher", **times, **fields})


def a_task(id: str = "task-1", **fields: Any) -> TaskModel:
    """Return a pending task that was created at `MOMENT`."""
    times = {"created_at": MOMENT, "updated_at": MOMENT}
    return TaskModel(**{"id": id, "task_type": "analyze-data", **times, **fields})


def tasks_of_all_priorities() -> list[TaskModel]:
    """Return tasks whose claim order is neither that of their ids nor that of the list."""
    priorities = {
        "low": TaskPriority.LOW,
        "z-high-first": TaskPriority.HIGH,
        "critical": TaskPriority.CRITICAL,
        "a-high-second": TaskPriority.HIGH,
        "medium": TaskPriority.MEDIUM,
    }
    return [a_task(id, priority=priority) for id, priority in priorities.items()]


def an_event(id: str = "event-1", **fields: Any) -> EventModel:
    """Return an event at `MOMENT`."""
    return EventModel(**{"id": id, "event_type": "task_completed", "timestamp": MOMENT, **fields})


def a_message(id: str = "message-1", **fields: Any) -> MessageModel:
    """Return an unread message sent at `MOMENT`."""
    ends = {"from_agent": "coordinator", "to_agent": "worker-001", "message_type": "task_assignment"}
    return MessageModel(**{"id": id, **ends, "timestamp": MOMENT, **fields})


def a_metric(id: str = "metric-1", **fields: Any) -> MetricModel:
    """Return a metric measured at `MOMENT`."""
    measured = {"metric_type": "duration_ms", "value": 12.5, "unit": "ms"}
    return MetricModel(**{"id": id, **measured, "timestamp": MOMENT, **fields})


def a_document(key: str = "note-1", **fields: Any) -> DocumentModel:
    """Return a document that was created at `MOMENT`."""
    place = {"collection": ("notes", "agent-1"), "key": key}
    return DocumentModel(**{**place, "created_at": MOMENT, "updated_at": MOMENT, **fields})


def a_schedule(name: str = "hourly", **fields: Any) -> ScheduleModel:
    """Return a schedule that was created at `MOMENT`: every hour, unless other times are given."""
    times: dict[str, Any] = {} if "cron" in fields else {"every": 3600.0}
    return ScheduleModel(
        **{"name": name, "task_type": "work", **times, "created_at": MOMENT, "updated_at": MOMENT, **fields}
    )


def complete_records() -> list[Model]:
    """Return one record of each model, with no field left at its default."""
    data: dict[str, Any] = {"dataset": "sales_data.csv", "rows": [1, 2.5, None, True, {"deep": []}]}
    return [
        an_agent(
            status=AgentStatus.BUSY,
            capabilities=["analysis", "data-processing"],
            metadata=data,
            heartbeat=after(1),
            created_at=after(2),
            updated_at=after(3),
            group="tenant-1",
            tags={"zone": "a"},
        ),
        a_task(
            priority=TaskPriority.CRITICAL,
            status=TaskStatus.FAILED,
            assigned_to="agent-1",
            payload=data,
            result={"sum": 6},
            error="out of memory",
            retry_count=2,
            max_retries=5,
            dependencies=["task-0", "task-00"],
            created_at=after(1),
            updated_at=after(2),
            started_at=after(3),
            completed_at=after(4),
            run_at=after(5),
            lease_expires_at=after(6),
            claim_count=3,
            idempotency_key="analysis of sales_data.csv",
            concurrency_key="customer-7",
            required_capabilities=("analysis", "pandas"),
            fails_with_dependencies=False,
            group="tenant-1",
            tags={"run": "1", "": ""},
            key_policy=KeyPolicy.WHILE_ACTIVE,
            trace_parent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            progress=0.4,
            progress_text="2 of 5",
            past_claims=(
                PastClaim(
                    number=1,
                    agent_id="agent-2",
                    started_at=after(-9),
                    ended_at=after(-8),
                    outcome=ClaimOutcome.RETRIED,
                    error="out of time \u00e9\n",
                ),
                PastClaim(number=2, agent_id="agent-1", ended_at=after(-7), outcome=ClaimOutcome.RELEASED),
            ),
        ),
        an_event(
            agent_id="agent-1",
            task_id="task-1",
            data=data,
            metadata={"trace": ["a", 1]},
            timestamp=after(5),
            idempotency_key="task-1 done",
            group="tenant-1",
            tags={"run": "1"},
        ),
        a_message(
            content=data,
            priority=MessagePriority.URGENT,
            read=True,
            read_at=after(8),
            timestamp=after(6),
            acknowledged_at=after(7),
            result={"done": [True]},
            group="tenant-1",
            tags={"run": "1"},
        ),
        a_metric(
            agent_id="agent-1",
            value=0.1,
            unit="s",
            tags={"host": "a", "zone": ""},
            timestamp=after(7),
            group="tenant-1",
        ),
        a_document(
            value=data,
            data=b"\0\xff",
            label="run-1",
            created_at=after(8),
            updated_at=after(9),
            expires_at=MOMENT.replace(year=2126),
            embedding=[0.5, -1.0],
        ),
        a_schedule(
            payload=data,
            priority=TaskPriority.HIGH,
            max_retries=5,
            task_fields={"fails_with_dependencies": False},
            every=0.1 + 90,
            timezone="Europe/Berlin",
            starts_at=after(1),
            catch_up=CatchUp.ALL,
            paused=True,
            next_at=after(2),
            last_at=after(3),
            last_task_id="task-1",
            created_at=after(4),
            updated_at=after(5),
        ),
    ]


MODELS: tuple[type[Model], ...] = (
    AgentModel,
    TaskModel,
    EventModel,
    MessageModel,
    MetricModel,
    DocumentModel,
    ScheduleModel,
)


async def everything_in(storage: Storage) -> dict[str, list[Any]]:
    """Return all records of a storage, by model, in the order of arrival."""
    return {model.__name__: await storage.repository(model).find_all() for model in MODELS}


async def status_of(storage: Storage, id: str) -> TaskStatus:
    """Return the status of a stored task."""
    task = await storage.get_task(id)
    assert task is not None
    return task.status


def ids(records: list[Any]) -> list[str]:
    """Return the ids of records, in their order."""
    return [record.id for record in records]
