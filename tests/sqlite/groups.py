"""What the tests of the step to groups and tags share, on files and on servers: see `sqlite.neighbours`."""

from textwrap import dedent

from sqlite.old_release import WITHOUT_GROUPS, of_release
from sqlite.programs import Program
from swarm_persistence import EventModel, KeyPolicy, MetricModel, Model, Storage, TaskModel
from swarm_persistence_conformance.records import a_message, a_metric, a_task, an_agent, an_event

NAME = "groups and tags"
LAST_BEFORE = WITHOUT_GROUPS

_TALK = """
    import asyncio
    from swarm_persistence import EventModel, MetricModel, TaskModel, Backend

    async def main(target):
        async with await Backend.open(target) as storage:
            print((await storage.migration_status()).version, flush=True)
            while id := input():
                await storage.store_event(EventModel(id=id, event_type="old", data=id))
                await storage.store_metric(MetricModel(id=id, metric_type="m", value=1.0, unit="s"))
                await storage.store_task(TaskModel(id=id, task_type="old", idempotency_key=id))
                claimed = await storage.claim_next_task("old")
                await storage.complete_task(claimed, id)
                await storage.update_task(await storage.get_task(claimed.id))
                print(claimed.id, flush=True)

    asyncio.run(main(sys.argv[1]))
    """


def program_of_old_code(backend: str) -> str:
    """Return a program of the old code that stores records and completes a task for each id that it is told."""
    return of_release(dedent(_TALK).replace("Backend", backend))


def _records(number: int) -> list[Model]:
    """Return a record of each model with a group, every second of them in one."""
    id, group = f"{number:02}", "tenant-1" if number % 2 else None
    tags = {"n": str(number)}
    return [
        an_agent(id, group=group, tags=tags),
        a_task(id, group=group, tags=tags, idempotency_key=id, key_policy=KeyPolicy.WHILE_ACTIVE),
        an_event(id, group=group, tags=tags),
        a_message(id, group=group, tags=tags),
        a_metric(id, group=group, tags=tags),
    ]


async def fill(storage: Storage) -> None:
    """Store records of all kinds that the step touches."""
    await storage.store_many([record for number in range(10) for record in _records(number)])


async def require_defaults(storage: Storage) -> None:
    """See that all rows are there after the way back and forth, with the defaults of the fields that were dropped."""
    for model in {type(record) for record in _records(0)}:
        rows = await storage.repository(model).find_all()
        assert [row.id for row in rows] == [f"{number:02}" for number in range(10)]
        assert {row.group for row in rows} == {None}  # type: ignore[attr-defined]
        if model is MetricModel:
            assert [row.tags for row in rows] == [{"n": str(number)} for number in range(10)]  # type: ignore[attr-defined]
        else:
            assert [row.tags for row in rows] == [{}] * 10  # type: ignore[attr-defined]
    tasks = await storage.get_pending_tasks()
    assert {(task.id == task.idempotency_key, task.key_policy) for task in tasks} == {(True, KeyPolicy.FOR_EVER)}


async def require_neighbourliness(storage: Storage, running: Program, started_later: Program) -> None:
    """See that programs of the old code, one of them open since before the step, leave groups and tags as they are."""
    fields = {"group": "tenant-1", "tags": {"run": "1"}, "key_policy": KeyPolicy.WHILE_ACTIVE}
    await storage.store_tasks([a_task(id, idempotency_key=id, **fields) for id in ("first", "second")])
    running.tell("by-old")
    assert running.wait_for_line() == "first"
    started_later.tell("by-later")
    assert started_later.wait_for_line() == "second"
    running.tell("")
    started_later.tell("")
    assert running.finish() == started_later.finish() == []

    for id in ("first", "second"):
        task = await storage.get_task(id)
        assert task is not None
        assert (task.status.value, task.group, task.tags, task.key_policy) == ("completed", *fields.values())
    for id in ("by-old", "by-later"):
        stored = [await storage.repository(model).find_by_id(id) for model in (TaskModel, EventModel, MetricModel)]
        assert [(record.group, record.tags) for record in stored if record is not None] == [(None, {})] * 3  # type: ignore[attr-defined]
