"""Facts about the deletion of many records: `delete_where` and `erase`, and what becomes of their dependents."""

import asyncio
from typing import Any

import pytest

from swarm_persistence import (
    AgentModel,
    AgentStatus,
    DocumentModel,
    Erased,
    EventModel,
    InvalidQueryError,
    Pruned,
    QueryBuilder,
    ScheduleModel,
    SerializationError,
    Storage,
    TaskModel,
    TaskStatus,
)
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.held_tasks import stored
from swarm_persistence_conformance.records import (
    MODELS,
    a_document,
    a_message,
    a_metric,
    a_task,
    after,
    an_agent,
    an_event,
    everything_in,
    ids,
)


def of_group(name: str, group: str | None) -> list[Any]:
    """Return a record of each model with a group."""
    makers = (an_agent, a_task, an_event, a_message, a_metric)
    return [make(name, group=group) for make in makers]


async def names_in(storage: Storage) -> dict[str, list[str]]:
    """Return the ids of all records, by model."""
    return {name: ids(records) for name, records in (await everything_in(storage)).items()}


@pytest.mark.asyncio
class TestErasing:
    """The contract of `erase`."""

    async def test_all_of_a_group_goes_and_nothing_else(self, storage: Storage) -> None:
        await storage.store_many(
            [
                record
                for name, group in (("a", "x"), ("b", "X"), ("c", None), ("d", "x"))
                for record in of_group(name, group)
            ]
        )
        await storage.put_documents([a_document("k", collection=path) for path in (("x",), ("x", "y"), ("xy",))])

        for name, fields in (("theirs", {"group": "X"}), ("ours", {"group": "x"}), ("plain", {})):
            await storage.store_many([ScheduleModel.new(name, "sum", every=60, task_fields=fields)])

        before = await names_in(storage)
        counted = await storage.erase("x", collections=[("x", "y"), ("x",), ("x",)], dry_run=True)
        assert await names_in(storage) == before
        erased = await storage.erase("x", collections=[("x",)])

        assert counted == erased == Erased(tasks=2, agents=2, events=2, messages=2, metrics=2, documents=2, schedules=1)
        left = await names_in(storage)
        assert sorted(left.pop("ScheduleModel")) == ["plain", "theirs"]
        del left["DocumentModel"]
        assert list(left.values()) == [["b", "c"]] * 5
        assert [document.collection for document in await storage.list_documents((), below=True)] == [("xy",)]
        assert await storage.erase("x", collections=[("x",)]) == Erased()

    async def test_more_than_one_batch_goes_while_others_write(self, storage: Storage) -> None:
        await storage.store_many([an_event(f"{n}", group="x" if n % 3 else None) for n in range(1_300)])

        erased, _ = await asyncio.gather(
            storage.erase("x"), elsewhere(storage.store_many([an_event(f"new-{n}") for n in range(20)]))
        )

        assert erased == Erased(events=866)
        assert await storage.repository(EventModel).count() == 434 + 20

    async def test_dependents_of_other_groups_fail_as_if_it_had_been_cancelled(self, storage: Storage) -> None:
        await storage.store_tasks(
            [
                a_task("first", group="x"),
                a_task("second", group="x", dependencies=["first"]),
                a_task("other", group="y", dependencies=["second"]),
                a_task("behind", dependencies=["other"]),
                a_task("patient", dependencies=["first"], fails_with_dependencies=False),
            ]
        )

        assert await storage.erase("x") == Erased(tasks=2)

        assert (await stored(storage, "other")).error == "the dependency 'second' was deleted"
        assert (await stored(storage, "behind")).status is TaskStatus.FAILED
        assert ids(await storage.get_blocked_tasks()) == ["patient"]
        first = await storage.store_task(a_task("first"))
        await storage.claim_task("first", "agent-1")
        await storage.complete_task(await stored(storage, first.id))
        assert ids(await storage.get_ready_tasks()) == ["patient"]

    async def test_the_tasks_of_an_erased_agent_become_pending_again(self, storage: Storage) -> None:
        await storage.store_many([an_agent("gone", group="x"), an_agent("left"), a_task("1"), a_task("2")])
        await storage.claim_task("1", "gone")
        await storage.claim_task("2", "left")

        assert await storage.erase("x") == Erased(agents=1)

        assert ids(await storage.get_pending_tasks()) == ["1"]

    async def test_within_a_transaction_it_is_rolled_back(self, storage: Storage) -> None:
        await storage.store_many(of_group("a", "x"))
        before = await names_in(storage)

        transaction = await storage.begin_transaction()
        assert (await storage.erase("x")).tasks == 1
        await transaction.rollback()

        assert await names_in(storage) == before

    @pytest.mark.parametrize("group", ["", None, 7, "a\0"])
    async def test_a_group_that_is_no_name_is_refused(self, storage: Storage, group: Any) -> None:
        with pytest.raises(SerializationError, match="group"):
            await storage.erase(group)

    @pytest.mark.parametrize("collections", ["notes", ("notes",), [()], [7], 7])
    async def test_collections_that_are_none_are_refused_before_anything_is_deleted(
        self, storage: Storage, collections: Any
    ) -> None:
        await storage.store_many(of_group("a", "x"))

        with pytest.raises((SerializationError, InvalidQueryError), match="collections"):
            await storage.erase("x", collections=collections)

        assert len(await storage.list_agents()) == 1


