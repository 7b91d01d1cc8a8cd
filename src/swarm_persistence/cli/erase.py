"""`swarm-persistence erase`: deletes all records of a group, after confirmation."""

import argparse
from collections.abc import Iterator

import msgspec

from swarm_persistence.cli.records import Subparsers, confirm, print_result, printable, run_on
from swarm_persistence.cli.target import shown
from swarm_persistence.storage import Erased


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
    parser.add_argument("--dry-run", action="store_true", help="delete nothing; tell how many would be deleted")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print the numbers as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Erase the group, and return the exit code."""
    if not (arguments.yes or arguments.dry_run):
        confirm("erase", lambda: _facts(arguments))
    erased = _erase(arguments, dry_run=arguments.dry_run)
    print_result(arguments, erased, f"{'to delete' if arguments.dry_run else 'deleted'}: {_listed(erased)}")
    return 0


def _facts(arguments: argparse.Namespace) -> Iterator[str]:
    yield f"in {shown(arguments.database)}, the group {printable(arguments.group)!r} has:"
    yield f"  {_listed(_erase(arguments, dry_run=True))}"
    for path in arguments.collection:
        yield f"  the documents are those in {printable(path)!r}"


def _erase(arguments: argparse.Namespace, *, dry_run: bool) -> Erased:
    paths = [tuple(path.split("/")) for path in arguments.collection]
    return run_on(
        arguments.database, lambda storage: storage.erase(arguments.group, collections=paths, dry_run=dry_run)
    )


def _listed(erased: Erased) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in msgspec.to_builtins(erased).items())
