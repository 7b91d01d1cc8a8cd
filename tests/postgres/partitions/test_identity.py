"""Facts about ids and keys in partitioned history: each is that of one record, in all periods."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from postgres.partitions.records import OLD
from postgres.periods import begun_periods, let_time_pass, look, pass_a_period
from swarm_persistence import ConflictError, EventModel, MessageModel, MetricModel, PostgresStorage
from swarm_persistence.clock import now
from swarm_persistence.engines.sql.postgres.failures import is_without_partition
from swarm_persistence_conformance.records import a_message, a_metric, an_event, ids

_MAKERS: dict[type[Any], Callable[..., Any]] = {
    EventModel: an_event,
    MessageModel: a_message,
    MetricModel: a_metric,
}


class TestIdentity:
    """Ids and keys are those of one record, in all periods."""

    @pytest.mark.parametrize("model", _MAKERS)
    async def test_an_id_of_an_earlier_period_is_refused(
        self, storage: PostgresStorage, admin: asyncpg.Connection, model: type[Any]
    ) -> None:
        make = _MAKERS[model]
        records = storage.repository(model)
        for known in ("m", "a", "z"):
            await records.save(make(known))
            await pass_a_period(storage, admin)

        for known in ("a", "m", "z"):
            with pytest.raises(ConflictError, match=f"{known}.*exists already"):
                await storage.store_many([make("new"), make(known)])

        assert await records.count() == 3

    async def test_of_many_stores_at_once_only_that_of_a_known_id_fails(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await storage.store_event(an_event("known"))
        await pass_a_period(storage, admin)

        results = await asyncio.gather(
            *(storage.store_event(an_event(id)) for id in ("a", "b", "known", "z")), return_exceptions=True
        )

        assert [type(result) for result in results] == [EventModel, EventModel, ConflictError, EventModel]

    async def test_an_event_of_a_key_of_an_earlier_period_is_not_stored_again(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        first = await storage.store_event(an_event("first", idempotency_key="k"))
        await pass_a_period(storage, admin)

        again = await storage.store_event(an_event("second", idempotency_key="k"))
        async with storage.transaction():
            within = await storage.store_event(an_event("third", idempotency_key="k"))

        assert (again, within) == (first, first)
        assert ids(await storage.read_events()) == ["first"]

    async def test_a_new_key_does_not_hide_a_known_id(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await storage.store_event(an_event("known", idempotency_key="k"))
        with pytest.raises(ConflictError, match="known"):
            await storage.store_event(an_event("known", idempotency_key="other"))
        await pass_a_period(storage, admin)

        with pytest.raises(ConflictError, match="known"):
            await storage.store_event(an_event("known", idempotency_key="other"))

    @pytest.mark.parametrize("model", _MAKERS)
    async def test_a_saved_record_replaces_that_of_an_earlier_period(
        self, storage: PostgresStorage, admin: asyncpg.Connection, model: type[Any]
    ) -> None:
        records = storage.repository(model)
        record = _MAKERS[model]("known")
        await records.save(record)
        await pass_a_period(storage, admin)
        record.timestamp = now() - OLD

        await records.save(record)

        (stored,) = await records.find_all()
        assert stored.timestamp == record.timestamp

    async def test_two_processes_store_each_id_once_while_periods_pass(
        self, url: str, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        """Each of two storages stores every id, in its own order, and both see that the period is over."""
        names = [f"event-{number:03}" for number in range(300)]
        refused = 0

        async def store_all(one: PostgresStorage, names: list[str]) -> None:
            nonlocal refused
            for id in names:
                try:
                    await one.store_event(an_event(id))
                except ConflictError:
                    refused += 1

        async with await PostgresStorage.open(url) as other:
            working = asyncio.gather(store_all(storage, names), store_all(other, names[::-1]))
            for _ in range(3):
                await let_time_pass(storage, admin)
                looks = [one._engine.on_a_connection(one._engine.periods.check) for one in (storage, other)]
                await asyncio.gather(*looks)
                await look(storage, admin)
            await working

        assert refused == len(names)
        assert sorted(ids(await storage.read_events(limit=1000))) == names
        assert await begun_periods(storage, admin) == [4, 4, 4]


async def test_a_row_without_a_partition_is_told_from_one_that_a_check_refuses(
    admin: asyncpg.Connection, schema: str
) -> None:
    await admin.execute(f"""
        CREATE SCHEMA IF NOT EXISTS {schema};
        CREATE TABLE {schema}.split (number int CHECK (number <> 1)) PARTITION BY RANGE (number);
        CREATE TABLE {schema}.below_ten PARTITION OF {schema}.split FOR VALUES FROM (0) TO (10)
    """)
    refused: dict[str, bool] = {}
    for table, number in (("split", 10), ("below_ten", 10), ("split", 1)):
        with pytest.raises(asyncpg.CheckViolationError) as found:
            await admin.execute(f"INSERT INTO {schema}.{table} VALUES ({number})")
        refused[f"{number} in {table}"] = is_without_partition(found.value)

    assert refused == {"10 in split": True, "10 in below_ten": True, "1 in split": False}
