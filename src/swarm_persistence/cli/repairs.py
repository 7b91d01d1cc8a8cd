"""The repairs of `doctor --repair` for an SQLite file, each with a check that tells whether it is needed."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import msgspec

from swarm_persistence.cli.finding import Finding, ok, wrong
from swarm_persistence.cli.remedies import command
from swarm_persistence.engines.sql.sqlite import rust_crate, schema_version, waits
from swarm_persistence.engines.sql.sqlite.connection import BusyHandler, open_connection
from swarm_persistence.engines.sql.sqlite.migrations import LATEST
from swarm_persistence.engines.sql.sqlite.settings import SqliteSettings


class Repair(msgspec.Struct, frozen=True):
    """One repair."""

    check: str
    sound: str
    """The finding on a file that does not need it."""
    find: Callable[[apsw.Connection], tuple[str, ...]]
    """Describe what needs the repair; read-only."""
    run: Callable[[apsw.Connection], object]
    """Repair it in one transaction."""
    is_deep: bool = False
    """Whether `find` reads all records, and so needs a file of the latest version."""


REPAIRS = (
    Repair(
        "other programs",
        "none has added its own tables to the file",
        rust_crate.find_traces,
        rust_crate.repair,
    ),
    Repair(
        "waiting",
        "each task waits for exactly its dependencies",
        waits.find_contradictions,
        waits.repair,
        is_deep=True,
    ),
)


def examine_needs(path: Path, connection: apsw.Connection, *, is_deep: bool) -> Iterator[Finding]:
    """Yield a finding for each repair of this kind: whether it is needed."""
    for repair in REPAIRS:
        if repair.is_deep is not is_deep:
            continue
        if found := repair.find(connection):
            # No backup first: the storage, which makes one, refuses a file that another program has written to.
            remedy = f"run {command('doctor', path, '--repair')}, which repairs it in one transaction"
            yield wrong(repair.check, "; ".join(found), remedy)
        else:
            yield ok(repair.check, repair.sound)


def repair_all(path: Path) -> Iterator[Finding]:
    """Run the repairs that are needed, and yield what was repaired."""
    settings = SqliteSettings()
    busy_handler = BusyHandler(settings.connection_timeout)
    with closing(open_connection(str(path.resolve()), settings, busy_handler, is_reader=False)) as connection:
        for repair in REPAIRS:
            if repair.is_deep and schema_version.status(connection).version != LATEST:
                continue
            if found := repair.find(connection):
                repair.run(connection)
                yield ok("repaired", f"{repair.check}: {'; '.join(found)}")
