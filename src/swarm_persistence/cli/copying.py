"""`swarm-persistence copy`: copies a whole store to another storage, or to and from a file of JSON lines."""

import argparse
import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from swarm_persistence.backends.targets import init_storage, sqlite_path
from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.records import print_json
from swarm_persistence.cli.target import is_url, open_existing, shown
from swarm_persistence.cli.terminal import meter, new_table, open_console, print_line
from swarm_persistence.schema.tables import TABLES
from swarm_persistence.transfer.copying import Copied, copy
from swarm_persistence.transfer.endpoints import Endpoint, StorageEndpoint, StorageSource
from swarm_persistence.transfer.json_lines import JsonLinesEndpoint

if TYPE_CHECKING:
    from rich.console import Console

JSON_LINES = ".jsonl"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    text = (
        "Copy all records of one moment from one database to another, or to and from a file that ends in .jsonl, and "
        "compare the two at the end. Others may write to the source meanwhile. The same command again goes on where it "
        "was stopped, as long as the source has not changed. Events and messages keep their order, and are numbered "
        "anew."
    )
    parser = commands.add_parser("copy", help="move a whole database", description=text)
    parser.add_argument("source", metavar="FROM", help="a path, URL or .jsonl file; it must exist")
    parser.add_argument("target", metavar="TO", help="a path, URL or .jsonl file; empty, or of an earlier copy")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Copy, show what was copied, and return the exit code."""
    source, target = arguments.source, arguments.target
    if _name(source) == _name(target):
        raise CommandError(f"{shown(source)!r} is both the source and the target")
    console = open_console(is_quiet=arguments.json)
    outcomes = asyncio.run(_copy(console, source, target))
    is_equal = all(outcome.is_equal for outcome in outcomes)
    if arguments.json:
        records = [{**msgspec.to_builtins(outcome), "equal": outcome.is_equal} for outcome in outcomes]
        print_json({"source": shown(source), "target": shown(target), "equal": is_equal, "records": records})
    _show(console, outcomes)
    if is_equal:
        print_line(console, f"check: OK – {shown(target)} holds what {shown(source)} holds")
        return 0
    kinds = ", ".join(f"{outcome.kind}s" for outcome in outcomes if not outcome.is_equal)
    print_line(
        console, f"check: FAILED – the two differ in {kinds}; did the target hold others before, or was it written to?"
    )
    return 1


async def _copy(console: "Console", source: str, target: str) -> list[Copied]:
    async with await _open_source(source) as origin, await open_target(target) as destination:
        total = sum([await origin.count(table) for table in TABLES])
        with meter(console, "copied", total) as show:
            return await copy(origin, destination, show)


async def _open_source(name: str) -> Endpoint:
    if name.endswith(JSON_LINES):
        return JsonLinesEndpoint(Path(name), is_new_possible=False)
    return StorageSource(await open_existing(name))


async def open_target(name: str) -> Endpoint:
    """Open what a path or URL names, to copy to it."""
    if name.endswith(JSON_LINES):
        return JsonLinesEndpoint(Path(name), is_new_possible=True)
    return StorageEndpoint(await init_storage(name))


def _name(target: str) -> str:
    """Return the identity of a target, to detect a copy onto itself."""
    if is_url(target):
        return target
    try:
        return os.path.realpath(sqlite_path(target))
    except ValueError:
        return target  # no file can have such a name; opening it reports that


def _show(console: "Console", outcomes: list[Copied]) -> None:
    table = new_table("Records", "", "in source", "copied now", "in target", "checksum")
    for outcome in outcomes:
        counts = (outcome.source.count, outcome.copied, outcome.target.count)
        checksum = outcome.target.checksum[:12] if outcome.is_equal else "differs"
        table.add_row(f"{outcome.kind}s", *(f"{count:,}" for count in counts), checksum)
    console.print(table)
