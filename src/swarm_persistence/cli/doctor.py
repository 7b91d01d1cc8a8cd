"""`swarm-persistence doctor`: what is wrong with a database, and what to do."""

import argparse
import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from swarm_persistence.backends.targets import sqlite_path
from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.file_system import examine_modes, examine_names, examine_place, examine_processes
from swarm_persistence.cli.finding import Finding, Level
from swarm_persistence.cli.records import print_json
from swarm_persistence.cli.sqlite_releases import examine_releases
from swarm_persistence.cli.target import existing_file, is_url, shown
from swarm_persistence.cli.terminal import open_console, print_line
from swarm_persistence.engines.sql.postgres.url import SCHEMES

if TYPE_CHECKING:
    from rich.console import Console

_DESCRIPTION = """\
Say what is wrong with a database's file, and what to do: SQLite's release and its known bugs, file system, links,
permissions, processes, journal mode, a log that is not the file's own or cannot shrink, integrity, checksums, schema.
Without --repair, not a byte of the file, its log or its journal is changed.
Of a swarm on a PostgreSQL server: release, clock, settings that weaken durability, pooler, connections left, what
blocks VACUUM, locks, schema, indexes, partitions, dead rows, sequences, and change numbers from a restored dump."""
_DAMAGE = frozenset({"content", "integrity_check", "quick_check", "log (WAL)", "checksums", "access", "lock"})
"""The checks that must all pass before the content is read or repaired."""
_STYLES = {Level.OK: "green", Level.ADVICE: "yellow", Level.WRONG: "bold red"}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "doctor", help="say what is wrong with a database, and what to do", description=_DESCRIPTION
    )
    parser.add_argument("database", metavar="DATABASE", help="the path of an SQLite file, or a postgresql:// URL")
    parser.add_argument("--quick", action="store_true", help="check the pages, but not each index against its table")
    parser.add_argument("--deep", action="store_true", help="read every record, too, and compare them with each other")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="repair what can be repaired: changes by other programs, inconsistent dependencies, "
        "change numbers of another server, sequences behind their tables",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the findings; return 1 if there is a problem."""
    console = None if arguments.json else open_console()
    database: str | Path
    if arguments.database.partition("://")[0] in SCHEMES:
        from swarm_persistence.cli.server_examination import examine_server

        database = shown(arguments.database)
        findings = asyncio.run(examine_server(arguments.database, is_repairing=arguments.repair))
    else:
        database = path = _file_of(arguments.database)
        findings = list(examine(path, is_quick=arguments.quick, is_deep=arguments.deep))
        if arguments.repair:
            repaired = list(_repair(path, findings))
            findings = [*repaired, *examine(path, is_quick=arguments.quick, is_deep=arguments.deep)]
    is_sound = all(finding.level is not Level.WRONG for finding in findings)
    if console is None:
        report = {"database": str(database), "ok": is_sound, "findings": msgspec.to_builtins(findings)}
        print_json(report, indent=2)
    else:
        _show(console, database, findings)
    return 0 if is_sound else 1


def _file_of(target: str) -> Path:
    """Return the path of the file; it may be missing or empty if its log is there."""
    if is_url(target):
        raise CommandError("doctor examines SQLite files, and swarms on PostgreSQL servers")
    # Loaded here: the other commands do not need apsw.
    from swarm_persistence.cli.log_examination import only_in_log
    from swarm_persistence.engines.sql.sqlite.file import resolve

    name = sqlite_path(target)
    resolve(name)  # refuses a name that no file can have
    path = Path(name).absolute()
    if only_in_log(path) is None:
        existing_file(target)
    return path


def _repair(path: Path, findings: list[Finding]) -> Iterator[Finding]:
    import apsw

    from swarm_persistence.cli.repairs import repair_all

    for finding in findings:
        if finding.level is Level.WRONG and finding.check in _DAMAGE:
            raise CommandError(f"{finding.check}: {finding.detail}; nothing was repaired", exit_code=1)
    try:
        yield from repair_all(path)
    except (apsw.Error, UnicodeDecodeError) as error:
        raise CommandError(f"{str(path)!r} could not be repaired: {error}", exit_code=1) from error


def examine(path: Path, *, is_quick: bool, is_deep: bool = False) -> Iterator[Finding]:
    """Yield all findings.

    Raises:
        CommandError: it is not a database of this package; it was left as it is.

    """
    from swarm_persistence.cli.deep_examination import examine_records
    from swarm_persistence.cli.examination import SQLITE_RELEASE, examine_content, require_ours
    from swarm_persistence.cli.log_examination import only_in_log

    if (finding := only_in_log(path)) is not None:
        yield finding
        return
    require_ours(path)
    yield from examine_releases(SQLITE_RELEASE, _release_of_python())
    yield from examine_names(path)
    real = path.resolve()
    yield examine_place(real)
    yield examine_modes(real)
    yield from examine_processes(real)
    content = list(examine_content(path, is_quick=is_quick))
    yield from content
    if is_deep and not any(finding.level is Level.WRONG and finding.check in _DAMAGE for finding in content):
        yield from examine_records(path)


def _release_of_python() -> str | None:
    try:
        import sqlite3
    except ImportError:
        return None  # this Python was built without it
    return sqlite3.sqlite_version


def _show(console: "Console", database: str | Path, findings: list[Finding]) -> None:
    print_line(console, f"database: {database}")
    for finding in findings:
        print_line(console, f"{finding.level.value:>6}  {finding.check}: {finding.detail}", _STYLES[finding.level])
        if finding.remedy is not None:
            print_line(console, f"        what to do: {finding.remedy}")
