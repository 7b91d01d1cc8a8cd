"""What the tests of the step to traces of tasks share, on files and on servers: see `sqlite.neighbours`."""

from textwrap import dedent

from sqlite.old_release import WITHOUT_TRACES, of_release
from sqlite.programs import Program
from swarm_persistence import Storage, TaskModel, TaskStatus
from swarm_persistence_conformance.records import a_task, ids

NAME = "traces of tasks"
LAST_BEFORE = WITHOUT_TRACES
TRACE_PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

_WORK = """
    import asyncio
    from swarm_persistence import TaskModel, Backend

    async def main(target):
        async with await Backend.open(target) as storage:
            print((await storage.migration_status()).version, flush=True)
            while id := input():
                await storage.store_task(TaskModel(id=id, task_type="old", payload=id))
                task = await storage.get_task("traced")
                task.payload = id
                await storage.update_task(task)
                claimed = await storage.claim_next_task("old", task_types=["old"])
                await storage.complete_task(claimed, id)
                print(claimed.id, flush=True)

    asyncio.run(main(sys.argv[1]))
    """


def program_of_old_code(backend: str) -> str:
    """Return a program of the old code that stores, updates, claims and completes for each id that it is told."""
    return of_release(dedent(_WORK).replace("Backend", backend))


async def fill(storage: Storage) -> None:
    """Store tasks with a span and without one, linked and finished ones among them."""
    tasks = [a_task(f"{n:02}", trace_parent=TRACE_PARENT if n % 2 else None) for n in range(10)]
    waiting = a_task("waiting", dependencies=["00", "01"], trace_parent=TRACE_PARENT)
    await storage.store_tasks([*tasks, waiting, a_task("done", status=TaskStatus.COMPLETED)])


async def require_defaults(storage: Storage) -> None:
    """See that all tasks are there after the way back and forth, without their spans, and go on."""
    tasks = await storage.repository(TaskModel).find_all()
    assert sorted((task.id, task.trace_parent) for task in tasks) == [
        *((f"{n:02}", None) for n in range(10)),
        ("done", None),
        ("waiting", None),
    ]
    for task in await storage.claim_next_tasks("agent", limit=20):
        await storage.complete_task(task)
    assert ids(await storage.get_ready_tasks()) == ["waiting"]


async def require_neighbourliness(storage: Storage, running: Program, started_later: Program) -> None:
    """See that programs of the old code, one of them open since before the step, leave the span of a task alone."""
    await storage.store_task(a_task("traced", trace_parent=TRACE_PARENT))
    for program, id in ((running, "by-old"), (started_later, "by-later")):
        program.tell(id)
        assert program.wait_for_line() == id
    running.tell("")
    started_later.tell("")
    assert running.finish() == started_later.finish() == []

    for id in ("by-old", "by-later"):
        task = await storage.get_task(id)
        assert task is not None
        assert (task.status, task.trace_parent) == (TaskStatus.COMPLETED, None)
    traced = await storage.get_task("traced")
    assert traced is not None
    assert (traced.payload, traced.trace_parent) == ("by-later", TRACE_PARENT)
