"""Tests of the models: what a new one holds, how they change, and how statuses and priorities read and sort."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from swarm_persistence.clock import ManualClock, use_clock
from swarm_persistence.errors import SerializationError
from swarm_persistence.models import (
    AgentModel,
    AgentStatus,
    EventModel,
    MessageModel,
    MessagePriority,
    MetricModel,
    Model,
    ScheduleModel,
    TaskModel,
    TaskPriority,
    TaskStatus,
)
from swarm_persistence_conformance.records import MODELS, complete_records

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.usefixtures("clock")
def test_a_new_agent_is_initializing_and_of_this_moment() -> None:
    agent = AgentModel.new("worker-001", "researcher", ["analysis", "data-processing"])

    assert agent == AgentModel(
        id=agent.id,
        name="worker-001",
        agent_type="researcher",
        status=AgentStatus.INITIALIZING,
        capabilities=["analysis", "data-processing"],
        metadata={},
        heartbeat=NOW,
        created_at=NOW,
        updated_at=NOW,
        version=0,
    )


@pytest.mark.usefixtures("clock")
def test_a_new_task_is_pending_and_of_this_moment() -> None:
    task = TaskModel.new("analyze-data", {"dataset": "sales_data.csv"}, TaskPriority.HIGH)

    assert task == TaskModel(
        id=task.id,
        task_type="analyze-data",
        priority=TaskPriority.HIGH,
        status=TaskStatus.PENDING,
        assigned_to=None,
        payload={"dataset": "sales_data.csv"},
        result=None,
        error=None,
        retry_count=0,
        max_retries=3,
        dependencies=[],
        created_at=NOW,
        updated_at=NOW,
        started_at=None,
        completed_at=None,
        run_at=None,
        lease_expires_at=None,
        claim_count=0,
        idempotency_key=None,
        concurrency_key=None,
        required_capabilities=None,
        fails_with_dependencies=True,
        trace_parent=None,
        version=0,
    )


def test_a_new_task_has_the_fields_that_it_is_given() -> None:
    due = datetime(2026, 2, 1, tzinfo=UTC)
    task = TaskModel.new(
        "bill",
        {"customer": 7},
        "high",
        dependencies=("a", "b"),
        run_at=due,
        max_retries=1,
        idempotency_key="bill-7",
        concurrency_key="customer-7",
        required_capabilities=["pdf", "mail", "pdf"],
        fails_with_dependencies=False,
        trace_parent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )

    told = (task.priority, task.dependencies, task.run_at, task.max_retries, task.idempotency_key)
    assert told == (TaskPriority.HIGH, ["a", "b"], due, 1, "bill-7")
    assert (task.fails_with_dependencies, task.trace_parent) == (
        False,
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    assert (task.concurrency_key, task.required_capabilities) == ("customer-7", ("mail", "pdf"))


def test_a_new_agent_event_and_metric_have_the_fields_that_they_are_given() -> None:
    tags = {"host": "a"}
    metric = MetricModel.new("duration_ms", 1.0, "ms", agent_id="agent-1", tags=tags)
    event = EventModel.new("started", {}, agent_id="agent-1", idempotency_key="started-1")
    agent = AgentModel.new("worker-001", "researcher", metadata={"room": 12})
    tags["host"] = "b"

    assert (metric.agent_id, metric.tags) == ("agent-1", {"host": "a"})
    assert (event.agent_id, event.idempotency_key) == ("agent-1", "started-1")
    assert agent.metadata == {"room": 12}


def test_the_text_of_a_member_makes_it_the_member() -> None:
    fields: Any = {"task_type": "t", "priority": "low", "status": "failed"}
    task, agent = TaskModel(**fields), AgentModel(name="a", agent_type="t", status=cast(Any, "busy"))

    assert (task.priority, task.status, agent.status) == (TaskPriority.LOW, TaskStatus.FAILED, AgentStatus.BUSY)
    agent.set_status("idle")
    assert agent.status is AgentStatus.IDLE


def test_a_record_with_an_assigned_text_has_the_json_of_the_member() -> None:
    task = TaskModel.new("t", 1)
    task.priority = cast(Any, "critical")

    assert TaskModel.from_json(task.to_json()).priority is TaskPriority.CRITICAL


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: TaskModel.new("t", 1, "urgent"),
            "task.priority is 'urgent', expected a TaskPriority: one of low, med",
        ),
        (lambda: TaskModel.new("t", 1, dependencies="abc"), "task.dependencies is 'abc', expected a list of str"),
        (
            lambda: TaskModel.new("t", 1, trace_parent="a"),
            "task.trace_parent is 'a', expected W3C's traceparent",
        ),
        (lambda: AgentModel.new("a", "t", "abc"), "agent.capabilities is 'abc', expected a list of str"),
        (
            lambda: AgentModel.new("a", "t").set_status("lazy"),
            "agent.status is 'lazy', expected an? AgentStatus: one of",
        ),
    ],
)
def test_what_no_field_can_be_is_refused_when_a_record_is_made(make: Callable[[], object], words: str) -> None:
    with pytest.raises(SerializationError, match=words):
        make()


def test_a_new_task_is_of_medium_priority_unless_told() -> None:
    assert TaskModel.new("t", None).priority is TaskPriority.MEDIUM


@pytest.mark.usefixtures("clock")
def test_a_new_event_is_of_this_moment_and_has_no_sequence() -> None:
    event = EventModel.new("task_completed", {"task_id": "task-123"})

    assert event == EventModel(
        id=event.id,
        event_type="task_completed",
        agent_id=None,
        data={"task_id": "task-123"},
        timestamp=NOW,
        idempotency_key=None,
        sequence=None,
    )


@pytest.mark.usefixtures("clock")
def test_a_new_message_is_unread_and_of_this_moment() -> None:
    message = MessageModel.new("coordinator", "worker-001", "task_assignment", {"task_id": "task-123"})

    assert message == MessageModel(
        id=message.id,
        from_agent="coordinator",
        to_agent="worker-001",
        message_type="task_assignment",
        content={"task_id": "task-123"},
        read=False,
        timestamp=NOW,
        acknowledged_at=None,
        result=None,
        sequence=None,
    )


@pytest.mark.usefixtures("clock")
def test_a_new_metric_is_of_this_moment_and_has_no_tags() -> None:
    metric = MetricModel.new("duration_ms", 12.5, "ms")

    assert metric == MetricModel(
        id=metric.id, agent_id=None, metric_type="duration_ms", value=12.5, unit="ms", tags={}, timestamp=NOW
    )


def test_an_event_with_an_agent_is_another_record_of_the_same_id() -> None:
    event = EventModel.new("agent_started", {})

    told = event.with_agent("agent-123")

    assert (event.agent_id, told.agent_id, told.id) == (None, "agent-123", event.id)


def test_a_metric_with_agent_and_tags_is_another_record_of_the_same_id() -> None:
    metric = MetricModel.new("duration_ms", 1.0, "ms").with_tag("host", "a")

    tagged = metric.with_agent("agent-1").with_tag("zone", "b").with_tag("host", "c")

    assert (metric.agent_id, metric.tags) == (None, {"host": "a"})
    assert (tagged.agent_id, tagged.tags, tagged.id) == ("agent-1", {"host": "c", "zone": "b"}, metric.id)


def test_a_heartbeat_sets_two_times(clock: ManualClock) -> None:
    agent = AgentModel.new("worker-001", "researcher")
    clock.advance(5)

    agent.update_heartbeat()

    assert (agent.created_at, agent.heartbeat, agent.updated_at) == (NOW, clock.now(), clock.now())


def test_a_new_status_sets_the_time_of_the_update_only(clock: ManualClock) -> None:
    agent = AgentModel.new("worker-001", "researcher")
    clock.advance(5)

    agent.set_status(AgentStatus.BUSY)

    assert (agent.status, agent.heartbeat, agent.updated_at) == (AgentStatus.BUSY, NOW, clock.now())


def test_records_do_not_share_their_defaults() -> None:
    first, second = AgentModel.new("a", "t"), AgentModel.new("b", "t")

    first.metadata["k"] = 1
    first.capabilities.append("x")

    assert (second.metadata, second.capabilities) == ({}, [])


def test_a_new_agent_has_capabilities_of_its_own() -> None:
    capabilities = ["analysis"]
    agent = AgentModel.new("a", "t", capabilities)

    capabilities.append("more")

    assert agent.capabilities == ["analysis"]


@pytest.mark.parametrize("model", MODELS)
def test_fields_are_given_by_name_only(model: type[Model]) -> None:
    with pytest.raises(TypeError):
        model("id")  # type: ignore[call-arg]


@pytest.mark.parametrize("record", complete_records(), ids=lambda record: type(record).__name__)
def test_every_field_of_a_sample_differs_from_its_default(record: Model) -> None:
    fields = {field.name: field for field in msgspec.structs.fields(record)}
    told_by_the_store = {"id", "version", "sequence"}
    if isinstance(record, ScheduleModel):
        told_by_the_store.add("cron")  # a schedule has either this or `every`

    assert [
        name
        for name, field in fields.items()
        if name not in told_by_the_store and getattr(record, name) == field.default
    ] == []


def test_priorities_are_ordered() -> None:
    assert TaskPriority.LOW < TaskPriority.MEDIUM < TaskPriority.HIGH < TaskPriority.CRITICAL
    assert max(TaskPriority.HIGH, TaskPriority.CRITICAL, TaskPriority.LOW) is TaskPriority.CRITICAL
    assert TaskPriority.LOW <= TaskPriority.LOW
    assert TaskPriority.HIGH >= TaskPriority.MEDIUM


def test_a_priority_does_not_compare_with_text() -> None:
    high: Any = "high"

    with pytest.raises(TypeError):
        _ = high > TaskPriority.LOW


def test_values_are_the_seeds_names_in_snake_case() -> None:
    assert [status.value for status in AgentStatus] == [
        "initializing",
        "active",
        "idle",
        "busy",
        "paused",
        "error",
        "shutdown",
    ]
    assert [priority.value for priority in TaskPriority] == ["low", "medium", "high", "critical"]
    assert [status.value for status in TaskStatus] == [
        "pending",
        "assigned",
        "running",
        "completed",
        "failed",
        "cancelled",
    ]


def test_ids_are_unique_and_sort_by_time() -> None:
    clock = ManualClock()
    ids = []
    with use_clock(clock):
        for _ in range(200):
            ids.append(TaskModel.new("t", None).id)
            clock.advance(0.000_001)

    assert len(set(ids)) == 200
    assert ids == sorted(ids)


def test_ids_of_one_moment_are_unique() -> None:
    with use_clock(ManualClock()):
        assert len({TaskModel.new("t", None).id for _ in range(2_000)}) == 2_000


def test_an_id_is_a_uuid_of_version_7() -> None:
    with use_clock(ManualClock(datetime(2026, 1, 1, 0, 0, 0, 123_456, UTC))):
        id = EventModel.new("t", None).id

    assert len(id) == 36
    assert [id[position] for position in (8, 13, 18, 23)] == ["-"] * 4
    assert (id[14], id[19] in "89ab") == ("7", True)
    assert int(id.replace("-", "")[:12], 16) == 1_767_225_600_123


def test_an_event_may_name_its_task_and_have_metadata() -> None:
    event = EventModel.new("done", 1, task_id="task-1", metadata={"trace": "a"})

    assert (event.task_id, event.metadata) == ("task-1", {"trace": "a"})
    moved = event.with_task("task-2")
    assert (moved.id, moved.task_id, event.task_id) == (event.id, "task-2", "task-1")


def test_a_message_has_the_normal_priority_unless_it_is_given_one() -> None:
    message = MessageModel.new("a", "b", "m", None)

    assert (message.priority, message.read_at) == (MessagePriority.NORMAL, None)
    assert MessageModel.new("a", "b", "m", None, priority="high").priority is MessagePriority.HIGH
    urgent = message.with_priority("urgent")
    assert (urgent.id, urgent.priority) == (message.id, MessagePriority.URGENT)
    assert message.priority is MessagePriority.NORMAL


def test_a_priority_of_messages_is_ordered_among_its_own() -> None:
    task_priority: Any = TaskPriority.LOW

    assert MessagePriority.LOW < MessagePriority.NORMAL < MessagePriority.HIGH < MessagePriority.URGENT
    with pytest.raises(TypeError):
        _ = task_priority < MessagePriority.HIGH
    with pytest.raises(SerializationError, match=r"message\.priority is 'critical', expected a MessagePriority"):
        MessageModel.new("a", "b", "m", None).with_priority("critical")


def test_a_task_is_assigned_started_and_completed() -> None:
    task = TaskModel.new("x", None)

    with use_clock(ManualClock()) as clock:
        task.assign_to("agent-1")
        assert (task.status, task.assigned_to, task.updated_at) == (TaskStatus.ASSIGNED, "agent-1", clock.now())
        clock.advance(1)
        task.start()
        assert (task.status, task.started_at, task.updated_at) == (TaskStatus.RUNNING, clock.now(), clock.now())
        clock.advance(1)
        task.complete({"n": 1})

        assert (task.status, task.result, task.completed_at) == (TaskStatus.COMPLETED, {"n": 1}, clock.now())
        assert task.updated_at == clock.now()


def test_a_task_that_fails_is_pending_again_until_its_retries_are_used_up() -> None:
    task = TaskModel.new("x", None, max_retries=2)
    task.assign_to("agent-1")

    task.fail("first")
    assert (task.status, task.assigned_to, task.retry_count) == (TaskStatus.PENDING, None, 1)
    task.assign_to("agent-1")
    task.fail("second")

    assert (task.status, task.assigned_to, task.retry_count) == (TaskStatus.FAILED, "agent-1", 2)
    assert task.error == "second"
