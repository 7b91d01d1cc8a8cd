"""`swarm-persistence partition`: partitions the history of a PostgreSQL schema by time, or merges the partitions."""

import argparse
import asyncio
from collections.abc import Callable

from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.records import print_json, progress_printer
from swarm_persistence.cli.target import shown
from swarm_persistence.engines.sql.postgres.settings import PERIODS
from swarm_persistence.engines.sql.postgres.url import SCHEMES

_DESCRIPTION = """\
Partition the events, messages and metrics of a schema on PostgreSQL by time, so that prune drops whole periods
instead of deleting row by row; or, with --by none, make them plain tables again. This goes on beside readers and
writers. Run it as the role that owns the schema, after all workers have been upgraded."""

_NONE = "none"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("partition", help="partition history on PostgreSQL by time", description=_DESCRIPTION)
    parser.add_argument("database", metavar="URL", help="a postgresql:// URL")
    parser.add_argument("--by", required=True, choices=(*PERIODS, _NONE), help="the period, in UTC")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Change the layout, and return the exit code."""
    if arguments.database.partition("://")[0] not in SCHEMES:
        raise CommandError(f"{shown(arguments.database)} is not a PostgreSQL database; only PostgreSQL has partitions")
    period = None if arguments.by == _NONE else arguments.by
    partitions = asyncio.run(_change(arguments.database, period, progress_printer(arguments)))
    if arguments.json:
        print_json({"database": shown(arguments.database), "partitions": partitions})
    return 0


async def _change(url: str, period: str | None, report: Callable[[str], None]) -> dict[str, str]:
    from swarm_persistence.backends.postgres import PostgresStorage

    async with await PostgresStorage.open(url, must_exist=True) as storage:
        await storage.partition(period, report)  # type: ignore[arg-type]
        return await storage.partitions()
