"""`swarm-persistence stats`: what a database holds, counted."""

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from swarm_persistence.cli.records import print_json, printable, run_on
from swarm_persistence.cli.target import existing_file, shown
from swarm_persistence.cli.terminal import new_table, open_console, print_line
from swarm_persistence.clock import now
from swarm_persistence.models import (
    AgentModel,
    AgentStatus,
    DocumentModel,
    EventModel,
    MessageModel,
    MetricModel,
    TaskModel,
    TaskStatus,
)
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence.storage import Storage

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_TYPES_SHOWN = 20
"""All are in the JSON output."""


class Schema(msgspec.Struct):
    """The schema version of the database, and the latest that this code supports."""

    version: int
    latest: int


class Oldest(msgspec.Struct):
    """The oldest pending task."""

    id: str
    task_type: str
    priority: str
    created_at: str
    age_seconds: float


class Waiting(msgspec.Struct):
    """The tasks of one type that could be claimed now."""

    count: int
    oldest_id: str
    since: str
    age_seconds: float
    """How long the oldest has waited."""


class Stats(msgspec.Struct):
    """The contents of a database in numbers; the field names are those of the JSON output."""

    database: str
    size_bytes: int
    """Including the log."""
    agents: dict[str, int]
    tasks: dict[str, int]
    task_types: dict[str, dict[str, int]]
    """The counts of each type by status; a status that none of its tasks has is left out."""
    events: int
    messages: int
    messages_unread: int
    metrics: int
    documents: int
    """Without those that have expired."""
    oldest_pending_task: Oldest | None
    waiting: dict[str, Waiting]
    """The tasks that could be claimed now by type, the one that has waited longest first."""
    schema: Schema
    """`None` for a storage that has no versions."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    text = (
        "Show what a database holds: counts by status and type, size with the log, oldest ready tasks, schema version."
    )
    parser = commands.add_parser("stats", help="show what a database holds", description=text)
    parser.add_argument("database", metavar="DATABASE", help="a path or URL; it must exist")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the statistics, and return the exit code."""
    console = None if arguments.json else open_console()
    name = shown(str(existing_file(arguments.database) or arguments.database))
    stats = run_on(arguments.database, lambda storage: read_stats(storage, name))
    if console is None:
        print_json(stats, indent=2)
    else:
        _show(console, stats)
    return 0


async def read_stats(storage: Storage, name: str) -> Stats:
    """Count the records; the counts may include some concurrent writes of other processes."""
    pending = QueryBuilder(TaskModel).where_eq("status", TaskStatus.PENDING)
    # Run concurrently, so that a storage may answer them from one snapshot.
    (agents, tasks, messages), (events, metrics, documents), oldest, waiting, size, schema = await asyncio.gather(
        asyncio.gather(
            storage.count_by(AgentModel, "status"),
            storage.count_by(TaskModel, "task_type", "status"),
            storage.count_by(MessageModel, "read"),
        ),
        asyncio.gather(*(storage.repository(model).count() for model in (EventModel, MetricModel, DocumentModel))),
        storage.repository(TaskModel).query(pending.order_by("created_at").limit(1)),
        storage.get_waiting_tasks(),
        storage.get_storage_size(),
        storage.migration_status(),
    )
    task_types = _by_type(tasks)
    return Stats(
        database=name,
        size_bytes=size,
        agents={status.value: agents.get((status,), 0) for status in AgentStatus},
        tasks={
            status.value: sum(counts.get(status.value, 0) for counts in task_types.values()) for status in TaskStatus
        },
        task_types=task_types,
        events=events,
        messages=sum(messages.values()),
        messages_unread=messages.get((False,), 0),
        metrics=metrics,
        documents=documents,
        oldest_pending_task=_oldest(oldest[0]) if oldest else None,
        waiting={
            each.task_type: Waiting(each.count, each.id, each.since.isoformat(), each.age_seconds) for each in waiting
        },
        schema=Schema(schema.version, schema.latest),
    )


def _by_type(tasks: dict[tuple[Any, ...], int]) -> dict[str, dict[str, int]]:
    """Return the counts of each type by status, in the order of a task's life."""
    types: dict[str, dict[TaskStatus, int]] = {}
    for (task_type, status), count in tasks.items():
        types.setdefault(task_type, {})[status] = count
    return {name: {each.value: counts[each] for each in TaskStatus if each in counts} for name, counts in types.items()}


def _oldest(task: TaskModel) -> Oldest:
    age = (now() - task.created_at).total_seconds()
    return Oldest(task.id, task.task_type, task.priority.value, task.created_at.isoformat(), age)


def _show(console: "Console", stats: Stats) -> None:
    print_line(console, f"database: {stats.database}")
    print_line(console, f"size on disk, log included: {stats.size_bytes:,} bytes")
    print_line(console, f"schema: version {stats.schema.version}; the latest is {stats.schema.latest}")
    table = new_table("Records", "", "count")
    for name, counts in (("agents", stats.agents), ("tasks", stats.tasks)):
        table.add_row(name, f"{sum(counts.values()):,}")
        for status, count in counts.items():
            if count:
                table.add_row(f"  {status}", f"{count:,}")
    table.add_row("events", f"{stats.events:,}")
    table.add_row("messages", f"{stats.messages:,}")
    if stats.messages_unread:
        table.add_row("  unread", f"{stats.messages_unread:,}")
    table.add_row("metrics", f"{stats.metrics:,}")
    table.add_row("documents", f"{stats.documents:,}")
    console.print(table)
    if stats.task_types:
        console.print(_table_of_types(stats.task_types))
    if len(stats.task_types) > _TYPES_SHOWN:
        print_line(
            console,
            f"and {len(stats.task_types) - _TYPES_SHOWN:,} less frequent types: all are in the output of --json",
        )
    if stats.waiting:
        console.print(_table_of_waiting(stats.waiting))
    oldest = stats.oldest_pending_task
    if oldest is None:
        print_line(console, "oldest pending task: none")
    else:
        task = printable(f"{oldest.task_type} {oldest.id}, {oldest.priority}")
        print_line(
            console, f"oldest pending task: {task}, waiting for {oldest.age_seconds:,.1f} s since {oldest.created_at}"
        )


def _table_of_types(types: dict[str, dict[str, int]]) -> "Table":
    """Return the table of the most frequent types, with a column for each status that one of them has."""
    from rich.text import Text

    frequent = sorted(types, key=lambda name: -sum(types[name].values()))[:_TYPES_SHOWN]
    statuses = [status.value for status in TaskStatus if any(status.value in types[name] for name in frequent)]
    table = new_table("Tasks by type", "", *statuses)
    for name in frequent:
        # The type is a user's text, which may look like markup.
        table.add_row(
            Text(printable(name)), *(f"{types[name][status]:,}" if status in types[name] else "" for status in statuses)
        )
    return table


def _table_of_waiting(waiting: dict[str, Waiting]) -> "Table":
    """Return the table of the types whose oldest ready task has waited longest."""
    from rich.text import Text

    table = new_table("Ready to be claimed, longest waiting first", "", "count", "oldest waits (s)", "oldest")
    for name, each in [*waiting.items()][:_TYPES_SHOWN]:
        oldest = Text(printable(each.oldest_id))
        table.add_row(Text(printable(name)), f"{each.count:,}", f"{each.age_seconds:,.1f}", oldest)
    return table
