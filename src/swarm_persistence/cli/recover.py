"""`swarm-persistence recover`: takes what can be read out of a damaged file, and lists what is lost."""

import argparse
import asyncio
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from swarm_persistence.backends.targets import init_storage, sqlite_path
from swarm_persistence.cli.copying import JSON_LINES, open_target
from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.records import print_json
from swarm_persistence.cli.target import is_url, shown
from swarm_persistence.cli.terminal import new_table, open_console, print_line
from swarm_persistence.schema.tables import PUBLIC_TABLES
from swarm_persistence.transfer.copying import copy
from swarm_persistence.transfer.endpoints import StorageEndpoint

if TYPE_CHECKING:
    from rich.console import Console

    from swarm_persistence.engines.sql.sqlite.recovery.losses import Loss, RecoveryOutcome

_MOST_LINES = 20
_DESCRIPTION = """\
Take every row that can be read, page by page, from a damaged SQLite file and its log into a new database, and list what
is lost, with what is left of it, in TARGET.lost.jsonl. The damaged file and its log are not changed by a byte. End all
processes that use it first. Rows keep their numbers, so that a watcher's place stays valid, in a TARGET that is an
SQLite file. Exit code 1 if anything is lost."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "recover", help="take what can be read out of a damaged file", description=_DESCRIPTION
    )
    parser.add_argument("database", metavar="DATABASE", help="the path of the damaged SQLite file")
    parser.add_argument(
        "target", metavar="TARGET", help="the path of a new file (also .jsonl), or the URL of an empty storage"
    )
    parser.add_argument(
        "--log",
        choices=("use", "ignore"),
        help="whether to read the log beside the file; needed only if it seems to be another database's",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Recover, show the outcome, and return 1 if anything was lost."""
    source = Path(sqlite_path(arguments.database)).absolute()
    losses = _losses_path(arguments.target)
    console = None if arguments.json else open_console()
    _require_new(source, arguments.target, losses)
    outcome = _recover(source, arguments.target, log=arguments.log)
    if outcome.losses:
        _write_losses(losses, outcome.losses)
    if console is None:
        report = {"database": str(source), "target": shown(arguments.target), "complete": outcome.is_complete}
        print_json(report | msgspec.to_builtins(outcome), indent=2)
    else:
        _show(console, outcome, losses)
    return 0 if outcome.is_complete else 1


def _require_new(source: Path, target: str, losses: Path) -> None:
    from swarm_persistence.engines.partial_files import COMPANIONS, require_target
    from swarm_persistence.engines.sql.sqlite.file import resolve

    resolve(source)
    if source.is_dir():
        raise CommandError(f"{str(source)!r} is a directory; give the path of a file")
    if not is_url(target) and sqlite_path(target) == ":memory:":
        raise CommandError("a database in memory ends with its process; give the path of a new file")
    if not is_url(target):
        require_target(resolve(_path(target)))
    # SQLite would apply a log that lies beside the new file.
    new = () if is_url(target) else tuple(Path(f"{_path(target)}{suffix}") for suffix in ("", *COMPANIONS))
    for path in (losses, *new):
        if os.path.lexists(path):
            raise CommandError(f"{str(path)!r} exists already; give the name of a new file")
        if not path.parent.is_dir():
            raise CommandError(f"the directory {str(path.parent)!r} does not exist")


def _recover(source: Path, target: str, *, log: str | None) -> "RecoveryOutcome":
    """Recover into a temporary file that is renamed to the target, or copied into the target storage."""
    import apsw

    from swarm_persistence.cli.examination import is_log_to_be_used, require_ours, require_recoverable
    from swarm_persistence.cli.file_system import processes_with_open_file
    from swarm_persistence.engines.sql.sqlite.raw_file import held
    from swarm_persistence.engines.sql.sqlite.recovery.recovering import recover

    require_recoverable(source)
    is_file = not is_url(target) and not target.endswith(JSON_LINES)
    place = _path(target).parent if is_file else None
    try:
        # Before the file is held: where an index of the log is left, as after a kill, this check takes a lock itself.
        with_log = is_log_to_be_used(source, log)
        with TemporaryDirectory(prefix=".recovering-", dir=place) as directory, held(source):
            new = Path(directory) / "new.db"
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            outcome = recover(source, new, with_log=with_log)
            if not any(table.recovered or table.lost for table in outcome.tables):
                require_ours(source)
            if is_file:
                os.rename(new, _path(target))
            else:
                asyncio.run(_move(new, target))
            return outcome
    except apsw.BusyError:
        holders = ", ".join(processes_with_open_file(source)) or "this user may not see which"
        raise CommandError(f"processes have {str(source)!r} open: {holders}; end them first") from None
    except apsw.FullError as error:
        raise CommandError(f"the disk of the target is full (SQLite: {error})", exit_code=1) from error
    except apsw.Error as error:
        raise CommandError(f"{str(source)!r} cannot be recovered: {error}", exit_code=1) from error


async def _move(new: Path, target: str) -> None:
    source = StorageEndpoint(await init_storage(str(new)))
    async with source, await open_target(target) as endpoint:
        if any([await endpoint.count(table) for table in PUBLIC_TABLES]):
            raise CommandError(f"{shown(target)!r} holds records already; give an empty storage")
        await copy(source, endpoint)


def _path(target: str) -> Path:
    return Path(sqlite_path(target)).absolute()


def _losses_path(target: str) -> Path:
    if is_url(target):
        return Path("recovery.lost.jsonl").absolute()
    path = _path(target)
    return path.with_name(f"{path.name}.lost.jsonl")


def _write_losses(path: Path, losses: "tuple[Loss, ...]") -> None:
    # The readable values of a row may hold secrets, as a record may.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        for loss in losses:
            file.write(msgspec.json.encode(loss) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _show(console: "Console", outcome: "RecoveryOutcome", losses: Path) -> None:
    table = new_table("Rows", "", "recovered", "lost", "damaged places", "uncertain")
    for each in outcome.tables:
        table.add_row(each.table, *(f"{count:,}" for count in (each.recovered, each.lost, each.gaps, each.uncertain)))
    console.print(table)
    for note in outcome.notes:
        print_line(console, f"note: {note}")
    for loss in outcome.losses[:_MOST_LINES]:
        print_line(console, f"lost: {loss.shown()}")
    if len(outcome.losses) > _MOST_LINES:
        print_line(console, f"… and {len(outcome.losses) - _MOST_LINES:,} more")
    if outcome.losses:
        print_line(console, f"all of it, with what is left: {losses}")
    if any(each.uncertain for each in outcome.tables):
        print_line(console, "uncertain: rows that may have been deleted, or changed, before the damage")
    if outcome.is_complete:
        print_line(console, "check: OK – nothing is lost, as far as the file tells")
    else:
        recovered = sum(each.recovered for each in outcome.tables)
        lost, gaps = (sum(getattr(each, name) for each in outcome.tables) for name in ("lost", "gaps"))
        more = f", and an unknown number in {gaps:,} places" if gaps else ""
        print_line(console, f"check: INCOMPLETE – {recovered:,} rows recovered, {lost:,} lost{more}")