@pytest.mark.asyncio
class TestDeletingByQuery:
    """The contract of `delete_where`."""

    async def test_the_records_that_match_go(self, storage: Storage) -> None:
        await storage.store_many([an_event(f"{n:04}", event_type=f"type-{n % 3}") for n in range(1_200)])

        query = QueryBuilder(EventModel).where_in("event_type", ["type-0", "type-1"]).where_lt("id", "0600")
        assert await storage.delete_where(query) == 400

        assert await storage.repository(EventModel).count() == 800
        assert await storage.delete_where(query) == 0

    async def test_a_dry_run_counts_what_would_go_and_deletes_nothing(self, storage: Storage) -> None:
        await storage.store_many([an_event(f"{n}", event_type=f"type-{n % 3}") for n in range(9)])
        await storage.put_documents([a_document("gone", expires_at=after(-10)), a_document("k")])

        query = QueryBuilder(EventModel).where_eq("event_type", "type-0")
        assert await storage.delete_where(query, dry_run=True) == 3
        assert await storage.delete_where(QueryBuilder(DocumentModel).where_not_null("id"), dry_run=True) == 1
        for refused in (QueryBuilder(EventModel), query.limit(1)):
            with pytest.raises(InvalidQueryError):
                await storage.delete_where(refused, dry_run=True)
        with pytest.raises(InvalidQueryError, match="dry_run"):
            await storage.delete_where(query, dry_run="no")  # type: ignore[arg-type]

        assert await storage.repository(EventModel).count() == 9

    async def test_every_model_can_be_deleted_from(self, storage: Storage) -> None:
        await storage.store_many(of_group("a", "x"))
        await storage.put_documents([a_document("k")])
        await storage.store_many([ScheduleModel.new("nightly", "sum", every=60)])

        for model in MODELS:
            assert await storage.delete_where(QueryBuilder[Any](model).where_not_null("id")) == 1

        assert {name: records for name, records in (await everything_in(storage)).items() if records} == {}

    async def test_tasks_fail_with_a_deleted_dependency_and_a_chain_goes_as_a_whole(self, storage: Storage) -> None:
        chain = [a_task(f"{n}", task_type="x", dependencies=[f"{n - 1}"] if n else []) for n in range(1_100)]
        await storage.store_tasks(
            [*chain, a_task("last", dependencies=["1099"]), a_task("free", dependencies=["done"])]
        )

        assert await storage.delete_where(QueryBuilder(TaskModel).where_eq("task_type", "x")) == 1_100

        assert (await stored(storage, "last")).error == "the dependency '1099' was deleted"
        assert ids(await storage.get_blocked_tasks()) == ["free"]

    async def test_a_task_that_was_deleted_can_be_stored_again_and_waits_anew(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("a", dependencies=["missing"]), a_task("b")])
        await storage.delete_where(QueryBuilder(TaskModel).where_in("id", ["a", "b"]))

        await storage.store_task(a_task("a"))

        assert ids(await storage.get_ready_tasks()) == ["a"]

    async def test_agents_give_back_what_they_hold(self, storage: Storage) -> None:
        await storage.store_many([an_agent("1", name="old"), a_task()])
        await storage.claim_next_task("1")

        assert await storage.delete_where(QueryBuilder(AgentModel).where_eq("name", "old")) == 1

        assert ids(await storage.get_ready_tasks()) == ["task-1"]

    async def test_a_query_without_conditions_or_with_bounds_is_refused(self, storage: Storage) -> None:
        await storage.store_task(a_task())
        query = QueryBuilder(TaskModel)

        for refused in (query, query.where_eq("id", "task-1").limit(1), query.order_by("id"), "tasks"):
            with pytest.raises(InvalidQueryError):
                await storage.delete_where(refused)  # type: ignore[arg-type]

        assert await storage.repository(TaskModel).count() == 1


@pytest.mark.asyncio
class TestPruningAgents:
    """Agents that are shut down are pruned."""

    async def test_old_agents_in_shutdown_go_and_give_back_what_they_hold(self, storage: Storage) -> None:
        await storage.store_many(
            [
                an_agent(f"{status}-{age}", status=status, updated_at=after(-age))
                for status in AgentStatus
                for age in (5, 9)
            ]
        )
        await storage.store_task(a_task())
        await storage.claim_task("task-1", "shutdown-9")

        assert await storage.prune(after(-7), agents=False) == Pruned()
        assert await storage.prune(after(-7)) == Pruned(agents=1)

        assert len(await storage.list_agents()) == 2 * len(AgentStatus) - 1
        assert await storage.get_agent("shutdown-9") is None
        assert ids(await storage.get_pending_tasks()) == ["task-1"]
