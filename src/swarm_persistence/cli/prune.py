"""`swarm-persistence prune`: deletes old records that are finished or handled, or counts them."""

import argparse
from typing import Any

import msgspec

from swarm_persistence.cli.records import print_json, run_on
from swarm_persistence.query.task_statuses import FINISHED
from swarm_persistence.storage import Pruned, Storage

_DESCRIPTION = """\
Delete old records that are finished or handled: finished tasks, events, messages that are read or acknowledged,
metrics, agents in shutdown, and documents that have expired. Tasks on which unfinished ones depend stay. This goes on
beside readers and writers."""

_UNITS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
_KINDS = Pruned.__struct_fields__


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("prune", help="delete old records", description=_DESCRIPTION)
    parser.add_argument("database", metavar="DATABASE", help="a path or URL; it must exist")
    parser.add_argument(
        "--older-than",
        type=age_in_seconds,
        required=True,
        metavar="AGE",
        help="how old they are at least: 30d, 12h, 90min, 45s",
    )
    parser.add_argument("--only", action="append", choices=_KINDS, help="only records of this kind; may be repeated")
    parser.add_argument(
        "--task-status",
        action="append",
        choices=[status.value for status in FINISHED],
        help="only tasks with this status; may be repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help="delete nothing; tell how many would be deleted")
    parser.add_argument("--json", action="store_true", help="print the counts as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prune, print the counts, and return the exit code."""
    kinds: dict[str, Any] = {kind: not arguments.only or kind in arguments.only for kind in _KINDS}

    async def prune(storage: Storage) -> Pruned:
        return await storage.prune(
            arguments.older_than, task_statuses=arguments.task_status or FINISHED, dry_run=arguments.dry_run, **kinds
        )

    pruned = run_on(arguments.database, prune)
    if arguments.json:
        print_json(pruned)
        return 0
    done = "to delete" if arguments.dry_run else "deleted"
    for kind, count in msgspec.structs.asdict(pruned).items():
        if kinds[kind]:
            print(f"{kind} {done}: {count:,}")
    return 0


def age_in_seconds(text: str) -> float:
    """Return the seconds of an age that an argument gives."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = text[len(number) :]
    if not (number.isascii() and number.isdigit() and unit in _UNITS):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an age, expected a whole number and s, min, h or d, as in 30d"
        )
    return float(int(number) * _UNITS[unit])
