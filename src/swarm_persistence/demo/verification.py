"""Verifies from the stored records that every task was completed exactly once and that the totals are right."""

from collections import Counter
from collections.abc import Iterable

from swarm_persistence.demo.plan import TaskPlan
from swarm_persistence.demo.records import Records
from swarm_persistence.demo.totals import Totals
from swarm_persistence.models import TaskStatus


def find_differences(plan: TaskPlan, records: Records, counted: Totals) -> list[str]:
    """Return a sentence for each difference from what is expected."""
    return [*_in_tasks(plan, records), *_in_totals(records.totals, counted)]


def _in_tasks(plan: TaskPlan, records: Records) -> list[str]:
    differences = []
    for task in plan.tasks:
        stored = records.tasks.get(task.id)
        if stored is None:
            differences.append(f"task {task.id} is not stored")
        elif stored.status is not TaskStatus.COMPLETED or stored.result is None:
            differences.append(f"task {task.id} is {stored.status.value}, not completed with a result")
    unread = sum(not message.read for message in records.findings)
    if unread:
        differences.append(f"the coordinator has not read {unread} findings")
    return [
        *differences,
        *_not_taken_over(records),
        *_not_once("completion events", plan, (event.data["task_id"] for event in records.completions)),
        *_not_once("durations", plan, (metric.tags["task_id"] for metric in records.durations)),
        *_not_once("findings", plan, (message.content["task_id"] for message in records.findings)),
    ]


def _not_taken_over(records: Records) -> list[str]:
    completers = {(event.data["task_id"], event.agent_id) for event in records.completions}
    return [
        f"task {id} was completed by the worker that was killed with it in hand"
        for id, worker in records.left_by_killed.items()
        if (id, worker) in completers
    ]


def _not_once(what: str, plan: TaskPlan, task_ids: Iterable[str]) -> list[str]:
    counts = Counter(task_ids)
    return [f"task {task.id} has {counts[task.id]} {what}" for task in plan.tasks if counts[task.id] != 1]


def _in_totals(reported: Totals | None, counted: Totals) -> list[str]:
    if reported is None:
        return ["the final report was not written"]
    pairs = [(name, getattr(reported, name), getattr(counted, name)) for name in Totals.__struct_fields__]
    return [
        f"{name}: the swarm has {swarm}, a single process {plain}" for name, swarm, plain in pairs if swarm != plain
    ]
