"""What the tests of the step to limits and capabilities share, on files and on servers: see `sqlite.neighbours`."""

from textwrap import dedent

from sqlite.old_release import WITHOUT_LIMITS, of_release
from sqlite.programs import Program
from swarm_persistence import Storage
from swarm_persistence_conformance.records import a_task, ids

NAME = "limits and capabilities"
LAST_BEFORE = WITHOUT_LIMITS

_TALK = """
    import asyncio
    from swarm_persistence import AgentModel, TaskModel, Backend

    async def main(target):
        async with await Backend.open(target) as storage:
            print((await storage.migration_status()).version, flush=True)
            while line := input():
                verb, id = line.split()
                if verb == "store":
                    await storage.store_task(TaskModel(id=id, task_type="bill"))
                elif verb == "claim":
                    claimed = await storage.claim_next_task(id, task_types=["bill"])
                    id = claimed.id if claimed else None
                elif verb == "release":
                    await storage.release_task(await storage.get_task(id))
                elif verb == "complete":
                    await storage.complete_task(await storage.get_task(id), "by old code")
                    await storage.update_task(await storage.get_task(id))
                print(id, flush=True)

    asyncio.run(main(sys.argv[1]))
    """


def program_of_old_code(backend: str) -> str:
    """Return a program of the old code that does with a task what it is told, and says with which."""
    return of_release(dedent(_TALK).replace("Backend", backend))


def _ask(program: Program, line: str) -> str:
    program.tell(line)
    return program.wait_for_line()


async def fill(storage: Storage) -> None:
    """Store records of all kinds that the step touches."""
    fields = {"task_type": "bill", "required_capabilities": ["money"]}
    await storage.store_tasks([a_task(f"{n}", concurrency_key=f"customer-{n % 3}", **fields) for n in range(10)])
    await storage.set_limit("bill", running=2, per_key=1, starts=5, per=60)
    await storage.set_limit("mail", running=1)
    claimed = await storage.claim_next_tasks("agent", limit=9, capabilities=["money"])
    assert ids(claimed) == ["0", "1"]


async def require_defaults(storage: Storage) -> None:
    """See that all tasks are there after the way back and forth, without keys, requirements and limits."""
    tasks = await storage.get_pending_tasks()
    assert [(task.id, task.concurrency_key, task.required_capabilities) for task in tasks] == [
        (f"{n}", None, None) for n in range(2, 10)
    ]
    assert await storage.list_limits() == []
    assert ids(await storage.claim_next_tasks("another", limit=3)) == ["2", "3", "4"]
    # Those that were claimed before count for a limit that is set now.
    await storage.set_limit("bill", running=6, per_key=1)
    assert ids(await storage.claim_next_tasks("another", limit=9)) == ["5"]


async def require_neighbourliness(storage: Storage, running: Program, started_later: Program) -> None:
    """See what programs of the old code do with limited tasks, one of them open since before the step."""
    await storage.set_limit("bill", running=1)
    await storage.store_tasks(
        [a_task(f"t{n}", task_type="bill", concurrency_key="k", required_capabilities=["money"]) for n in range(5)]
    )
    assert await storage.claim_next_task("unskilled") is None
    counted = await storage.claim_next_task("skilled", capabilities=["money"])
    assert counted is not None
    assert counted.id == "t0"
    assert await storage.claim_next_task("skilled", capabilities=["money"]) is None

    # The old code claims beyond the limit, whatever the tasks require.
    assert _ask(running, "claim old") == "t1"
    assert _ask(started_later, "claim later") == "t2"
    # Room is made when it gives back or completes a task that counts; its own do not count.
    assert _ask(running, "complete t0") == "t0"
    third = await storage.claim_next_task("skilled", capabilities=["money"])
    assert third is not None
    assert third.id == "t3"
    assert _ask(started_later, "release t3") == "t3"
    assert ids(await storage.claim_next_tasks("skilled", capabilities=["money"], limit=9)) == ["t3"]
    # What has been counted counts again when the old code claims it.
    assert _ask(started_later, "release t3") == "t3"
    assert _ask(started_later, "claim later") == "t3"
    assert await storage.claim_next_task("skilled", capabilities=["money"]) is None
    # A limit that is set anew counts what such code has claimed.
    await storage.set_limit("bill", running=3)
    assert await storage.claim_next_task("skilled", capabilities=["money"]) is None
    assert _ask(running, "complete t1") == "t1"
    assert _ask(running, "store of-old") == "of-old"
    assert await storage.claim_next_task("unskilled") is not None
    running.tell("")
    started_later.tell("")
    assert running.finish() == started_later.finish() == []

    for id, key, required in (("t0", "k", ("money",)), ("t1", "k", ("money",)), ("of-old", None, None)):
        task = await storage.get_task(id)
        assert task is not None
        assert (task.concurrency_key, task.required_capabilities) == (key, required)
