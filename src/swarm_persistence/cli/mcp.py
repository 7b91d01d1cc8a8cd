"""`swarm-persistence mcp`: serves a swarm to an agent that speaks the Model Context Protocol, over stdio."""

import argparse
import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from swarm_persistence.backends.memory import MemoryStorage
from swarm_persistence.backends.targets import DATABASE_VARIABLE, DEFAULT_PATH, init_storage
from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.target import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server import Server

    from swarm_persistence.storage import Storage

_DESCRIPTION = """\
Let a language model take part in a swarm: serve its tasks, messages, events, metrics and memories as tools and
resources of the Model Context Protocol, over standard input and output. The program that runs the model starts this
command itself, as its configuration says; any number of them, and of workers, can share one database."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("mcp", help="let language models take part, by MCP", description=_DESCRIPTION)
    parser.add_argument(
        "database",
        metavar="DATABASE",
        nargs="?",
        help=f"a path or URL (default: ${DATABASE_VARIABLE}, else {DEFAULT_PATH} in the directory where it starts)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until standard input ends, and return the exit code."""
    try:
        # Loaded before the database is opened, and by this command only.
        from swarm_persistence.mcp import swarm_server
    except ImportError as error:
        raise CommandError(str(error)) from None
    # Standard output carries the protocol.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(_serve(arguments.database or os.environ.get(DATABASE_VARIABLE) or DEFAULT_PATH, swarm_server))
    return 0


async def _serve(target: str, swarm_server: "Callable[[Storage], Server[Any]]") -> None:
    from mcp import stdio_server

    async with await init_storage(target) as storage:
        if isinstance(storage, MemoryStorage):
            raise CommandError("a database in memory is this process's own, and no agent shares it; name a file or URL")
        print(f"database: {shown(str(getattr(storage, 'path', target)))}", file=sys.stderr, flush=True)
        server = swarm_server(storage)
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
