"""Facts about claims whose caller has gone at the end: of a storage, of a loop, of a program, of a waiting thread."""

import asyncio
import random
from pathlib import Path

import anyio
import pytest

from sqlite.programs import Program
from swarm_persistence import MemoryStorage, SqliteStorage, TaskModel, TaskStatus
from swarm_persistence_conformance.records import a_task

COUNT = 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "swarm.db"


async def store(path: Path) -> None:
    async with await SqliteStorage.open(path) as storage:
        await storage.store_tasks([a_task(str(number), max_retries=0) for number in range(COUNT)])


async def held_in(path: Path) -> set[str]:
    """Return which tasks are assigned; all others must be as if they had never been claimed."""
    async with await SqliteStorage.open(path) as storage:
        tasks = await storage.repository(TaskModel).find_all()
    assert {task.retry_count for task in tasks} == {0}
    assert {task.status for task in tasks} <= {TaskStatus.ASSIGNED, TaskStatus.PENDING}
    return {task.id for task in tasks if task.status is TaskStatus.ASSIGNED}


class TestAnyio:
    async def test_a_scope_that_is_cancelled_leaves_no_task_behind(self, path: Path) -> None:
        await store(path)
        owned: set[str] = set()
        dice = random.Random(7)

        async def claim(storage: SqliteStorage, number: int) -> None:
            with anyio.move_on_after(dice.choice([0, 0.0002, 0.0005, 0.001, 0.002])):
                if number % 2:
                    if await storage.claim_task(str(number), "agent-1"):
                        owned.add(str(number))
                elif task := await storage.claim_next_task("agent-1", wait=1):
                    owned.add(task.id)

        async with await SqliteStorage.open(path) as storage, anyio.create_task_group() as group:
            for number in range(COUNT):
                group.start_soon(claim, storage, number)
                await anyio.sleep(0.0005)

        assert await held_in(path) == owned


class TestTheEnd:
    def test_a_storage_that_closes_waits_for_what_is_to_be_released(self, path: Path) -> None:
        async def cancel_all_and_close() -> set[str]:
            async with await SqliteStorage.open(path) as storage:
                claims = [asyncio.create_task(storage.claim_task(str(number), "agent-1")) for number in range(COUNT)]
                await asyncio.sleep(0)
                await asyncio.sleep(0.001)
                for claim in claims:
                    claim.cancel()
                won = await asyncio.gather(*claims, return_exceptions=True)
            return {str(number) for number, is_won in enumerate(won) if is_won is True}

        asyncio.run(store(path))
        for _ in range(5):
            owned = asyncio.run(cancel_all_and_close())
            assert asyncio.run(held_in(path)) == owned
            asyncio.run(_release_all(path))

    def test_a_program_that_ends_without_a_close_leaves_nothing_assigned(self, path: Path) -> None:
        asyncio.run(store(path))
        program = Program(
            """
            import asyncio, sys, warnings
            from swarm_persistence import SqliteStorage

            warnings.simplefilter("ignore", ResourceWarning)
            kept, claims = [], []

            async def main():
                storage = await SqliteStorage.open(sys.argv[1])
                kept.append(storage)
                for number in range(100):
                    claims.append(asyncio.ensure_future(storage.claim_task(str(number), "agent-1")))
                await asyncio.sleep(0)

            asyncio.run(main())
            print(*(id for id, claim in enumerate(claims) if claim.done() and not claim.cancelled() and claim.result()))
            """,
            path,
        )
        owned = {id for line in program.finish() for id in line.split()}

        assert asyncio.run(held_in(path)) == owned


async def _release_all(path: Path) -> None:
    async with await SqliteStorage.open(path) as storage:
        for task in await storage.get_tasks_by_agent("agent-1"):
            await storage.release_task(task)


class TestBlocking:
    @pytest.mark.parametrize("verb", ["claim_task", "claim_next_task", "claim_next_tasks"])
    def test_a_thread_that_is_interrupted_while_it_claims_leaves_no_task_behind(self, path: Path, verb: str) -> None:
        asyncio.run(store(path))
        program = Program(
            """
            import random, signal, sys
            from swarm_persistence import open_storage

            dice = random.Random(7)
            owned, interrupted = [], 0

            def interrupt(*_):
                # Within the call; elsewhere not even the caller's own assignment would be safe.
                frame = sys._getframe()
                while frame is not None:
                    if frame.f_code.co_name in ("_run", "deliver"):
                        raise KeyboardInterrupt
                    frame = frame.f_back

            def claim(storage, verb, id):
                if verb == "claim_task":
                    return [id] if storage.claim_task(id, "agent-1") else []
                if verb == "claim_next_task":
                    return [storage.claim_next_task("agent-1").id]
                return [task.id for task in storage.claim_next_tasks("agent-1", limit=1)]

            signal.signal(signal.SIGALRM, interrupt)
            with open_storage(sys.argv[1]) as storage:
                for number in range(100):
                    signal.setitimer(signal.ITIMER_REAL, dice.uniform(0.0001, 0.002))
                    try:
                        owned += claim(storage, sys.argv[2], str(number))
                    except KeyboardInterrupt:
                        interrupted += 1
                    signal.setitimer(signal.ITIMER_REAL, 0)
            print(interrupted)
            print(*owned)
            """,
            path,
            verb,
        )
        interrupted, owned = program.finish()

        assert int(interrupted) > 0
        assert asyncio.run(held_in(path)) == set(owned.split())


async def test_a_claim_that_is_cancelled_before_it_is_made_is_no_claim_to_release() -> None:
    async with MemoryStorage() as storage:
        for number in range(100):
            await storage.store_task(a_task(id=f"task-{number}"))
        for _ in range(100):  # the engine pauses in one of them, and that one is cancelled in time
            claim = asyncio.ensure_future(storage.claim_next_task("agent"))
            await asyncio.sleep(0)
            claim.cancel()
            await asyncio.wait([claim])

        assert not storage._abandoned_claims._outstanding
