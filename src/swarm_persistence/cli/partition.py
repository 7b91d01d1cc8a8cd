"""`swarm-persistence partition`: keeps the history of a schema on PostgreSQL in parts by time, or whole again."""

import argparse
import asyncio

from swarm_persistence.cli.failure import CommandError
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
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Change the layout, and return the exit code."""
    if arguments.database.partition("://")[0] not in SCHEMES:
        raise CommandError(f"{shown(arguments.database)} is no PostgreSQL database; no other one has partitions")
    asyncio.run(_change(arguments.database, None if arguments.by == _NONE else arguments.by))
    return 0


async def _change(url: str, period: str | None) -> None:
    from swarm_persistence.backends.postgres import PostgresStorage

    async with await PostgresStorage.open(url, must_exist=True) as storage:
        await storage.partition(period, _say)  # type: ignore[arg-type]


def _say(text: str) -> None:
    print(text, flush=True)
