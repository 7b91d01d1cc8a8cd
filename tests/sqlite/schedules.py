"""What the tests of the step to schedules and progress share, on files and on servers: see `sqlite.neighbours`."""

from textwrap import dedent

from sqlite.old_release import WITHOUT_SCHEDULES, of_release
from sqlite.programs import Program
from swarm_persistence import ScheduleModel, Storage
from swarm_persistence_conformance.records import a_schedule, a_task, after

NAME = "schedules, progress of tasks"
LAST_BEFORE = WITHOUT_SCHEDULES

_TALK = """
    import asyncio
    from swarm_persistence import TaskModel, Backend

    async def main(target):
        async with await Backend.open(target) as storage:
            print((await storage.migration_status()).version, flush=True)
            while id := input():
                await storage.store_task(TaskModel(id=id, task_type="old"))
                claimed = await storage.claim_next_task("old")
                await storage.complete_task(claimed, id)
                await storage.update_task(await storage.get_task(claimed.id))
                print(claimed.id, flush=True)

    asyncio.run(main(sys.argv[1]))
    """


def program_of_old_code(backend: str) -> str:
    """Return a program of the old code that stores a task and completes the next one for each id that it is told."""
    return of_release(dedent(_TALK).replace("Backend", backend))


async def fill(storage: Storage) -> None:
    """Store records of all kinds that the step touches."""
    await storage.store_tasks([a_task(f"{n}", progress=n / 10, progress_text=f"{n} of 10") for n in range(10)])
    await storage.store_many([a_schedule(f"{n}", paused=n % 2 == 0) for n in range(10)])


async def require_defaults(storage: Storage) -> None:
    """See that all tasks are there after the way back and forth, without progress, and no schedules."""
    tasks = await storage.get_pending_tasks()
    assert [(task.id, task.progress, task.progress_text) for task in tasks] == [(f"{n}", None, None) for n in range(10)]
    assert await storage.list_schedules() == []
    await storage.store_schedule(a_schedule())
    assert [schedule.name for schedule in await storage.repository(ScheduleModel).find_all()] == ["hourly"]


async def require_neighbourliness(storage: Storage, running: Program, started_later: Program) -> None:
    """See that programs of the old code work on a schedule's tasks, one of them open since before the step."""
    await storage.store_schedule(a_schedule(created_at=after(-7200), next_at=after(-3600)))
    (task,) = await storage.fire_due_schedules()
    await storage.store_task(a_task("second", progress=0.5, progress_text="half"))
    running.tell("by-old")
    assert running.wait_for_line() == task.id
    started_later.tell("by-later")
    assert started_later.wait_for_line() == "second"
    running.tell("")
    started_later.tell("")
    assert running.finish() == started_later.finish() == []

    second = await storage.get_task("second")
    assert second is not None
    assert (second.status.value, second.progress, second.progress_text) == ("completed", 0.5, "half")
    for id in ("by-old", "by-later"):
        stored = await storage.get_task(id)
        assert stored is not None
        assert (stored.progress, stored.progress_text) == (None, None)
