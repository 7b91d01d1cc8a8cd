"""`swarm-persistence mcp`: serves a swarm to an agent that speaks the Model Context Protocol, over stdio."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from swarm_persistence.backends.memory import MemoryStorage
from swarm_persistence.backends.targets import default_target, init_storage
from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.target import add_database, shown
from swarm_persistence.cli.telemetry import export_last_spans, instrument_if_provided

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server import Server

    from swarm_persistence.storage import Storage

_CANCELLATION_SECONDS = 0.2
"""How long to wait for the calls in flight to end, while standard input is still read."""

_DESCRIPTION = """\
Let a language model take part in a swarm: serve its tasks, messages, events, metrics and memories as tools and
resources of the Model Context Protocol, over standard input and output. The program that runs the model starts this
command itself, as its configuration says; any number of them, and of workers, can share one database."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("mcp", help="let language models take part, by MCP", description=_DESCRIPTION)
    add_database(parser, "in the directory where it starts")
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
    asyncio.run(_serve(arguments.database or default_target(), swarm_server))
    return 0


async def _serve(target: str, swarm_server: "Callable[[Storage], Server[Any]]") -> None:
    async with await init_storage(target) as storage:
        if isinstance(storage, MemoryStorage):
            raise CommandError("a database in memory is this process's own, and no agent shares it; name a file or URL")
        print(f"database: {shown(str(getattr(storage, 'path', target)))}", file=sys.stderr, flush=True)
        instrument_if_provided(storage)
        stop_signal = await _serve_until_stopped(swarm_server(storage))
    if stop_signal is not None:
        # A thread waits for standard input, which cannot be interrupted, and the interpreter would wait for it.
        export_last_spans()
        os._exit(128 + stop_signal)


async def _serve_until_stopped(server: "Server[Any]") -> int | None:
    """Serve until standard input ends, or until a signal, which is returned."""
    from mcp import stdio_server

    async def serve() -> None:
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()

    def stop(number: int) -> None:
        if stopped.done():
            os._exit(128 + number)
        stopped.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # on Windows
            loop.add_signal_handler(number, stop, number)
    serving = asyncio.create_task(serve())
    await asyncio.wait((serving, stopped), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving
        return None
    # The storage would wait for the calls in flight.
    serving.cancel()
    await asyncio.wait((serving,), timeout=_CANCELLATION_SECONDS)
    return stopped.result()
