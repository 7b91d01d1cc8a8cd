"""What the tests of the step to past claims share, on files and on servers: see `sqlite.neighbours`."""

from textwrap import dedent

from sqlite.old_release import WITHOUT_PAST_CLAIMS, of_release
from sqlite.programs import Program
from swarm_persistence import ClaimOutcome, Storage
from swarm_persistence_conformance.held_tasks import claimed, stored
from swarm_persistence_conformance.records import a_task

NAME = "past claims of tasks"
LAST_BEFORE = WITHOUT_PAST_CLAIMS

_WORK = """
    import asyncio
    from swarm_persistence import TaskModel, Backend

    async def main(target):
        async with await Backend.open(target) as storage:
            print((await storage.migration_status()).version, flush=True)
            while verb := input():
                if verb == "store":
                    await storage.store_task(TaskModel(id="of-old", task_type="rare"))
                elif verb == "retry":
                    task = await storage.claim_next_task("old")
                    await storage.fail_task(task, "of old code", retry_in=0)
                elif verb == "update":
                    task = await storage.get_task("shared")
                    task.payload = "of old code"
                    await storage.update_task(task, force=True)
                elif verb == "release":
                    await storage.release_task(await storage.get_task("shared"))
                elif verb == "again":
                    await storage.cancel_task("shared")
                    await storage.retry_task("shared")
                print(verb, flush=True)

    asyncio.run(main(sys.argv[1]))
    """


def program_of_old_code(backend: str) -> str:
    """Return a program of the old code that does with the task `shared` what it is told, and says so."""
    return of_release(dedent(_WORK).replace("Backend", backend))


def _tell(program: Program, verb: str) -> None:
    program.tell(verb)
    assert program.wait_for_line() == verb


async def _numbers(storage: Storage, id: str = "shared") -> list[int]:
    return [claim.number for claim in (await stored(storage, id)).past_claims]


async def fill(storage: Storage) -> None:
    """Store tasks with past claims and without, held and finished ones among them."""
    await storage.store_tasks([a_task(id) for id in ("a", "b", "c")])
    await storage.fail_task(await claimed(storage), "no luck", retry_in=3600)
    await storage.release_task(await claimed(storage))
    assert (await claimed(storage)).past_claims != ()
    await storage.complete_task(await claimed(storage), 1)


async def require_defaults(storage: Storage) -> None:
    """See that all tasks are there after the way back and forth, without past claims, and go on."""
    tasks = [await stored(storage, id) for id in ("a", "b", "c")]
    assert [(task.past_claims, task.claim_count) for task in tasks] == [((), 1), ((), 2), ((), 1)]
    await storage.release_task(tasks[1])
    assert await _numbers(storage, "b") == [2]


async def require_neighbourliness(storage: Storage, running: Program, started_later: Program) -> None:
    """See that what programs of the old code end is not listed, and that they leave the list as it is."""
    await storage.store_task(a_task("shared"))
    await storage.release_task(await claimed(storage))
    for program in (running, started_later):
        before = await _numbers(storage)
        for verb in ("retry", "update", "again"):
            _tell(program, verb)
            assert await _numbers(storage) == before
        task = await claimed(storage)
        _tell(program, "release")
        assert await _numbers(storage) == before
        await storage.release_task(await claimed(storage, "agent-2"))
        assert await _numbers(storage) == [*before, task.claim_count + 1]
    _tell(running, "store")
    running.tell("")
    started_later.tell("")
    assert running.finish() == started_later.finish() == []

    task = await stored(storage, "shared")
    assert {claim.outcome for claim in task.past_claims} == {ClaimOutcome.RELEASED}
    assert (await stored(storage, "of-old")).past_claims == ()
