"""`swarm-persistence tasks list` and `show`: list the tasks, or print one in full with what blocks it."""

import argparse
from collections.abc import Callable

import msgspec

from swarm_persistence.cli import task_actions
from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.records import (
    Subparsers,
    add_action,
    add_actions,
    add_group,
    add_limit,
    add_page,
    age,
    matching,
    print_fields,
    print_json,
    printable,
    run_on,
    show_all,
    show_page,
)
from swarm_persistence.cli.terminal import open_console, print_line
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.query.task_statuses import HELD
from swarm_persistence.storage import Storage, UnmetDependency


def add_parser(commands: "Subparsers") -> None:
    """Add the command's arguments."""
    actions = add_actions(commands, "tasks", "List, show, add and change tasks.")
    listing = add_action(
        actions,
        "list",
        "List tasks, the highest id first. Ids that the library makes begin with the time, so the newest come first.",
        run_list,
    )
    statuses = [status.value for status in TaskStatus]
    listing.add_argument(
        "--status", action="append", choices=statuses, help="only tasks of this status; may be repeated"
    )
    listing.add_argument("--type", action="append", metavar="TYPE", help="only tasks of this type; may be repeated")
    listing.add_argument("--agent", metavar="ID", help="only tasks that this agent holds or held last")
    listing.add_argument("--concurrency-key", metavar="KEY", help="only tasks of this concurrency key")
    add_group(listing, "tasks")
    add_page(listing, "ID")
    blocked = add_action(
        actions, "blocked", "List tasks that wait for others, the most urgent first, and for which.", run_blocked
    )
    add_limit(blocked)
    show = add_action(
        actions, "show", "Show one task. If it is blocked, tell which dependencies it waits for.", run_show
    )
    show.add_argument("id", metavar="ID", help="the id of the task")
    task_actions.add_parsers(actions)


def run_list(arguments: argparse.Namespace) -> int:
    """List tasks, and return the exit code."""
    query = matching(
        TaskModel,
        arguments,
        status=arguments.status,
        task_type=arguments.type,
        assigned_to=arguments.agent,
        concurrency_key=arguments.concurrency_key,
    )
    columns = {
        "id": lambda task: task.id,
        "type": lambda task: task.task_type,
        "status": lambda task: task.status.value + _progress_of(task),
        "priority": lambda task: task.priority.value,
        "agent": lambda task: task.assigned_to or "",
        "created": lambda task: age(task.created_at),
        "error": lambda task: (task.error or "").partition("\n")[0][:60],
    }
    show_page(arguments, query, "id", "Tasks", columns)
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Show one task, and return the exit code."""
    task, unmet = run_on(arguments.database, lambda storage: _read(storage, arguments.id))
    if arguments.json:
        print_json({**msgspec.to_builtins(task), "unmet_dependencies": msgspec.to_builtins(unmet)})
        return 0
    console = open_console()
    print_fields(console, task, ("past_claims",))
    for claim in task.past_claims:
        error = "" if claim.error is None else ": " + claim.error.partition("\n")[0]
        text = f"claim {claim.number} by {claim.agent_id}: {claim.outcome.value} {age(claim.ended_at)}{error}"
        print_line(console, printable(text))
    for dependency in unmet:
        print_line(console, f"waits for {printable(dependency.id)}, which is {_state_of(dependency)}")
    return 0


def run_blocked(arguments: argparse.Namespace) -> int:
    """List blocked tasks with what they wait for, and return the exit code."""
    blocked = run_on(arguments.database, lambda storage: _read_blocked(storage, arguments.limit))
    if arguments.json:
        for task, unmet in blocked:
            print_json({**msgspec.to_builtins(task), "unmet_dependencies": msgspec.to_builtins(unmet)})
        return 0
    unmet_of = {task.id: unmet for task, unmet in blocked}
    columns: dict[str, Callable[[TaskModel], str]] = {
        "id": lambda task: task.id,
        "type": lambda task: task.task_type,
        "priority": lambda task: task.priority.value,
        "created": lambda task: age(task.created_at),
        "waits for": lambda task: ", ".join(f"{each.id} ({_state_of(each)})" for each in unmet_of[task.id]),
    }
    show_all([task for task, _ in blocked], "Blocked tasks", columns)
    return 0


def _state_of(dependency: UnmetDependency) -> str:
    if dependency.is_missing:
        return "not stored: is the id right?"
    return "not stored yet" if dependency.status is None else dependency.status.value


async def _read_blocked(storage: Storage, limit: int) -> list[tuple[TaskModel, tuple[UnmetDependency, ...]]]:
    tasks = await storage.get_blocked_tasks(limit)
    unmet = await storage.get_unmet_dependencies(task_ids=[task.id for task in tasks])
    return [(task, unmet[task.id]) for task in tasks if task.id in unmet]


def _progress_of(task: TaskModel) -> str:
    return "" if task.progress is None or task.status not in HELD else f" {task.progress:.0%}"


async def _read(storage: Storage, id: str) -> tuple[TaskModel, tuple[UnmetDependency, ...]]:
    task = await storage.get_task(id)
    if task is None:
        raise CommandError(f"there is no task {id!r}", 1)
    return task, (await storage.get_unmet_dependencies(task_ids=[id])).get(id, ())
