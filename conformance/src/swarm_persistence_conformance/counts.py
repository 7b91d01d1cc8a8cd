"""Facts about counts of records by their fields."""

from collections import Counter
from typing import Any

import pytest

from swarm_persistence import (
    DocumentModel,
    InvalidQueryError,
    MessageModel,
    MetricModel,
    Model,
    QueryBuilder,
    Storage,
    TaskModel,
    TaskPriority,
    TaskStatus,
)
from swarm_persistence_conformance.records import (
    MODELS,
    MOMENT,
    a_document,
    a_message,
    a_metric,
    a_schedule,
    a_task,
    after,
    an_agent,
    an_event,
    complete_records,
)

WITHOUT_EQUALITY = {
    *("capabilities", "metadata", "payload", "result", "dependencies", "data", "content", "tags", "value"),
    *("task_fields", "past_claims"),
}
"""Fields that hold JSON or bytes, but for the value of a metric, which is a number."""
FIELDS = [
    (model, field)
    for model in MODELS
    for field in model.__struct_fields__
    if field not in {*WITHOUT_EQUALITY, "embedding"} or (model, field) == (MetricModel, "value")
]


def plain_records() -> list[Model]:
    """Return two records of each model that differ in most fields from the complete ones."""
    return [
        record
        for n in "23"
        for record in (
            an_agent(f"plain-{n}"),
            a_task(f"plain-{n}"),
            an_event(f"plain-{n}"),
            a_message(f"plain-{n}"),
            a_metric(f"plain-{n}"),
            a_schedule(f"plain-{n}"),
        )
    ]


async def _store_counted_tasks(storage: Storage) -> None:
    """Store the tasks that the facts below count."""
    await storage.store_tasks(
        [
            a_task("1", task_type="sum", priority=TaskPriority.LOW),
            a_task("2", task_type="sum", priority=TaskPriority.CRITICAL),
            a_task("3", task_type="sum", priority=TaskPriority.HIGH, status=TaskStatus.FAILED),
            a_task("4", task_type="read", status=TaskStatus.RUNNING, assigned_to="agent-1"),
        ]
    )


@pytest.mark.asyncio
class TestCounts:
    """The contract of `count_by`."""

    async def test_records_are_counted_by_the_values_of_a_field(self, storage: Storage) -> None:
        await _store_counted_tasks(storage)

        assert await storage.count_by(TaskModel, "task_type") == {("read",): 1, ("sum",): 3}

    async def test_several_fields_make_a_key_of_their_values_in_order(self, storage: Storage) -> None:
        await _store_counted_tasks(storage)

        assert await storage.count_by(TaskModel, "task_type", "status") == {
            ("read", TaskStatus.RUNNING): 1,
            ("sum", TaskStatus.FAILED): 1,
            ("sum", TaskStatus.PENDING): 2,
        }
        assert (TaskStatus.PENDING, "sum") in await storage.count_by(TaskModel, "status", "task_type")

    async def test_keys_are_sorted_none_first_and_priorities_by_rank(self, storage: Storage) -> None:
        await _store_counted_tasks(storage)

        ranks = [TaskPriority.LOW, TaskPriority.MEDIUM, TaskPriority.HIGH, TaskPriority.CRITICAL]
        assert [*await storage.count_by(TaskModel, "priority")] == [(rank,) for rank in ranks]
        assert [*await storage.count_by(TaskModel, "assigned_to")] == [(None,), ("agent-1",)]

    async def test_texts_are_sorted_and_told_apart_by_code_point(self, storage: Storage) -> None:
        await storage.store_many([a_task(f"task {n}", task_type=n) for n in ("b", "a", "B", "ä", "a ", "")])

        assert [*await storage.count_by(TaskModel, "task_type")] == [("",), ("B",), ("a",), ("a ",), ("b",), ("ä",)]

    async def test_a_query_limits_what_is_counted(self, storage: Storage) -> None:
        await _store_counted_tasks(storage)
        unfinished = QueryBuilder(TaskModel).where_in("status", [TaskStatus.PENDING, TaskStatus.RUNNING])

        assert await storage.count_by(unfinished, "task_type") == {("read",): 1, ("sum",): 2}

    async def test_without_records_there_is_no_key(self, storage: Storage) -> None:
        assert await storage.count_by(MessageModel, "read") == {}

    @pytest.mark.parametrize(("model", "field"), FIELDS, ids=lambda each: getattr(each, "__name__", each))
    async def test_every_field_is_counted_by_the_values_that_records_have(
        self, storage: Storage, model: type[Model], field: str
    ) -> None:
        records = complete_records()
        await storage.store_many([record for record in records if not isinstance(record, DocumentModel)])
        await storage.put_documents([*filter(lambda each: isinstance(each, DocumentModel), records), a_document("2")])  # type: ignore[list-item]
        await storage.store_many(plain_records())

        counted = await storage.count_by(model, field)

        kept: list[Any] = await storage.repository(model).find_all()
        assert counted == dict(Counter((getattr(record, field),) for record in kept))
        assert {type(key[0]) for key in counted} == {type(getattr(record, field)) for record in kept}

    async def test_a_transaction_counts_its_own_writes(self, storage: Storage) -> None:
        await _store_counted_tasks(storage)

        async with storage.transaction():
            await storage.store_task(a_task("new", task_type="new"))
            assert await storage.count_by(TaskModel, "task_type") == {("new",): 1, ("read",): 1, ("sum",): 3}

    async def test_expired_documents_are_not_counted(self, storage: Storage) -> None:
        expired = a_document("old", created_at=MOMENT, expires_at=after(1))
        await storage.put_documents([a_document(), expired])

        assert await storage.count_by(DocumentModel, "collection") == {(("notes", "agent-1"),): 1}

    @pytest.mark.parametrize(
        ("records", "fields", "told"),
        [
            (TaskModel, (), "fields is empty"),
            (TaskModel, ("colour",), "TaskModel has no field 'colour'"),
            (TaskModel, ("status", "payload"), r"task\.payload holds JSON"),
            (TaskModel, ("status", "status"), "each one once"),
            (QueryBuilder(TaskModel).limit(1), ("status",), "leave order, limit and offset"),
            (QueryBuilder(TaskModel).offset(1), ("status",), "leave order, limit and offset"),
            (QueryBuilder(TaskModel).order_by("status"), ("status",), "leave order, limit and offset"),
            (int, ("status",), "is not a model"),
        ],
        ids=str,
    )
    async def test_what_cannot_be_counted_is_refused(
        self, storage: Storage, records: Any, fields: tuple[str, ...], told: str
    ) -> None:
        with pytest.raises(InvalidQueryError, match=told):
            await storage.count_by(records, *fields)
