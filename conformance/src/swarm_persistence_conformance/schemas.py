"""Facts about schemas: swarms in one database that share only its connections."""

import asyncio
from uuid import uuid4

import pytest

from swarm_persistence import AgentModel, ClosedError, EventModel, OtherError, Storage
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.fixtures import OpenStorage
from swarm_persistence_conformance.records import a_message, a_metric, a_task, an_agent, an_event, ids


def a_name() -> str:
    """Return an unused schema name; on a server, schemas outlive the test."""
    return f"s_{uuid4().hex}"


@pytest.mark.asyncio
class TestSchemas:
    """The contract of `Storage.schema`."""

    async def test_one_id_in_two_schemas_names_two_records(self, storage: Storage) -> None:
        first, second = storage.schema(a_name()), storage.schema(a_name())
        for number, each in enumerate((storage, first, second)):
            records = [an_agent(name=str(number)), a_task(payload=number), an_event(), a_message(), a_metric()]
            assert await each.store_many(records) == 5

        for number, each in enumerate((storage, first, second)):
            agents, tasks = await each.list_agents(), await each.get_pending_tasks()
            assert ([agent.name for agent in agents], [task.payload for task in tasks]) == ([str(number)], [number])
            assert await each.repository(AgentModel).count() == 1

    async def test_what_one_schema_claims_another_one_keeps(self, storage: Storage) -> None:
        other = storage.schema(a_name())
        await storage.store_task(a_task())
        await other.store_task(a_task())

        claimed = await other.claim_next_task("agent-1")

        assert claimed is not None
        await other.complete_task(claimed, "done")
        assert await other.claim_next_task("agent-1") is None
        assert ids(await storage.get_pending_tasks()) == ["task-1"]

    async def test_keys_and_sequences_belong_to_a_schema(self, storage: Storage) -> None:
        other = storage.schema(a_name())
        await storage.store_event(an_event("event-1", idempotency_key="key"))
        stored = await other.store_event(an_event("event-2", idempotency_key="key"))

        assert (stored.id, stored.sequence) == ("event-2", 1)
        assert ids(await storage.read_events()) == ["event-1"]

    async def test_a_watcher_sees_its_own_schema_only(self, storage: Storage) -> None:
        other = storage.schema(a_name())
        seen: list[EventModel] = []

        async def watch() -> None:
            async for event in other.watch_events():
                seen.append(event)
                if event.id == "last":
                    return

        async with asyncio.timeout(30):
            watching = asyncio.create_task(watch())
            await other.store_event(an_event("first"))
            await storage.store_event(an_event("stranger"))
            await other.store_event(an_event("last"))
            await watching

        assert ids(seen) == ["first", "last"]

    async def test_a_waiting_claim_gets_a_task_of_its_schema(self, storage: Storage) -> None:
        other = storage.schema(a_name())
        waiting = asyncio.create_task(other.claim_next_task("agent-1", wait=30))
        await storage.store_task(a_task("stranger"))
        await other.store_task(a_task("own"))

        claimed = await waiting

        assert claimed is not None
        assert claimed.id == "own"

    async def test_the_same_name_gives_the_same_storage(self, storage: Storage) -> None:
        name = a_name()
        other = storage.schema(name)

        assert storage.schema(name) is other
        assert other.schema(name) is other
        assert other.schema(storage.schema_name) is storage.schema(storage.schema_name) is storage
        assert type(other) is type(storage)
        assert other.schema_name == name
        assert storage.schema(a_name()) is not other

    @pytest.mark.parametrize("name", ["", "Acme", "a-b", "1a", "a" * 64, 'a"b', "a/b", "..", "pg_a", "ä", None, 1])
    async def test_a_name_that_no_schema_can_have_is_refused(self, storage: Storage, name: str) -> None:
        with pytest.raises(OtherError, match=r"schema is .*, expected a name "):
            storage.schema(name)

    async def test_the_longest_name_will_do(self, storage: Storage) -> None:
        other = storage.schema(f"{a_name()}{'_' * 63}"[:63])
        await other.store_task(a_task())

        assert ids(await other.get_pending_tasks()) == ["task-1"]

    async def test_a_transaction_holds_the_writes_of_its_schema_only(self, storage: Storage) -> None:
        other = storage.schema(a_name())
        transaction = await storage.begin_transaction()
        await storage.store_task(a_task())
        await other.store_task(a_task())
        await transaction.rollback()

        assert await storage.get_pending_tasks() == []
        assert ids(await other.get_pending_tasks()) == ["task-1"]

    async def test_an_open_transaction_keeps_no_other_schema_waiting(self, storage: Storage) -> None:
        other = storage.schema(a_name())
        async with storage.transaction(), asyncio.timeout(25):
            await storage.store_task(a_task())
            await elsewhere(other.store_task(a_task()))
            async with other.transaction():
                await other.store_task(a_task("task-2"))

        assert ids(await other.get_pending_tasks()) == ["task-1", "task-2"]

    async def test_many_first_calls_at_once_open_a_schema(self, storage: Storage) -> None:
        other = storage.schema(a_name())

        await asyncio.gather(*(elsewhere(other.store_task(a_task(f"{number:02}"))) for number in range(20)))

        assert len(await other.get_pending_tasks()) == 20

    async def test_a_first_call_that_is_cancelled_harms_no_other_one(self, storage: Storage) -> None:
        other = storage.schema(a_name())
        first = asyncio.create_task(other.store_task(a_task("cancelled")))
        claim = asyncio.create_task(other.claim_next_task("agent-1"))
        second = asyncio.create_task(other.store_task(a_task("kept")))
        await asyncio.sleep(0)
        first.cancel()
        claim.cancel()
        await asyncio.wait([first, claim, second])

        assert "kept" in ids(await other.get_pending_tasks())

    async def test_a_schema_is_closed_without_the_others_and_opened_again(self, storage: Storage) -> None:
        name, neighbour = a_name(), storage.schema(a_name())
        async with storage.schema(name) as other:
            await other.store_task(a_task())
            await neighbour.store_task(a_task("neighbour's"))

        with pytest.raises(ClosedError, match="closed"):
            await other.get_pending_tasks()
        with pytest.raises(ClosedError, match="closed"):
            other.schema(name)
        await other.close()
        assert storage.schema(name) is not other
        assert ids(await storage.schema(name).get_pending_tasks()) == ["task-1"]
        assert ids(await neighbour.get_pending_tasks()) == ["neighbour's"]
        assert await storage.get_pending_tasks() == []

    async def test_closing_a_schema_ends_its_watchers_only(self, storage: Storage) -> None:
        other, neighbour = storage.schema(a_name()), storage.schema(a_name())
        waiting = [asyncio.create_task(each.claim_next_task("agent-1", wait=30)) for each in (other, neighbour)]
        for each in (other, neighbour):
            await each.list_agents()

        await other.close()
        with pytest.raises(ClosedError):
            await waiting[0]
        await neighbour.store_task(a_task())
        claimed = await waiting[1]

        assert claimed is not None

    async def test_closing_a_schema_that_was_never_used_does_nothing(self, storage: Storage) -> None:
        await storage.schema(a_name()).close()

        assert await storage.list_agents() == []

    async def test_the_end_of_the_first_storage_is_the_end_of_all(self, open_storage: OpenStorage) -> None:
        async with open_storage() as storage:
            used, unused = storage.schema(a_name()), storage.schema(a_name())
            await used.store_task(a_task())
            await storage.close()

            for each in (storage, used, unused):
                with pytest.raises(ClosedError, match="closed"):
                    await each.get_pending_tasks()
                with pytest.raises(ClosedError, match="closed"):
                    each.schema(a_name())
                await each.close()
