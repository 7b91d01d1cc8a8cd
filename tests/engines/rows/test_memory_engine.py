"""Facts about the memory engine's write lock: tasks, threads, loops, cancellation and time."""

import asyncio

import pytest

from engines.rows.memory_engines import Time, assert_waiting, ids, task
from swarm_persistence.engines.interface import PoolStatus
from swarm_persistence.engines.reads import Count, Select
from swarm_persistence.engines.rows.memory.engine import MemoryEngine
from swarm_persistence.engines.steps import Delete, Increment, Insert, Update
from swarm_persistence.errors import ClosedError, ConflictError, DatabaseError, PoolError, TransactionError
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.tables import TASKS


async def test_writes_and_begins_wait_in_the_order_in_which_they_came(engine: MemoryEngine) -> None:
    session = await engine.begin()
    order = []

    async def write(id: str) -> None:
        await engine.write([Insert(task(id))])
        order.append(id)

    async def transact(id: str) -> None:
        other = await engine.begin()
        order.append(id)
        await other.write([Insert(task(id))])
        await other.commit()

    async with asyncio.TaskGroup() as group:
        for number, call in enumerate([write("a"), transact("b"), write("c"), transact("d"), write("e")], 1):
            group.create_task(call)
            await assert_waiting(engine, number)
        assert engine.pool_status() == PoolStatus(active=1, idle=0, max=1, waiting=5)
        await session.write([Insert(task("0"))])
        await session.commit()

    assert await ids(engine) == ["0", "a", "b", "c", "d", "e"]
    assert order == ["a", "b", "c", "d", "e"]
    assert engine.pool_status() == PoolStatus(active=0, idle=0, max=1, waiting=0)


async def test_reads_go_on_and_see_what_is_committed(engine: MemoryEngine) -> None:
    await engine.write([Insert(task("a")), Insert(task("b"))])
    session = await engine.begin()

    await session.write([Delete(Query(TASKS, (Condition("id", "=", "a"),))), Insert(task("c"))])

    assert await ids(engine) == ["a", "b"]
    assert await ids(session) == ["b", "c"]
    assert (await engine.read(Count(Query(TASKS))), await session.read(Count(Query(TASKS)))) == (2, 2)
    await session.commit()
    assert await ids(engine) == ["b", "c"]


async def test_a_failed_write_of_a_transaction_undoes_itself_only(engine: MemoryEngine) -> None:
    session = await engine.begin()
    await session.write([Insert(task("a"))])

    with pytest.raises(ConflictError):
        await session.write([Insert(task("b")), Insert(task("a"))])

    await session.commit()
    assert await ids(engine) == ["a"]


async def test_savepoints_nest(engine: MemoryEngine) -> None:
    await engine.write([Insert(task("0"))])
    session = await engine.begin()
    await session.savepoint("one")
    await session.write([Insert(task("a"))])
    await session.savepoint("two")
    await session.write([Insert(task("b")), Update(Query(TASKS), {"retry_count": Increment()})])
    await session.rollback_to("two")
    assert await ids(session) == ["0", "a"]
    await session.savepoint("two")
    await session.write([Delete(Query(TASKS)), Insert(task("c"))])
    await session.release("two")
    assert await ids(session) == ["c"]
    await session.rollback_to("one")
    assert await ids(session) == ["0"]
    await session.savepoint("one")
    await session.write([Insert(task("d"))])
    await session.release("one")

    with pytest.raises(DatabaseError, match="no savepoint 'one'"):
        await session.rollback_to("one")

    await session.commit()
    assert [(stored.id, stored.retry_count) for stored in await engine.read(Select(Query(TASKS)))] == [
        ("0", 0),
        ("d", 0),
    ]


async def test_a_rollback_undoes_at_the_call_and_a_second_one_does_nothing(engine: MemoryEngine) -> None:
    session = await engine.begin()
    await session.write([Insert(task("a"))])

    session.rollback()

    assert engine.pool_status().active == 0
    other = await engine.begin()
    await session.rollback()
    session.abandon()
    assert engine.pool_status().active == 1
    await other.commit()
    assert await ids(engine) == []


async def test_a_transaction_that_is_over_refuses_more(engine: MemoryEngine) -> None:
    session = await engine.begin()
    await session.commit()

    for call in (
        session.commit,
        lambda: session.write([Insert(task("a"))]),
        lambda: session.read(Select(Query(TASKS))),
    ):
        with pytest.raises(TransactionError, match="over already"):
            await call()

    assert session.failure is None


async def test_waiting_for_too_long_names_the_cause(engine: MemoryEngine, clock: Time) -> None:
    session = await engine.begin()
    waiting = asyncio.create_task(engine.write([Insert(task("a"))]))
    await assert_waiting(engine, 1)
    other = asyncio.create_task(engine.begin())
    await assert_waiting(engine, 2)

    clock.seconds += 31
    for waiter in list(engine._writers._queue):
        waiter._watch()

    with pytest.raises(PoolError, match=r"another transaction .* longer than connection_timeout \(30 s\)"):
        await waiting
    with pytest.raises(PoolError, match="longer than connection_timeout"):
        await other
    assert engine.pool_status().waiting == 0
    await session.write([Insert(task("b"))])
    await session.commit()
    assert await ids(engine) == ["b"]


async def test_the_time_of_a_waiter_runs_by_itself() -> None:
    engine = MemoryEngine(connection_timeout=0.01, transaction_timeout=60)
    session = await engine.begin()

    with pytest.raises(PoolError, match=r"connection_timeout \(0.01 s\)"):
        await engine.begin()

    await session.commit()


async def test_a_transaction_that_is_open_for_too_long_makes_room_by_itself() -> None:
    engine = MemoryEngine(connection_timeout=60, transaction_timeout=0.01)
    session = await engine.begin()
    await session.write([Insert(task("a"))])

    await engine.write([Insert(task("b"))])

    assert await ids(engine) == ["b"]
    assert isinstance(session.failure, TransactionError)


async def test_a_transaction_that_was_open_for_too_long_says_so(engine: MemoryEngine, clock: Time) -> None:
    session = await engine.begin()
    await session.write([Insert(task("a"))])
    assert session.failure is None

    clock.seconds += 61

    assert "longer than transaction_timeout (60 s)" in str(session.failure)
    for call in (session.commit, lambda: session.write([]), lambda: session.read(Count(Query(TASKS)))):
        with pytest.raises(TransactionError, match="transaction_timeout"):
            await call()
    await session.rollback()
    assert await ids(engine) == []
    assert engine.pool_status().active == 0


async def test_closing_finishes_the_writes_that_wait_and_ends_the_transaction(engine: MemoryEngine) -> None:
    session = await engine.begin()
    await session.write([Insert(task("a"))])
    write = asyncio.create_task(engine.write([Insert(task("b"))]))
    await assert_waiting(engine, 1)
    begin = asyncio.create_task(engine.begin())
    await assert_waiting(engine, 2)

    await engine.close()

    assert await write == [1]
    with pytest.raises(ClosedError):
        await begin
    with pytest.raises(ClosedError):
        await session.commit()
    for call in (engine.begin, lambda: engine.write([]), lambda: engine.read(Select(Query(TASKS))), engine.size):
        with pytest.raises(ClosedError):
            await call()
    await engine.close()


async def test_the_size_is_that_of_the_stored_values(engine: MemoryEngine) -> None:
    assert await engine.size() == 0
    await engine.write([Insert(task("é" * 10))])
    small = await engine.size()
    await engine.write([Update(Query(TASKS), {"error": "x" * 1000})])

    assert 20 < small < 300
    assert await engine.size() == small + 1000
