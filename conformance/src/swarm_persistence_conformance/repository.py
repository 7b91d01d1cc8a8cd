"""Facts about repositories."""

from typing import Any

import pytest

from swarm_persistence import (
    AgentModel,
    ConflictError,
    DocumentModel,
    EventModel,
    InvalidQueryError,
    MessageModel,
    MetricModel,
    Model,
    NotFoundError,
    QueryBuilder,
    ScheduleModel,
    Storage,
    TaskModel,
)
from swarm_persistence_conformance.records import (
    MODELS,
    a_message,
    a_metric,
    a_task,
    after,
    an_agent,
    an_event,
    complete_records,
    ids,
)


def complete(model: type[Model]) -> Model:
    """Return a record of a model, with no field left at its default."""
    (record,) = (record for record in complete_records() if type(record) is model)
    return record


@pytest.mark.asyncio
class TestRepositories:
    """The contract of a repository, for each model."""

    @pytest.mark.parametrize("model", MODELS)
    async def test_saving_stores_a_new_record(self, storage: Storage, model: type[Model]) -> None:
        record = complete(model)

        await storage.repository(model).save(record)

        stored = await storage.repository(model).find_by_id(record.id)
        if isinstance(stored, EventModel | MessageModel):
            stored.sequence = None  # set by the storage, not saved by the caller
        assert stored == record

    @pytest.mark.parametrize("model", MODELS)
    async def test_a_missing_record_is_none(self, storage: Storage, model: type[Model]) -> None:
        assert await storage.repository(model).find_by_id("missing") is None

    @pytest.mark.parametrize("model", MODELS)
    async def test_updating_a_missing_record_is_refused(self, storage: Storage, model: type[Model]) -> None:
        record = complete(model)

        with pytest.raises(NotFoundError, match=record.id):
            await storage.repository(model).update(record)

        assert await storage.repository(model).find_all() == []

    @pytest.mark.parametrize("model", MODELS)
    async def test_a_deleted_record_is_gone_and_may_be_deleted_again(
        self, storage: Storage, model: type[Model]
    ) -> None:
        record, repository = complete(model), storage.repository(model)
        await repository.save(record)

        await repository.delete(record.id)
        await repository.delete(record.id)

        assert await repository.find_by_id(record.id) is None

    @pytest.mark.parametrize("model", MODELS)
    async def test_an_update_keeps_the_place_in_the_order_of_arrival(
        self, storage: Storage, model: type[Model]
    ) -> None:
        first, second, repository = complete(model), complete(model), storage.repository(model)
        if isinstance(second, DocumentModel):
            second.key = "second"
        if isinstance(second, ScheduleModel):
            second.name = "second"
        second.id = "second"
        if isinstance(second, TaskModel | EventModel):
            second.idempotency_key = "second"
        await storage.store_many([first, second])

        await repository.update(first)
        await repository.save(first)

        assert ids(await repository.find_all()) == [first.id, second.id]

    async def test_all_records_come_in_the_order_of_arrival(self, storage: Storage) -> None:
        await storage.store_many([a_task("m", created_at=after(3)), a_task("z"), a_task("a", created_at=after(-3))])

        assert ids(await storage.repository(TaskModel).find_all()) == ["m", "z", "a"]

    async def test_saving_replaces_a_record_that_was_read(self, storage: Storage) -> None:
        repository = storage.repository(AgentModel)
        await repository.save(an_agent())
        agent = await repository.find_by_id("agent-1")
        assert agent is not None

        agent.name = "renamed"
        await repository.save(agent)

        assert await repository.find_all() == [agent] == [an_agent(name="renamed", version=2)]

    async def test_saving_replaces_a_record_without_a_version(self, storage: Storage) -> None:
        messages, metrics = storage.repository(MessageModel), storage.repository(MetricModel)
        message = a_message()
        await storage.store_many([message, a_metric()])

        await messages.save(a_message(content="new"))
        await metrics.save(a_metric(value=99.0))

        assert await messages.find_all() == [a_message(content="new", sequence=message.sequence)]
        assert await metrics.find_all() == [a_metric(value=99.0)]

    async def test_saving_a_known_event_keeps_its_sequence(self, storage: Storage) -> None:
        event = an_event()
        await storage.store_event(event)

        await storage.repository(EventModel).save(an_event(data="new"))

        (stored,) = await storage.repository(EventModel).find_all()
        assert (stored.data, stored.sequence) == ("new", event.sequence)

    async def test_saving_a_copy_that_is_out_of_date_is_refused(self, storage: Storage) -> None:
        task = a_task()
        await storage.store_task(task)
        await storage.update_task(task)

        with pytest.raises(ConflictError, match="task 'task-1'"):
            await storage.repository(TaskModel).save(a_task(error="stale", version=1))

        assert await storage.get_task("task-1") == task

    async def test_saving_a_fresh_record_of_a_known_id_is_refused(self, storage: Storage) -> None:
        agent = an_agent()
        await storage.store_agent(agent)

        with pytest.raises(ConflictError, match="agent 'agent-1'"):
            await storage.repository(AgentModel).save(an_agent(name="another"))

        assert await storage.get_agent("agent-1") == agent

    async def test_saving_a_record_that_was_deleted_stores_it_anew(self, storage: Storage) -> None:
        agent = an_agent()
        await storage.store_agent(agent)
        await storage.delete_agent("agent-1")

        await storage.repository(AgentModel).save(agent)

        assert await storage.get_agent("agent-1") == agent

    async def test_updating_a_copy_that_is_out_of_date_is_refused(self, storage: Storage) -> None:
        agent = an_agent()
        await storage.store_agent(agent)
        await storage.update_agent(agent)

        with pytest.raises(ConflictError):
            await storage.repository(AgentModel).update(an_agent(version=1))

    async def test_deleting_an_agent_gives_its_tasks_back(self, storage: Storage) -> None:
        await storage.store_many([an_agent(), a_task()])
        await storage.claim_task("task-1", "agent-1")

        await storage.repository(AgentModel).delete("agent-1")

        assert ids(await storage.get_pending_tasks()) == ["task-1"]

    async def test_a_query_finds_its_records(self, storage: Storage) -> None:
        await storage.store_many([a_task("1", task_type="x"), a_task("2"), a_task("3", task_type="x")])
        wanted = QueryBuilder(TaskModel).where_eq("task_type", "x").order_by("id", desc=True)

        assert ids(await storage.repository(TaskModel).query(wanted)) == ["3", "1"]

    async def test_all_records_are_counted(self, storage: Storage) -> None:
        await storage.store_many([a_task("1"), a_task("2"), an_agent()])

        assert await storage.repository(TaskModel).count() == 2

    async def test_counting_a_query_pays_no_heed_to_its_bounds(self, storage: Storage) -> None:
        await storage.store_many([a_task(str(number), task_type="x") for number in range(5)] + [a_task()])
        query = QueryBuilder(TaskModel).where_eq("task_type", "x").limit(1).offset(3)

        assert await storage.repository(TaskModel).count(query) == 5

    @pytest.mark.parametrize("batch_size", [1, 2, 3, 10, 1000])
    async def test_iterating_gives_every_record_once_in_the_order_of_arrival(
        self, storage: Storage, batch_size: int
    ) -> None:
        await storage.store_many([a_task(id) for id in "hbzagcydfe"])

        found = [task async for task in storage.repository(TaskModel).iterate(batch_size=batch_size)]

        assert ids(found) == list("hbzagcydfe")

    @pytest.mark.parametrize("model", MODELS)
    async def test_iterating_gives_what_finding_all_gives(self, storage: Storage, model: type[Model]) -> None:
        await storage.store_many(complete_records())

        found = [record async for record in storage.repository(model).iterate()]

        assert found == await storage.repository(model).find_all()

    async def test_iterating_keeps_to_the_conditions(self, storage: Storage) -> None:
        await storage.store_many([a_task(str(number), task_type="xy"[number % 2]) for number in range(9)])
        query = QueryBuilder(TaskModel).where_eq("task_type", "y")

        found = [task async for task in storage.repository(TaskModel).iterate(query, batch_size=2)]

        assert ids(found) == ["1", "3", "5", "7"]

    async def test_iterating_sees_what_is_stored_meanwhile(self, storage: Storage) -> None:
        await storage.store_many([a_task("1"), a_task("2")])
        found = []

        async for task in storage.repository(TaskModel).iterate(batch_size=1):
            found.append(task.id)
            if task.id == "1":
                await storage.store_task(a_task("3"))

        assert found == ["1", "2", "3"]

    async def test_iterating_joins_the_transaction(self, storage: Storage) -> None:
        async with storage.transaction():
            await storage.store_task(a_task())
            found = [task async for task in storage.repository(TaskModel).iterate()]

        assert ids(found) == ["task-1"]

    @pytest.mark.parametrize(
        "query",
        [
            QueryBuilder(TaskModel).order_by("id"),
            QueryBuilder(TaskModel).limit(1),
            QueryBuilder(TaskModel).offset(1),
        ],
        ids=["order", "limit", "offset"],
    )
    async def test_iterating_refuses_what_batches_cannot_keep(
        self, storage: Storage, query: QueryBuilder[TaskModel]
    ) -> None:
        with pytest.raises(InvalidQueryError, match="arrival"):
            await anext(storage.repository(TaskModel).iterate(query))

    @pytest.mark.parametrize("batch_size", [0, -1, 1.5, "2"])
    async def test_a_batch_size_without_sense_is_refused(self, storage: Storage, batch_size: Any) -> None:
        with pytest.raises(InvalidQueryError, match="batch_size"):
            await anext(storage.repository(TaskModel).iterate(batch_size=batch_size))

    async def test_a_query_of_another_model_is_refused(self, storage: Storage) -> None:
        foreign = QueryBuilder(AgentModel)

        with pytest.raises(InvalidQueryError, match=r"TaskModel.*AgentModel"):
            await storage.repository(TaskModel).query(foreign)  # type: ignore[arg-type]

    async def test_a_repository_joins_the_transaction(self, storage: Storage) -> None:
        repository = storage.repository(TaskModel)
        transaction = await storage.begin_transaction()
        await repository.save(a_task())
        found_inside = await repository.find_by_id("task-1")

        await transaction.rollback()

        assert (found_inside is None, await repository.find_all()) == (False, [])
