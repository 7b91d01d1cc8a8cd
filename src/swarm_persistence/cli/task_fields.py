"""The arguments that describe a task, for `tasks add` and `schedules set`."""

import argparse
from typing import Any

from swarm_persistence.cli.records import json_value, tag
from swarm_persistence.models import TaskPriority

_MAX_RETRIES = 3


def add_task_fields(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("type", metavar="TYPE", help="the type of the task")
    parser.add_argument(
        "payload", metavar="PAYLOAD", nargs="?", type=json_value, help="its payload, as JSON (default: null)"
    )
    parser.add_argument(
        "--priority", choices=[priority.value for priority in TaskPriority], default=TaskPriority.MEDIUM.value
    )
    parser.add_argument(
        "--max-retries",
        type=int,
        default=_MAX_RETRIES,
        metavar="N",
        help=f"how often it is tried (default: {_MAX_RETRIES})",
    )
    parser.add_argument("--group", metavar="GROUP", help="the group that it belongs to")
    parser.add_argument(
        "--tag", action="append", default=[], type=tag, metavar="KEY=VALUE", help="a tag of it; may be repeated"
    )
    parser.add_argument("--concurrency-key", metavar="KEY", help="the key by which a limit of its type counts it")
    parser.add_argument(
        "--requires",
        action="append",
        default=[],
        metavar="CAPABILITY",
        help="what an agent must be capable of to get it; may be repeated",
    )


def task_fields_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments of `TaskModel.new` that were given, except payload, priority and retries."""
    given = {
        "group": arguments.group,
        "tags": dict(arguments.tag),
        "concurrency_key": arguments.concurrency_key,
        "required_capabilities": arguments.requires,
    }
    return {name: value for name, value in given.items() if value not in (None, {}, [])}
