"""`swarm-persistence backup` and `restore`: all records of one moment in a file, and back."""

import argparse
import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.records import print_json
from swarm_persistence.cli.target import existing_file, open_existing, shown
from swarm_persistence.cli.terminal import Meter, meter, open_console, print_line
from swarm_persistence.engines.interface import Progress

if TYPE_CHECKING:
    from rich.console import Console

_BACKUP = """\
Write all that a database holds at one moment to a new file, beside its writers, and check the file. The backup of an
SQLite database is one too, with the same numbers; that of others is a file of JSON lines. The file gets its name once
all of it is checked and on the disk."""
_RESTORE = """\
Make a database of a backup, with all its numbers, so that watchers go on where they were. The backup is checked before,
and the target is replaced as a whole or not at all. No process may have it open."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the arguments of both commands."""
    backup = commands.add_parser("backup", help="write a database to a file, beside its writers", description=_BACKUP)
    backup.add_argument("database", metavar="DATABASE", help="a path or URL; it must exist")
    backup.add_argument("target", metavar="TARGET", help="the path of the backup")
    backup.add_argument(
        "--verify", action="store_true", help="also check each index, count all rows and read each of them back"
    )
    backup.add_argument("--force", action="store_true", help="overwrite an older backup")
    backup.add_argument("--json", action="store_true", help="print one JSON object")
    backup.set_defaults(run=run_backup)
    restore = commands.add_parser("restore", help="make a database of a backup", description=_RESTORE)
    restore.add_argument("backup", metavar="BACKUP", help="the path of a backup")
    restore.add_argument("target", metavar="TARGET", help="a path or URL")
    restore.add_argument("--force", action="store_true", help="replace what the target holds")
    restore.add_argument("--json", action="store_true", help="print one JSON object")
    restore.set_defaults(run=run_restore)


def run_backup(arguments: argparse.Namespace) -> int:
    """Write the backup, and return the exit code."""
    path = existing_file(arguments.database)
    _require_path(arguments.target)
    console = open_console(is_quiet=arguments.json)
    asyncio.run(_back_up(console, arguments, path))
    if arguments.json:
        size = Path(arguments.target).stat().st_size
        told = {"database": shown(arguments.database), "target": arguments.target}
        print_json({**told, "verified": arguments.verify, "bytes": size})
    checks = "its pages, indexes, counts and rows" if arguments.verify else "its form"
    print_line(console, f"backup: OK – {arguments.target} holds {shown(arguments.database)}; checked: {checks}")
    return 0


def run_restore(arguments: argparse.Namespace) -> int:
    """Restore the backup, and return the exit code."""
    from swarm_persistence.transfer.restoring import restore

    _require_path(arguments.backup)
    console = open_console(is_quiet=arguments.json)

    async def run() -> None:
        with _progress(console, "restored") as progress:
            await restore(arguments.backup, arguments.target, overwrite=arguments.force, progress=progress)

    asyncio.run(run())
    if arguments.json:
        print_json({"backup": arguments.backup, "target": shown(arguments.target)})
    print_line(console, f"restore: OK – {shown(arguments.target)} holds {arguments.backup}")
    return 0


def _require_path(backup: str) -> None:
    if "://" in backup:  # not repeated in full: it may hold a password
        raise CommandError(f"{shown(backup)!r} is a URL, and a backup is a file; give its path")


async def _back_up(console: "Console", arguments: argparse.Namespace, path: Path | None) -> None:
    with _progress(console, "backed up") as progress:
        if path is None:
            async with await open_existing(arguments.database) as storage:
                await storage.backup(
                    arguments.target, verify=arguments.verify, overwrite=arguments.force, progress=progress
                )
            return
        # Not opened as a storage: that would bring its schema up to date, and the backup may be made because of that.
        from swarm_persistence.transfer.backups import back_up_file

        await back_up_file(
            path, arguments.target, verify=arguments.verify, overwrite=arguments.force, progress=progress
        )


@contextmanager
def _progress(console: "Console", title: str) -> Iterator[Progress]:
    """Show a progress bar, whose total is known after the first step."""
    with ExitStack() as stack:
        shown: list[Meter] = []

        def progress(done: int, total: int) -> None:
            if not shown:
                shown.append(stack.enter_context(meter(console, title, total)))
            shown[0](done)

        yield progress
