"""`swarm-persistence import-rust`: takes over what the Rust crate `ruv-swarm-persistence` has stored."""

import argparse
import asyncio
from typing import TYPE_CHECKING

import msgspec

from swarm_persistence.cli.records import print_json
from swarm_persistence.cli.target import shown
from swarm_persistence.cli.terminal import new_table, open_console, print_line

if TYPE_CHECKING:
    from rich.console import Console

    from swarm_persistence.transfer.rust_import import RustImport

_DESCRIPTION = """\
Import the agents, tasks, events, messages and metrics that the Rust crate ruv-swarm-persistence has stored in the file
OLD, its log included, into a new SQLite file, or into an empty PostgreSQL schema: all of them, or nothing if it fails.
OLD is not changed by a byte; end the programs that write to it first. At the end, what was mapped how is listed, and
each row that could not be imported, with the reason. Exit code 1 if there is such a row."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("import-rust", help="take over a database of the Rust crate", description=_DESCRIPTION)
    parser.add_argument("source", metavar="OLD", help="the path of the crate's database")
    parser.add_argument("target", metavar="NEW", help="the path of a new file, or a URL")
    parser.add_argument("--add", action="store_true", help="add to a target that holds records already")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Import, show the outcome, and return 1 if a row was skipped."""
    # Loaded here: other commands need no SQLite.
    from swarm_persistence.transfer.rust_import import import_rust

    console = None if arguments.json else open_console()
    outcome = asyncio.run(import_rust(arguments.source, arguments.target, add=arguments.add))
    if console is None:
        report = {"source": arguments.source, "target": shown(arguments.target), "complete": outcome.is_complete}
        print_json(report | msgspec.to_builtins(outcome), indent=2)
    else:
        _show(console, outcome, shown(arguments.target))
    return 0 if outcome.is_complete else 1


def _show(console: "Console", outcome: "RustImport", target: str) -> None:
    table = new_table("Rows", "", "found", "imported", "skipped")
    for each in outcome.tables:
        table.add_row(each.table, *(f"{n:,}" for n in (each.found, each.imported, each.found - each.imported)))
    console.print(table)
    for text in outcome.mapped:
        print_line(console, f"mapped: {text}")
    for text in outcome.warnings:
        print_line(console, f"warning: {text}")
    for row in outcome.skipped:
        print_line(console, f"skipped: {row.table} {row.id!r} (row {row.row}): {row.reason}")
    if outcome.is_complete:
        print_line(console, f"check: OK – {target} holds every record")
    else:
        print_line(console, f"check: INCOMPLETE – {len(outcome.skipped):,} rows have no record in {target}")
