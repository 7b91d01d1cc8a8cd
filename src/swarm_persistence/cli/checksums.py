"""`swarm-persistence checksums`: lets a database's file keep a checksum of each page."""

import argparse

from swarm_persistence.cli.doctor import examine
from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.finding import Level
from swarm_persistence.cli.records import print_result
from swarm_persistence.cli.target import existing_file

_DESCRIPTION = """\
Rewrite a database's file so that it keeps a checksum of each page: one that the disk has changed then raises an error
when it is read. No process may have the file open. A file that keeps them already gets new ones, as it needs once
another SQLite program has written to it. To be rid of them, copy the database."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("checksums", help="keep a checksum of each page", description=_DESCRIPTION)
    parser.add_argument("database", metavar="DATABASE", help="the path of an SQLite file of this package")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Rewrite the file, print what was done, and return the exit code."""
    # Loaded here: the other commands do not need apsw.
    import apsw

    from swarm_persistence.engines.sql.sqlite import checksums

    path = existing_file(arguments.database)
    if path is None:
        raise CommandError("this command is for SQLite files; a server has checksums of its own")
    for finding in examine(path, is_quick=False):
        if finding.level is Level.WRONG and finding.check != "checksums":
            raise CommandError(f"{finding.check}: {finding.detail}; the file was left as it is", exit_code=1)
    try:
        checksums.add(str(path.resolve()))
    except apsw.BusyError as error:
        raise CommandError(f"{str(path)!r} is open in another process; stop it first", exit_code=1) from error
    except apsw.Error as error:
        raise CommandError(f"{str(path)!r} was not rewritten with checksums (SQLite: {error})", exit_code=1) from error
    print_result(arguments, {"database": str(path), "checksums": True}, f"{path} keeps a checksum of each page")
    return 0
