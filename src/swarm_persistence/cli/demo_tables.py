"""Formats the results of a demo run: tables, the comparison, and the check line."""

from typing import TYPE_CHECKING

from swarm_persistence.cli.terminal import new_table
from swarm_persistence.demo.plan import TaskPlan
from swarm_persistence.demo.records import Records, name_of, performances
from swarm_persistence.demo.totals import Totals
from swarm_persistence.models import MetricModel

if TYPE_CHECKING:
    from rich.table import Table

_MOST_DIFFERENCES = 10
_MOST_IMPORTED = 5


def tables(records: Records, counted: Totals) -> "list[Table]":
    """Return the tables in their order; the report is the swarm's, if it was written."""
    return [_workers(records), _durations(records), _most_complex(records.totals or counted)]


def highlights(totals: Totals) -> list[str]:
    """Return the other results of the report, one line each."""
    lines = []
    longest = totals.longest_function
    if longest is not None:
        place = f"{longest.module}.{longest.name}, line {longest.line}"
        lines.append(f"longest function: {place}, with {quantity(longest.lines, 'line')}")
    most = sorted(totals.imports.items(), key=lambda item: (-item[1], item[0]))[:_MOST_IMPORTED]
    if most:
        lines.append(f"most imported: {', '.join(f'{name} (by {count:,})' for name, count in most)}")
    return lines


def comparison(worked: tuple[int, float], workers: int, count_seconds: float) -> str:
    """Return the duration of this run of the swarm, compared with the plain count."""
    tasks, seconds = worked
    plain = f"plain count of all files in a single process: {count_seconds:.1f} s"
    if not tasks:
        return plain
    return f"{quantity(tasks, 'task')} by {quantity(workers, 'worker')}: {seconds:.1f} s; {plain}"


def check_lines(plan: TaskPlan, records: Records, counted: Totals, differences: list[str]) -> list[str]:
    """Return the check line, or one line for each difference."""
    if differences:
        shown = [f"  {difference}" for difference in differences[:_MOST_DIFFERENCES]]
        if len(differences) > _MOST_DIFFERENCES:
            shown.append(f"  and {len(differences) - _MOST_DIFFERENCES:,} more")
        return [f"check: FAILED – {quantity(len(differences), 'difference')}:", *shown]
    unparsed = f" ({counted.unparsed:,} of them not in this Python's syntax: lines only)" if counted.unparsed else ""
    return [
        f"check: OK – {quantity(counted.modules, 'module')}{unparsed}, {quantity(counted.lines, 'line')}, "
        f"{quantity(counted.functions, 'function')}, {counted.classes:,} classes, {counted.branches:,} branches "
        f"equal a single-process count; {len(plan.tasks):,} tasks, each completed exactly once, "
        f"{_takeovers(records)}"
    ]


def _takeovers(records: Records) -> str:
    if not records.kills:
        return "none taken over: no worker was killed"
    killed = "a killed worker" if len(records.kills) == 1 else f"{len(records.kills):,} killed workers"
    return f"{records.taken_over:,} taken over from {killed}"


def quantity(count: int, noun: str) -> str:
    """Return `1 task`, `2 tasks`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _workers(records: Records) -> "Table":
    table = new_table("Workers", "worker", "tasks", "seconds", "tasks/s")
    for each in performances(records):
        table.add_row(each.worker, f"{each.tasks:,}", f"{each.seconds:.1f}", f"{each.tasks_per_second:,.1f}")
    return table


def _durations(records: Records) -> "Table":
    table = new_table("Durations of tasks in ms", "worker", "tasks", "average", "shortest", "longest", "sum")
    named = [(name_of(records, metric.agent_id), metric) for metric in records.aggregated]
    for name, metric in sorted(named, key=lambda pair: (len(pair[0]), pair[0])):
        table.add_row(name, f"{int(metric.tags['count']):,}", f"{metric.value:,.1f}", *_numbers(metric))
    return table


def _numbers(metric: MetricModel) -> list[str]:
    return [f"{float(metric.tags[name]):,.1f}" for name in ("min", "max", "sum")]


def _most_complex(totals: Totals) -> "Table":
    table = new_table("The ten most complex modules", "module", "complexity", "branches", "functions", "lines")
    for each in totals.most_complex:
        numbers = (each.complexity, each.branches, each.functions, each.lines)
        table.add_row(each.module, *(f"{number:,}" for number in numbers))
    return table
