"""`swarm-persistence top`: shows what a swarm does, refreshed every second."""

import argparse
import asyncio
import itertools
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec

from swarm_persistence.cli.output_reader import while_read
from swarm_persistence.cli.records import print_json, printable, run_on, whole_number
from swarm_persistence.cli.target import shown
from swarm_persistence.cli.terminal import new_table, open_console
from swarm_persistence.clock import now
from swarm_persistence.models import AgentStatus, TaskModel, TaskStatus
from swarm_persistence.query.task_statuses import HELD
from swarm_persistence.storage import Storage

if TYPE_CHECKING:
    from rich.console import Group

_WINDOW_SECONDS = 60
_BUCKET_SECONDS = 86_400
_MOST_TYPES = 15
_MOST_AGENTS = 15
_DESCRIPTION = """\
Show what a swarm does: its tasks by type, what waits and for how long, what has ended within the last minute and how
long it ran, and its agents with the ages of their heartbeats. In a terminal, it is shown anew until Ctrl-C."""


class TypeActivity(msgspec.Struct):
    """The tasks of one type."""

    task_type: str
    ready: int = 0
    oldest_seconds: float | None = None
    """How long the oldest ready one has waited."""
    held: int = 0
    completed: int = 0
    """Within the last minute."""
    failed: int = 0
    p50_seconds: float | None = None
    """The median of the run times of those that were completed in the last minute."""
    p95_seconds: float | None = None


class AgentActivity(msgspec.Struct):
    """An agent, and how long ago it gave a sign of life."""

    id: str
    status: str
    heartbeat_seconds: float
    leases: int


class Activity(msgspec.Struct):
    """The activity of a swarm; the field names are those of the JSON output."""

    database: str
    size_bytes: int
    tasks: dict[str, int]
    types: list[TypeActivity]
    """The busiest first."""
    agents: list[AgentActivity]
    """The newest first; those that have shut down are left out."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("top", help="show what a swarm does, live", description=_DESCRIPTION)
    parser.add_argument("database", metavar="DATABASE", help="a path or URL; it must exist")
    parser.add_argument(
        "--every", type=whole_number, default=1, metavar="S", help="how many seconds until the next look (default: 1)"
    )
    parser.add_argument(
        "--count", type=whole_number, metavar="N", help="end after so many looks (without a terminal: after one)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each look")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show what the swarm does, and return the exit code."""
    is_live = sys.stdout.isatty() and not arguments.json
    looks: int | None = arguments.count or (None if sys.stdout.isatty() else 1)
    show = while_read(_show)
    run_on(arguments.database, lambda storage: show(storage, arguments, looks, is_live=is_live))
    return 0


async def _show(storage: Storage, arguments: argparse.Namespace, looks: int | None, *, is_live: bool) -> None:
    name = shown(arguments.database)
    with ExitStack() as stack:
        show: Callable[[Activity], None] = print_json
        if is_live:
            from rich.live import Live

            live = stack.enter_context(Live(console=open_console(), screen=True, auto_refresh=False))
            show = lambda activity: live.update(_tables(activity), refresh=True)  # noqa: E731
        elif not arguments.json:
            console = open_console()
            show = lambda activity: console.print(_tables(activity))  # noqa: E731
        for look in itertools.count(1):
            show(await read_activity(storage, name))
            if look == looks:
                return
            await asyncio.sleep(arguments.every)


async def read_activity(storage: Storage, name: str) -> Activity:
    """Return what the swarm does."""
    present = now().timestamp()
    counts, waiting, throughput, liveness, size = await asyncio.gather(
        storage.count_by(TaskModel, "task_type", "status"),
        storage.get_waiting_tasks(),
        storage.get_task_throughput(present - _WINDOW_SECONDS, present, _BUCKET_SECONDS, by_type=True),
        storage.get_agent_liveness(_MOST_AGENTS * 4),
        storage.get_storage_size(),
    )
    types: dict[str, TypeActivity] = {}

    def of_type(task_type: str) -> TypeActivity:
        return types.setdefault(task_type, TypeActivity(task_type))

    tasks = dict.fromkeys((status.value for status in TaskStatus), 0)
    for (task_type, status), count in counts.items():
        tasks[status.value] += count
        if status in HELD:
            of_type(task_type).held += count
    for each in waiting:
        of_type(each.task_type).ready = each.count
        of_type(each.task_type).oldest_seconds = each.age_seconds
    for bucket in throughput.buckets:
        activity = of_type(str(bucket.task_type))
        activity.completed += bucket.counts.get(TaskStatus.COMPLETED, 0)
        activity.failed += bucket.counts.get(TaskStatus.FAILED, 0)
        activity.p50_seconds, activity.p95_seconds = bucket.run_seconds.p50, bucket.run_seconds.p95
    agents = [
        AgentActivity(each.agent.id, each.agent.status.value, each.heartbeat_age_seconds, each.leases)
        for each in liveness
        if each.agent.status is not AgentStatus.SHUTDOWN
    ]
    busiest = sorted(types.values(), key=lambda each: (-each.completed, -each.ready - each.held, each.task_type))
    return Activity(name, size, tasks, busiest, agents)


def _tables(activity: Activity) -> "Group":
    from rich.console import Group
    from rich.text import Text

    counts = ", ".join(f"{count:,} {status}" for status, count in activity.tasks.items() if count)
    types = new_table(
        "Task types", "", "ready", "oldest", "held", "completed/min", "failed/min", "median run", "95 % run"
    )
    for each in activity.types[:_MOST_TYPES]:
        numbers = (each.ready, each.oldest_seconds, each.held, each.completed, each.failed)
        runs = (each.p50_seconds, each.p95_seconds)
        types.add_row(Text(printable(each.task_type)), *map(_shown, (*numbers, *runs)))
    agents = new_table("Agents", "", "status", "heartbeat", "leases")
    for agent in activity.agents[:_MOST_AGENTS]:
        agents.add_row(Text(printable(agent.id)), agent.status, _shown(agent.heartbeat_seconds), f"{agent.leases:,}")
    head = f"{printable(activity.database)}   {activity.size_bytes / 2**20:,.1f} MiB   {now():%H:%M:%S} UTC"
    return Group(Text(head, style="bold"), Text(counts or "no tasks"), types, agents)


def _shown(value: float | None) -> str:
    """Return a count as it is, a duration with its unit, and an empty text for `None`."""
    if value is None or value == 0:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value * 1000:,.0f} ms" if value < 1 else f"{value:,.1f} s"
