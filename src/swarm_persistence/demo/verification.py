"""Verifies that every task was completed exactly once, and that the totals equal a plain count in one process."""

from collections import Counter
from collections.abc import Callable, Iterable

from swarm_persistence.demo.library import Module
from swarm_persistence.demo.measures import Measures, measure_module
from swarm_persistence.demo.plan import TaskPlan
from swarm_persistence.demo.records import Records
from swarm_persistence.demo.totals import MOST_COMPLEX, Totals, rank
from swarm_persistence.models import TaskStatus


def count_plainly(modules: list[Module], should_continue: Callable[[int], bool]) -> Totals | None:
    """Return the totals of the modules; `None` once `should_continue`, called before each module, returns `False`.

    Does not use the swarm's summing code, so that an error there cannot hide itself.
    """
    measured: list[Measures] = []
    for number, module in enumerate(modules):
        if not should_continue(number):
            return None
        measured.append(measure_module(module.name, module.path))
    functions = [one.longest_function for one in measured if one.longest_function]
    by_complexity = sorted(measured, key=lambda one: (-one.functions - one.branches, one.module))
    return Totals(
        modules=len(measured),
        unparsed=sum(one.problem is not None for one in measured),
        lines=sum(one.lines for one in measured),
        functions=sum(one.functions for one in measured),
        classes=sum(one.classes for one in measured),
        branches=sum(one.branches for one in measured),
        longest_function=min(functions, key=lambda each: (-each.lines, each.module, each.line), default=None),
        imports=dict(sorted(Counter(name for one in measured for name in one.imports).items())),
        most_complex=[rank(one) for one in by_complexity[:MOST_COMPLEX]],
    )


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
