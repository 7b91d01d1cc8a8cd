"""`swarm-persistence migrate`: brings a schema to a version, forwards or back, or says what that would take."""

import argparse
import asyncio
from contextlib import closing
from pathlib import Path

from swarm_persistence.backends.targets import default_target, sqlite_path
from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.migration_plans import plan_record, planned_on_file, planned_on_server, print_plan
from swarm_persistence.cli.records import print_json, progress_printer
from swarm_persistence.cli.target import add_database, shown
from swarm_persistence.engines.sql.postgres.url import SCHEMES

_DESCRIPTION = """\
Bring the schema of a database to the latest version, or to another one, and create it where there is none. On a
server, this goes on beside readers and writers, and may be interrupted: the next run goes on from there. Run it as the
role that owns the schema; with ?migrate=false in their URL, workers change nothing."""

_LOCK_TIMEOUT_SECONDS = 600.0


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("migrate", help="bring a schema to a version", description=_DESCRIPTION)
    add_database(parser)
    parser.add_argument("--to", type=int, metavar="N", help="the version, 1 or higher (default: the latest)")
    parser.add_argument("--plan", action="store_true", help="print the steps and their statements, and change nothing")
    parser.add_argument("--json", action="store_true", help="print the steps, planned or taken, as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Migrate or print the plan, and return the exit code."""
    target: str = arguments.database or default_target()
    scheme, separator, _ = target.partition("://")
    if separator and scheme in SCHEMES:
        asyncio.run(_run_on_server(target, arguments))
    elif (separator and scheme != "sqlite") or (path := sqlite_path(target)) == ":memory:":
        raise CommandError(f"{shown(target)} has no schema to migrate; give the path of a file or a postgresql:// URL")
    else:
        _run_on_file(path, arguments)
    return 0


async def _run_on_server(url: str, arguments: argparse.Namespace) -> None:
    import swarm_persistence.backends.postgres  # noqa: F401 - says in one line if the driver is missing
    from swarm_persistence.engines.sql.postgres.engine import PostgresEngine
    from swarm_persistence.engines.sql.postgres.migrations import LATEST
    from swarm_persistence.engines.sql.postgres.settings import PostgresSettings

    version = _checked(arguments.to, LATEST)
    report = progress_printer(arguments)
    engine = PostgresEngine.of(url, PostgresSettings())
    try:
        current, moves = await engine.migration_plan(version)
        name = f"{shown(url)}, schema {engine.settings.schema}"
        steps = planned_on_server(current, moves, engine.settings.schema)
        if arguments.plan and not arguments.json:
            print_plan(name, current, version, steps)
        if not arguments.plan:
            report(f"{name}: version {current}")
            await engine.migrate_with_retries(version, _LOCK_TIMEOUT_SECONDS, report)
            report(f"{name}: version {version}" if moves else "there was nothing to do")
        if arguments.json:
            print_json(plan_record(name, current, version, steps))
    finally:
        await engine.close()


def _run_on_file(name: str, arguments: argparse.Namespace) -> None:
    # Loaded here: a database on a server needs no SQLite.
    import apsw

    from swarm_persistence.engines.sql.sqlite.failures import translate
    from swarm_persistence.engines.sql.sqlite.file import resolve
    from swarm_persistence.engines.sql.sqlite.migrations import LATEST
    from swarm_persistence.engines.sql.sqlite.settings import SqliteSettings

    version = _checked(arguments.to, LATEST)
    report = progress_printer(arguments)
    path = resolve(name)
    settings = SqliteSettings()
    try:
        current = _version_of(path, settings.connection_timeout)
        steps = planned_on_file(current, version)
        if arguments.plan and not arguments.json:
            print_plan(path, current, version, steps)
        if not arguments.plan:
            report(f"{path}: version {current}")
            _migrate_file(path, version)
    except apsw.Error as error:
        failure = translate(error, path, settings.connection_timeout)
        raise failure from error
    if arguments.json:
        print_json(plan_record(path, current, version, steps))
    elif not arguments.plan:
        for step in steps:
            report(f"{'took' if step.is_upwards else 'took back'} version {step.version} ({step.name})")
        report(f"{path}: version {version}" if steps else "there was nothing to do")


def _version_of(path: str, timeout: float) -> int:
    """Return the schema version of a file, 0 if it is missing or empty; change nothing."""
    from swarm_persistence.engines.sql.sqlite.file import FileState, inspect
    from swarm_persistence.engines.sql.sqlite.read_only import opened_read_only
    from swarm_persistence.engines.sql.sqlite.schema_version import require_known, status

    inspection = inspect(path, timeout)
    if inspection.refusal is not None and inspection.state is not FileState.INTERRUPTED:
        raise inspection.refusal
    if inspection.state in (FileState.MISSING, FileState.EMPTY, FileState.NEW):
        return 0
    with opened_read_only(Path(path), round(timeout * 1000)) as connection:
        require_known(connection)
        return status(connection).version


def _migrate_file(path: str, version: int) -> None:
    from swarm_persistence.engines.sql.sqlite.connection import BusyHandler, open_connection, switch_to_wal
    from swarm_persistence.engines.sql.sqlite.opening import prepare
    from swarm_persistence.engines.sql.sqlite.schema_version import migrate
    from swarm_persistence.engines.sql.sqlite.settings import SqliteSettings

    settings = SqliteSettings()
    timeout = settings.connection_timeout
    prepare(path, timeout)
    with closing(open_connection(path, settings, BusyHandler(timeout), is_reader=False)) as connection:
        switch_to_wal(connection, timeout)
        migrate(connection, version)


def _checked(version: int | None, latest: int) -> int:
    if version is None:
        return latest
    if version == 0:
        raise CommandError("--to 0 would drop all tables with their records; `migrate_to(0)` of a storage does that")
    if not 1 <= version <= latest:
        raise CommandError(f"--to is {version}, expected a version that this code knows: 1 to {latest}")
    return version
