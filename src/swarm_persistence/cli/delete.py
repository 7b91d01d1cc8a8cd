"""`swarm-persistence delete`: deletes the records that match filters, after confirmation."""

import argparse
from functools import partial
from typing import Any

from swarm_persistence.cli.records import Subparsers, confirm, pair, print_result, run_on
from swarm_persistence.cli.target import shown
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence.query.filters import query_of
from swarm_persistence.schema.tables import PUBLIC_TABLES, table_named

_DESCRIPTION = """\
Delete the records that match all filters: FIELD=VALUE, with an operator after a dot, as in
created_at.lt=2026-01-01T00:00:00Z, or tags.KEY=VALUE. The operators are eq, ne, gt, ge, lt, le, like and null.
Of several values of one filter, one must fit. Tasks that wait for a deleted one fail. It asks before; if it is
interrupted, run it again."""


def add_parser(commands: "Subparsers") -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("delete", help="delete the records that match filters", description=_DESCRIPTION)
    parser.add_argument("database", metavar="DATABASE", help="a path or URL; it must exist")
    parser.add_argument("kind", metavar="KIND", choices=[table.name for table in PUBLIC_TABLES], help="%(choices)s")
    parser.add_argument(
        "filters",
        metavar="FILTER",
        nargs="+",
        type=partial(pair, noun="filter", form="FIELD=VALUE"),
        help="as in status=failed",
    )
    parser.add_argument("--dry-run", action="store_true", help="delete nothing; tell how many would be deleted")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print the number as a JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Delete the records, or count them, print how many, and return the exit code."""
    query: QueryBuilder[Any] = query_of(table_named(arguments.kind).model, arguments.filters)
    if not (arguments.yes or arguments.dry_run):
        confirm(
            "delete", lambda: [f"in {shown(arguments.database)}: {_count(arguments, query, True):,} {arguments.kind}"]
        )
    count = _count(arguments, query, arguments.dry_run)
    text = f"{arguments.kind} {'to delete' if arguments.dry_run else 'deleted'}: {count:,}"
    print_result(arguments, {"count": count, "dry_run": arguments.dry_run}, text)
    return 0


def _count(arguments: argparse.Namespace, query: QueryBuilder[Any], dry_run: bool) -> int:
    return run_on(arguments.database, lambda storage: storage.delete_where(query, dry_run=dry_run))
