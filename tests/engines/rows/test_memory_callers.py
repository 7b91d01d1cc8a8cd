"""Facts about callers of the memory engine: cancelled and dropped ones, and those of several threads and loops."""

import asyncio
import gc
from typing import Any

import pytest

from engines.rows.memory_engines import Time, assert_waiting, ids, in_thread, task
from swarm_persistence.engines.interface import PoolStatus
from swarm_persistence.engines.reads import Select
from swarm_persistence.engines.rows.memory.engine import MemoryEngine
from swarm_persistence.engines.steps import Increment, Insert, Update
from swarm_persistence.query.query import Query
from swarm_persistence.schema.tables import TASKS


async def test_a_cancelled_waiter_does_not_write_and_passes_the_lock_on(engine: MemoryEngine) -> None:
    session = await engine.begin()
    waiters = []
    for number, call in enumerate([engine.begin(), engine.write([Insert(task("a"))]), engine.begin()], 1):
        waiters.append(asyncio.create_task(call))
        await assert_waiting(engine, number)
    last = asyncio.create_task(engine.write([Insert(task("b"))]))
    await assert_waiting(engine, 4)

    for waiter in waiters:
        waiter.cancel()
    await session.commit()

    await last
    assert await ids(engine) == ["b"]
    assert [waiter.cancelled() for waiter in waiters] == [True, True, True]


@pytest.mark.parametrize("turns_later", range(4))
async def test_a_turn_given_to_someone_who_is_being_cancelled_goes_on(engine: MemoryEngine, turns_later: int) -> None:
    session = await engine.begin()
    waiter = asyncio.create_task(engine.begin())
    await assert_waiting(engine, 1)
    await session.commit()
    assert engine.pool_status().active == 1
    for _ in range(turns_later):
        await asyncio.sleep(0)

    was_in_time = waiter.cancel()
    await asyncio.wait([waiter])

    if was_in_time:
        assert engine.pool_status().active == 0
    else:
        await waiter.result().rollback()
    await engine.write([Insert(task("a"))])


async def test_a_call_that_is_dropped_while_it_waits_gives_up_its_place(engine: MemoryEngine) -> None:
    session = await engine.begin()
    call = engine.begin()
    call.send(None)
    assert engine.pool_status().waiting == 1

    call.close()

    assert engine.pool_status().waiting == 0
    await session.commit()
    assert engine.pool_status().active == 0


async def test_a_transaction_dropped_by_the_collector_inside_the_lock_does_no_harm(engine: MemoryEngine) -> None:
    session = await engine.begin()

    class Dropped:
        def __del__(self) -> None:
            session.abandon()

    dropped: Any = Dropped()
    dropped.itself = dropped
    del dropped
    with engine._lock:
        gc.collect()
        assert engine._writers.transaction is session

    assert engine.pool_status().active == 0


async def test_a_transaction_may_be_abandoned_from_any_thread(engine: MemoryEngine) -> None:
    session = await engine.begin()
    await session.write([Insert(task("a"))])
    waiting = asyncio.create_task(engine.write([Insert(task("b"))]))
    await assert_waiting(engine, 1)

    await asyncio.to_thread(session.abandon)

    await waiting
    assert await ids(engine) == ["b"]


async def test_writers_of_many_threads_and_loops_lose_nothing(engine: MemoryEngine) -> None:
    await engine.write([Insert(task("t"))])

    async def work(number: int) -> None:
        for turn in range(50):
            if turn % 5:
                await engine.write([Update(Query(TASKS), {"retry_count": Increment()})])
                continue
            session = await engine.begin()
            (stored,) = await session.read(Select(Query(TASKS)))
            await asyncio.sleep(0)
            await session.write([Update(Query(TASKS), {"retry_count": stored.retry_count + 1})])
            if number % 2:
                await session.commit()
            else:
                await session.rollback()

    async def main(number: int) -> None:
        async with asyncio.timeout(60):
            await asyncio.gather(*(work(number) for _ in range(4)))

    threads = [in_thread(lambda number=number: main(number)) for number in range(4)]  # type: ignore[misc]
    for thread, _ in threads:
        await asyncio.to_thread(thread.join)

    assert [outcome for _, outcome in threads] == [[None]] * 4
    ((stored,), status) = (await engine.read(Select(Query(TASKS))), engine.pool_status())
    assert stored.retry_count == 4 * 4 * 40 + 2 * 4 * 10
    assert status == PoolStatus(active=0, idle=0, max=1, waiting=0)


async def test_a_loop_that_was_closed_while_it_waited_blocks_no_other_one(engine: MemoryEngine) -> None:
    session = await engine.begin()
    dead = asyncio.new_event_loop()
    calls = [engine.begin(), engine.write([Insert(task("a"))])]

    def start_and_close() -> None:
        async def start() -> None:
            for call in calls:
                call.send(None)

        dead.run_until_complete(start())
        dead.close()

    await asyncio.to_thread(start_and_close)
    waiting = asyncio.create_task(engine.write([Insert(task("b"))]))
    await assert_waiting(engine, 3)

    await session.commit()

    await waiting
    assert await ids(engine) == ["b"]
    for call in calls:
        call.close()


async def test_a_loop_that_stands_still_blocks_others_only_with_a_transaction(
    engine: MemoryEngine, clock: Time
) -> None:
    session = await engine.begin()
    still = asyncio.new_event_loop()
    calls = [engine.write([Insert(task("a"))]), engine.begin()]

    def start() -> None:
        async def start() -> None:
            for call in calls:
                call.send(None)

        still.run_until_complete(start())

    await asyncio.to_thread(start)
    waiting = asyncio.create_task(engine.write([Insert(task("b"))]))
    await assert_waiting(engine, 3)

    await session.commit()
    assert await ids(engine) == ["a"]
    clock.seconds += 29
    assert engine.pool_status().active == 1
    clock.seconds += 32
    assert engine.pool_status().active == 0

    await waiting
    assert await ids(engine) == ["a", "b"]
    for call in calls:
        call.close()
    still.close()
