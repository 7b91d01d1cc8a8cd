"""`swarm-persistence limits`: how many tasks of each type may be claimed at once, and how often."""

import argparse
from collections.abc import Callable

from swarm_persistence.cli.records import (
    Subparsers,
    add_action,
    add_actions,
    delete_one,
    print_result,
    printable,
    run_on,
    show_list,
)
from swarm_persistence.models import TaskLimit

_TYPE = "the type of the tasks"


def add_parser(commands: "Subparsers") -> None:
    """Add the command's arguments."""
    actions = add_actions(commands, "limits", "List, set and delete limits of running tasks.")
    add_action(actions, "list", "List limits by task type.", run_list)
    setting = add_action(
        actions,
        "set",
        "Set the limit of a task type, in place of an earlier one. Every claim observes it; 0 lets none be claimed.",
        run_set,
    )
    setting.add_argument("type", metavar="TYPE", help=_TYPE)
    setting.add_argument("--running", type=int, metavar="N", help="how many are claimed at once, at most")
    setting.add_argument("--per-key", type=int, metavar="N", help="how many of one concurrency key, at most")
    setting.add_argument("--starts", type=int, metavar="N", help="how many are claimed within a period, at most")
    setting.add_argument("--per", type=float, metavar="S", help="how many seconds the period of --starts has")
    delete = add_action(actions, "delete", "Delete the limit of a task type.", run_delete)
    delete.add_argument("type", metavar="TYPE", help=_TYPE)


def run_list(arguments: argparse.Namespace) -> int:
    """List limits, and return the exit code."""
    limits = run_on(arguments.database, lambda storage: storage.list_limits())
    columns: dict[str, Callable[[TaskLimit], str]] = {
        "task type": lambda limit: limit.task_type,
        "running": lambda limit: _number(limit.running),
        "per key": lambda limit: _number(limit.per_key),
        "starts": _starts_of,
    }
    show_list(arguments, limits, "Limits", columns)
    return 0


def run_set(arguments: argparse.Namespace) -> int:
    """Set a limit, print it, and return the exit code."""
    limit = run_on(
        arguments.database,
        lambda storage: storage.set_limit(
            arguments.type,
            running=arguments.running,
            per_key=arguments.per_key,
            starts=arguments.starts,
            per=arguments.per,
        ),
    )
    parts = {"running": _number(limit.running), "per key": _number(limit.per_key), "starts": _starts_of(limit)}
    shown = ", ".join(f"{name} {value}" for name, value in parts.items() if value)
    print_result(arguments, limit, f"{printable(limit.task_type)}: {shown}")
    return 0


def run_delete(arguments: argparse.Namespace) -> int:
    """Delete a limit, and return the exit code."""
    missing = f"tasks of type {arguments.type!r} have no limit"
    return delete_one(arguments, arguments.type, lambda storage: storage.delete_limit(arguments.type), missing)


def _number(number: int | None) -> str:
    return "" if number is None else str(number)


def _starts_of(limit: TaskLimit) -> str:
    return "" if limit.starts is None else f"{limit.starts} in {limit.per_seconds:g} s"
