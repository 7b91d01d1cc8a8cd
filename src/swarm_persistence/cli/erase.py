"""`swarm-persistence erase`: deletes all records of a group, after it was confirmed."""

import argparse
from collections.abc import Iterator

import msgspec

from swarm_persistence.cli.confirmation import confirm
from swarm_persistence.cli.records import Subparsers, print_json, printable, run_on
from swarm_persistence.cli.target import shown
from swarm_persistence.models import AgentModel, EventModel, MessageModel, MetricModel, Model, TaskModel
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence.storage import Storage

_MODELS: tuple[type[Model], ...] = (TaskModel, AgentModel, EventModel, MessageModel, MetricModel)


def add_parser(commands: "Subparsers") -> None:
    """Add the command's arguments."""
    text = "Delete all records of a group, and its schedules. Tasks of other groups that wait for one"
    parser = commands.add_parser(
        "erase",
        help="delete all records of a group",
        description=f"{text} of its tasks fail. It asks before; if it is interrupted, run it again.",
    )
    parser.add_argument("database", metavar="DATABASE", help="a path or URL; it must exist")
    parser.add_argument("--group", required=True, metavar="GROUP", help="the group, such as one user or tenant")
    parser.add_argument(
        "--collection",
        action="append",
        default=[],
        metavar="PATH",
        help="also delete the documents of this collection and those below; its parts are separated by /; may be "
        "repeated",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print the numbers as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Erase the group, and return the exit code."""
    if not arguments.yes:
        confirm("erase", lambda: _facts(arguments))
    paths = [tuple(path.split("/")) for path in arguments.collection]
    erased = run_on(arguments.database, lambda storage: storage.erase(arguments.group, collections=paths))
    if arguments.json:
        print_json(erased)
    else:
        print("deleted: " + ", ".join(f"{number} {kind}" for kind, number in msgspec.to_builtins(erased).items()))
    return 0


def _facts(arguments: argparse.Namespace) -> Iterator[str]:
    counts = run_on(arguments.database, lambda storage: _counts(storage, arguments.group))
    yield f"in {shown(arguments.database)}, the group {printable(arguments.group)!r} has:"
    yield "  " + ", ".join(f"{number} {name}" for name, number in counts.items())
    for path in arguments.collection:
        yield f"  and the documents in {printable(path)!r}"


async def _counts(storage: Storage, group: str) -> dict[str, int]:
    queries = [QueryBuilder(model).where_eq("group", group) for model in _MODELS]
    return {query.query.table.name: await storage.repository(query.query.table.model).count(query) for query in queries}
