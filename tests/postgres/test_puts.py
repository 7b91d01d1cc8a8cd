"""Facts about puts of documents: the order of arrival, writers of the same documents, and puts of many callers."""

import asyncio
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import pytest

from postgres.conftest import blocked_by
from swarm_persistence import DatabaseError, DocumentModel, PostgresStorage
from swarm_persistence.engines.sql.postgres.batches import MOST_ROWS
from swarm_persistence.engines.sql.statements import DeleteFirstStatement
from swarm_persistence.storage.documents import PutCounts

NOTES = ("notes",)
MANY = 2500
"""More than one statement writes."""


def documents(keys: list[str], value: object = None) -> list[DocumentModel]:
    """Return a document for each key."""
    return [DocumentModel.new(NOTES, key, value) for key in keys]


async def test_many_documents_of_one_put_arrive_in_the_order_given(storage: PostgresStorage) -> None:
    keys = [f"{(number * 7919) % MANY:04}" for number in range(MANY)]

    counts = await storage.put_documents(documents(keys))

    assert counts.added == MANY
    assert await storage.list_document_keys(NOTES, by_arrival=True) == keys
    assert (await storage.put_documents(documents(keys[::-1]))).replaced == MANY
    assert await storage.list_document_keys(NOTES, by_arrival=True) == keys


async def test_writers_of_the_same_documents_in_opposite_orders_all_succeed(
    storage: PostgresStorage, other: PostgresStorage, admin: asyncpg.Connection
) -> None:
    keys = [f"{number:04}" for number in range(MANY)]
    await storage.put_documents(documents(keys))
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await admin.fetchval(deadlocks)

    for _ in range(3):
        await asyncio.gather(
            storage.put_documents(documents(keys, 1)),
            other.put_documents(documents(keys[::-1], 2)),
            other.put_documents(documents(keys[1000:] + keys[:1000], 3)),
        )

    assert await admin.fetchval(deadlocks) == before
    assert len({document.value for document in await storage.list_documents(NOTES)}) == 1


async def test_writers_of_each_others_new_documents_all_succeed(
    storage: PostgresStorage, other: PostgresStorage
) -> None:
    async def put(writer: PostgresStorage, given: str, absent: str) -> None:
        await writer.put_documents(documents([given]), if_absent=documents([absent]))

    for number in range(4):
        first, second = f"a-{number}", f"b-{number}"
        await asyncio.gather(put(storage, first, second), put(other, second, first))

    assert len(await storage.list_document_keys(NOTES)) == 8


async def test_transactions_that_put_each_others_documents_collide_and_are_run_again(
    storage: PostgresStorage, other: PostgresStorage
) -> None:
    both_have_put = asyncio.Barrier(2)
    attempts: list[str] = []

    async def put(writer: PostgresStorage, given: str, absent: str) -> None:
        async def work() -> None:
            attempts.append(given)
            await writer.put_documents(documents([given], given))
            if attempts.count(given) == 1:
                await both_have_put.wait()
            await writer.put_documents([], if_absent=documents([absent], given))

        await writer.run_transaction(work)

    await asyncio.gather(put(storage, "a", "b"), put(other, "b", "a"))

    assert len(attempts) == 3
    assert await storage.list_document_keys(NOTES) == ["a", "b"]


@pytest.mark.parametrize("count", [1, 3, 9])
async def test_large_documents_are_put_and_replaced(storage: PostgresStorage, count: int) -> None:
    """Up to eight are sent value by value, more as arrays."""
    large = [
        DocumentModel.new(NOTES, key, {"text": "ä" * 70_000}, bytes(range(256)) * 300) for key in "ihgfedcba"[:count]
    ]
    counts = await storage.put_documents(large)
    assert (counts.added, counts.replaced) == (count, 0)
    assert await storage.list_document_keys(NOTES, by_arrival=True) == [each.key for each in large]
    for each in large:
        each.data = b"other" * 20_000
    counts = await storage.put_documents(large)
    assert (counts.added, counts.replaced) == (0, count)
    assert [each.version for each in large] == [2] * count
    assert await storage.list_documents(NOTES) == large[::-1]

    counts = await storage.put_documents(documents(["small"]), if_absent=large)
    assert (counts.added, counts.replaced, counts.kept) == (1, 0, count)


