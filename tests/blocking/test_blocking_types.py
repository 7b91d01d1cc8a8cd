"""The types of the blocking form are exact: mypy checks this file, and this test runs it."""

from typing import Any, assert_type

from swarm_persistence import (
    AgentLiveness,
    AgentModel,
    BlockingRepository,
    BlockingStorage,
    BlockingTransaction,
    EventModel,
    MessageModel,
    MetricModel,
    PoolStatus,
    QueryBuilder,
    TaskModel,
    TaskThroughput,
    WaitingTasks,
    open_storage,
)
from swarm_persistence_conformance.records import a_message, a_metric, a_task, an_agent, an_event


def test_the_types_of_all_methods_are_exact() -> None:
    with open_storage(":memory:") as storage:
        assert_type(storage, BlockingStorage)
        storage.store_agent(an_agent())
        storage.store_task(a_task())
        storage.store_event(an_event())
        storage.store_message(a_message())
        storage.store_metric(a_metric())
        assert_type(storage.get_agent("agent-1"), AgentModel | None)
        assert_type(storage.list_agents(), list[AgentModel])
        assert_type(storage.list_agents_by_status("active"), list[AgentModel])
        assert_type(storage.get_task("task-1"), TaskModel | None)
        assert_type(storage.get_pending_tasks(), list[TaskModel])
        assert_type(storage.get_tasks_by_agent("agent-1"), list[TaskModel])
        assert_type(storage.claim_task("task-1", "agent-1"), bool)
        assert_type(storage.get_events_by_agent("agent-1", limit=1), list[EventModel])
        assert_type(storage.get_events_by_type("type", 1), list[EventModel])
        assert_type(storage.get_events_since(0), list[EventModel])
        assert_type(storage.get_messages_between("a", "b", 1), list[MessageModel])
        assert_type(storage.get_unread_messages("a"), list[MessageModel])
        assert_type(storage.get_metrics_by_agent("a", "b"), list[MetricModel])
        assert_type(storage.get_aggregated_metrics("duration_ms", 0, 1), list[MetricModel])
        assert_type(storage.count_by(TaskModel, "status"), dict[tuple[Any, ...], int])
        assert_type(storage.get_task_throughput(0, 1, 60), TaskThroughput)
        assert_type(storage.get_waiting_tasks(), list[WaitingTasks])
        assert_type(storage.get_agent_liveness(), list[AgentLiveness])
        assert_type(storage.get_waiting_dependents("a"), list[TaskModel])
        assert_type(storage.store_many([an_agent("b"), a_task("b")]), int)
        assert_type(storage.get_storage_size(), int)
        assert_type(storage.pool_status(), PoolStatus)
        assert_type(storage.begin_transaction(), BlockingTransaction).rollback()
        with storage.transaction() as transaction:
            assert_type(transaction, BlockingTransaction)
        repository = storage.repository(AgentModel)
        assert_type(repository, BlockingRepository[AgentModel])
        assert_type(repository.find_by_id("a"), AgentModel | None)
        assert_type(repository.find_all(), list[AgentModel])
        assert_type(repository.query(QueryBuilder(AgentModel)), list[AgentModel])
        assert_type(repository.count(), int)


def test_wrong_arguments_are_no_types() -> None:
    with open_storage(":memory:") as storage:
        calls = (
            lambda: storage.get_agent(1),  # type: ignore[arg-type]
            lambda: storage.store_agent(a_task()),  # type: ignore[arg-type]
            lambda: storage.get_events_by_agent("a"),  # type: ignore[call-arg]
            lambda: storage.repository(AgentModel).query(QueryBuilder(TaskModel)),  # type: ignore[arg-type]
        )
        for call in calls:
            try:
                call()
            except Exception:  # which, is a matter of other tests
                continue
            raise AssertionError("a wrong argument was taken")
