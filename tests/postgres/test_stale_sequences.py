"""Facts about sequences that are behind their tables, as logical replication and some restores leave them."""

import asyncio
import re
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
import pytest_asyncio

from postgres.servers import Server
from swarm_persistence import (
    CollisionError,
    ConflictError,
    DatabaseError,
    MetricModel,
    PostgresStorage,
    TaskModel,
)
from swarm_persistence.schema.tables import TABLES
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_message, a_task, an_agent, an_event, everything_in, ids


async def put_back(admin: asyncpg.Connection, schema: str) -> None:
    """Let all sequences begin anew, while their tables are full."""
    for table in TABLES:
        await admin.execute(f"ALTER TABLE {schema}.{table.name} ALTER COLUMN sequence RESTART WITH 1")


@pytest_asyncio.fixture
async def filled(storage: PostgresStorage, admin: asyncpg.Connection, schema: str) -> PostgresStorage:
    """Give a storage with 30 records of each kind, whose sequences have been put back."""
    await storage.store_tasks([a_task("root"), *(a_task(f"t{place}", dependencies=["root"]) for place in range(30))])
    for place in range(30):
        await storage.store_many([
            an_agent(f"a{place}"), an_event(f"e{place}"), a_message(f"m{place}"), MetricModel(
                id=f"x{place}", metric_type="n", value=1.0, unit="s"
            )
        ])  # fmt: skip
    await put_back(admin, schema)
    return storage


STORES: dict[str, Callable[[PostgresStorage], Awaitable[object]]] = {
    "store_task": lambda storage: storage.store_task(a_task("new")),
    "store_task_with_a_dependency": lambda storage: storage.store_task(a_task("new", dependencies=["root"])),
    "store_task_with_a_key": lambda storage: storage.store_task(a_task("new", idempotency_key="key")),
    "store_tasks": lambda storage: storage.store_tasks([a_task(f"new-{place}") for place in range(50)]),
    "store_agent": lambda storage: storage.store_agent(an_agent("new")),
    "store_event": lambda storage: storage.store_event(an_event("new")),
    "store_message": lambda storage: storage.store_message(a_message("new")),
    "store_metric": lambda storage: storage.store_metric(MetricModel(id="new", metric_type="n", value=1.0, unit="s")),
    "store_many": lambda storage: storage.store_many([an_agent("new"), a_task("new")]),
    "save": lambda storage: storage.repository(TaskModel).save(a_task("new")),
}


class TestStoring:
    @pytest.mark.parametrize("verb", STORES)
    async def test_each_verb_that_stores_lets_the_sequence_catch_up(self, filled: PostgresStorage, verb: str) -> None:
        before = {kind: len(records) for kind, records in (await everything_in(filled)).items()}

        await STORES[verb](filled)

        after = {kind: len(records) for kind, records in (await everything_in(filled)).items()}
        assert sum(after.values()) > sum(before.values())

    async def test_many_that_store_at_once_are_all_stored_and_none_twice(
        self, filled: PostgresStorage, other: PostgresStorage
    ) -> None:
        await asyncio.gather(
            *(elsewhere(each.store_event(an_event(f"{place}-{number}")))
              for number in range(100) for place, each in enumerate((filled, other)))
        )  # fmt: skip

        events = await filled.read_events(after=0, limit=1000)
        assert len(events) == 230
        assert len({event.sequence for event in events}) == 230

    async def test_an_id_that_is_taken_is_still_a_conflict(self, filled: PostgresStorage) -> None:
        with pytest.raises(ConflictError, match="'t1' exists already"):
            await filled.store_task(a_task("t1"))

    async def test_a_watcher_sees_what_is_stored_after_it(self, filled: PostgresStorage) -> None:
        seen = (await filled.read_events(after=0, limit=1000))[-1].sequence
        assert seen is not None

        await filled.store_event(an_event("new"))

        assert ids(await filled.read_events(after=seen, limit=10)) == ["new"]


class TestTransactions:
    async def test_run_transaction_runs_it_again(self, filled: PostgresStorage) -> None:
        tries = 0

        async def work() -> None:
            nonlocal tries
            tries += 1
            await filled.store_agent(an_agent("new"))

        await filled.run_transaction(work)

        assert tries == 2
        assert "new" in ids(await filled.list_agents())

    async def test_another_one_is_told_to_run_again(self, filled: PostgresStorage) -> None:
        async def transact() -> None:
            async with filled.transaction():
                await filled.store_agent(an_agent("new"))

        with pytest.raises(CollisionError, match="sequence that numbers the agents is behind its table"):
            await transact()
        await transact()


class TestRights:
    async def test_a_role_that_may_not_advance_it_is_told_what_to_do(
        self, filled: PostgresStorage, admin: asyncpg.Connection, schema: str, server: Server
    ) -> None:
        role = f"poor_{schema}"
        for order in (
            f"CREATE ROLE {role} LOGIN PASSWORD 'x'",
            f"GRANT USAGE ON SCHEMA {schema} TO {role}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
        ):
            await admin.execute(order)
        async with await PostgresStorage.open(server.url(user=role, password="x", schema=schema)) as poor:
            with pytest.raises(DatabaseError, match=re.escape("GRANT UPDATE ON ALL SEQUENCES")) as caught:
                await poor.store_task(a_task("new"))
            assert not isinstance(caught.value, ConflictError)

            await admin.execute(f"GRANT UPDATE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}")
            await poor.store_task(a_task("new"))

        assert "new" in ids(await filled.get_pending_tasks())