class TestManyCallers:
    """Their small puts share a statement, not a fate."""

    @pytest.mark.parametrize("size", [1, MOST_ROWS])
    async def test_puts_of_one_tick_are_one_statement(
        self, storage: PostgresStorage, statements: list[str], size: int
    ) -> None:
        given = [documents([f"{number:02}-{place}" for place in range(size)], number) for number in range(50)]
        await asyncio.gather(*(storage.put_documents(given[7]) for _ in range(2)))  # else the first one leaves at once
        statements.clear()

        counts = await asyncio.gather(*(storage.put_documents(each) for each in given))

        assert len(statements) == 1
        assert counts == [PutCounts(replaced=size) if place == 7 else PutCounts(added=size) for place in range(50)]
        assert await storage.list_documents(NOTES) == [document for each in given for document in each]

    async def test_those_of_absent_documents_are_another_one(
        self, storage: PostgresStorage, statements: list[str]
    ) -> None:
        await asyncio.gather(*(storage.put_documents(documents(["stored"], "first")) for _ in range(2)))
        statements.clear()

        kept, *others = await asyncio.gather(
            storage.put_documents([], if_absent=documents(["stored"], "second")),
            storage.put_documents([], if_absent=documents(["new"])),
            storage.put_documents(documents(["a"])),
            storage.put_documents(documents(["b"])),
        )

        assert len(statements) == 2
        assert (kept, others) == (PutCounts(kept=1), [PutCounts(added=1)] * 3)
        stored = await storage.get_document(NOTES, "stored")
        assert stored is not None
        assert stored.value == "first"

    async def test_puts_of_one_document_are_written_in_their_order(self, storage: PostgresStorage) -> None:
        given = [documents(["same"], number)[0] for number in range(5)]

        await asyncio.gather(*(storage.put_documents([each]) for each in given))

        assert [each.version for each in given] == [1, 2, 3, 4, 5]
        assert await storage.list_documents(NOTES) == given[-1:]

    async def test_only_the_put_of_a_locked_document_waits_for_its_lock(
        self, storage: PostgresStorage, rival: asyncpg.Connection, admin: asyncpg.Connection
    ) -> None:
        await storage.put_documents(documents(["locked"], "first"))
        async with asyncio.timeout(20):
            async with rival.transaction():
                await rival.execute("SELECT FROM documents WHERE key = 'locked' FOR UPDATE")
                waiting = asyncio.ensure_future(storage.put_documents(documents(["locked"], "second")))
                for number in range(3):
                    counts = await asyncio.gather(
                        *(storage.put_documents(documents([f"free-{number}-{place}"])) for place in range(5))
                    )
                    assert counts == [PutCounts(added=1)] * 5
                await blocked_by(admin, waiting)
            assert await waiting == PutCounts(replaced=1)

    async def test_the_put_that_fails_fails_alone(self, storage: PostgresStorage, admin: asyncpg.Connection) -> None:
        await admin.execute(
            f"ALTER TABLE {storage.schema_name}.documents ADD CONSTRAINT refused CHECK (key <> 'refused')"
        )

        outcomes = await asyncio.gather(
            *(storage.put_documents(documents([key])) for key in ("a", "refused", "b")), return_exceptions=True
        )

        assert [type(each) for each in outcomes] == [PutCounts, DatabaseError, PutCounts]
        assert await storage.list_document_keys(NOTES) == ["a", "b"]


async def test_a_put_does_not_overtake_one_that_was_asked_for_before_it(storage: PostgresStorage) -> None:
    def put(value: str, *keys: str) -> Awaitable[object]:
        return storage.put_documents([DocumentModel.new(NOTES, key, value) for key in keys])

    await asyncio.gather(put("first", "x"), put("second", "x", "y"), put("third", "y"))

    found = await storage.get_documents(NOTES, ["x", "y"])
    assert {each.key: each.value for each in found} == {"x": "second", "y": "third"}


@pytest.mark.parametrize("using", ["", " USING ERRCODE = '23514'", " USING ERRCODE = '23514', TABLE = 'documents'"])
async def test_what_a_trigger_refuses_fails_alone_and_at_once(
    storage: PostgresStorage, admin: asyncpg.Connection, schema: str, using: str
) -> None:
    await admin.execute(f"""
        CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.key = 'k7' THEN RAISE EXCEPTION 'no k7'{using}; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON {schema}.documents FOR EACH ROW EXECUTE FUNCTION {schema}.refuse()
    """)
    puts = [storage.put_documents(documents([f"k{number}"])) for number in range(10)]

    async with asyncio.timeout(10):
        outcomes = await asyncio.gather(*puts, return_exceptions=True)

    assert [isinstance(each, DatabaseError) for each in outcomes] == [number == 7 for number in range(10)]
    assert "no k7" in str(outcomes[7])
    assert len(await storage.list_document_keys(NOTES)) == 9


async def test_a_range_that_another_process_deletes_meanwhile_is_none(
    storage: PostgresStorage, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"k{number:02}" for number in range(36)]
    for key in keys:
        await storage.put_documents([DocumentModel.new(NOTES, key, data=bytes(1 << 20))])
    run = DeleteFirstStatement.run

    async def delete_elsewhere() -> None:
        async with await PostgresStorage.open(url) as elsewhere:
            await elsewhere.delete_documents(NOTES, keys=keys)

    def interrupted(self: DeleteFirstStatement) -> Any:
        exchange = run(self)
        answer = yield next(exchange)  # their size: more than one write deletes
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, delete_elsewhere()).result()
        try:
            while True:
                answer = yield exchange.send(answer)
        except StopIteration as end:
            return end.value

    monkeypatch.setattr(DeleteFirstStatement, "run", interrupted)

    assert await storage.delete_documents(NOTES) == 0
