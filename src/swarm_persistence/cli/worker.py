"""`swarm-persistence worker`: runs a worker with the handlers of a module, until a signal stops it."""

import argparse
import asyncio
import importlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

from swarm_persistence.backends.memory import MemoryStorage
from swarm_persistence.backends.targets import DATABASE_VARIABLE, DEFAULT_PATH, default_target, init_storage
from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.prune import age_in_seconds
from swarm_persistence.cli.records import whole_number
from swarm_persistence.cli.target import shown
from swarm_persistence.cli.telemetry import instrument_if_provided
from swarm_persistence.durations import seconds
from swarm_persistence.errors import InvalidQueryError, SerializationError
from swarm_persistence.models import AgentModel
from swarm_persistence.worker import Worker
from swarm_persistence.worker.failures import described
from swarm_persistence.worker.handlers import handlers_by_type

_DESCRIPTION = """\
Claim tasks and let the handlers of a module do them: a dict from task types to functions of a task, or a function that
returns such a dict. SIGTERM or Ctrl-C lets the running ones finish, within --drain seconds; a second one hands them
back at once."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("worker", help="do tasks with your own handlers", description=_DESCRIPTION)
    parser.add_argument(
        "handlers", metavar="MODULE:HANDLERS", help="where the handlers are; this directory can be imported from"
    )
    parser.add_argument(
        "--database",
        metavar="PATH|URL",
        help=f"where the tasks are (default: ${DATABASE_VARIABLE}, else {DEFAULT_PATH} in this directory)",
    )
    parser.add_argument(
        "--name", help="the agent's name and id; the same again takes it over (default: of host and process)"
    )
    parser.add_argument("--type", default="worker", help="the agent's type (default: worker)")
    parser.add_argument(
        "--capability",
        action="append",
        default=[],
        metavar="NAME",
        help="what tasks may require beside the types of the handlers; may be repeated",
    )
    parser.add_argument(
        "--ageing",
        type=_seconds,
        metavar="S",
        help="a task counts as one priority higher for each S that it has waited",
    )
    parser.add_argument(
        "--concurrency", type=whole_number, default=8, metavar="N", help="how many tasks at once (default: 8)"
    )
    parser.add_argument(
        "--lease", type=_seconds, default=60.0, metavar="S", help="how long a claim outlives this process (default: 60)"
    )
    parser.add_argument("--timeout", type=_seconds, metavar="S", help="how long one task may take (default: any time)")
    parser.add_argument(
        "--drain", type=_seconds, default=30.0, metavar="S", help="how long a stop lets handlers run (default: 30)"
    )
    parser.add_argument(
        "--retention",
        type=age_in_seconds,
        metavar="AGE",
        help="prune by itself what is finished or handled, and older than AGE: 30d, 12h, 90min (default: never)",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="what is logged at least (default: info: the end of each task; debug: its start, too)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the worker, and return the exit code."""
    handlers = _load(arguments.handlers)
    # Does nothing if the module has configured logging.
    level = logging.getLevelNamesMapping()[arguments.log_level.upper()]
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    return asyncio.run(_run(arguments, handlers))


async def _run(arguments: argparse.Namespace, handlers: Mapping[str, Callable[..., Any]]) -> int:
    target = arguments.database or default_target()
    async with await init_storage(target) as storage:
        if isinstance(storage, MemoryStorage):
            raise CommandError("a database in memory is this process's own, and no task would come; name a file or URL")
        instrument_if_provided(storage)
        host, process = socket.gethostname(), os.getpid()
        name: str = arguments.name or f"worker-{host}-{process}"
        agent = AgentModel(
            id=name,
            name=name,
            agent_type=arguments.type,
            capabilities=[*dict.fromkeys((*handlers, *arguments.capability))],
            metadata={"host": host, "pid": process},
        )
        worker = Worker(
            storage,
            agent,
            handlers,
            concurrency=arguments.concurrency,
            lease=arguments.lease,
            ageing=arguments.ageing,
            task_timeout=arguments.timeout,
            drain_timeout=arguments.drain,
            retention=arguments.retention,
        )
        async with worker:
            print(f"database: {shown(getattr(storage, 'path', target))}")
            print(f"worker {name}: up to {arguments.concurrency} at once of {', '.join(handlers)}", flush=True)
            await worker.run()
        told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(worker.outcomes.items()))
        print(f"stopped: {told or 'there was nothing to do'}")
        return 130 if worker.stopped_by is signal.SIGINT else 0


def _load(name: str) -> Mapping[str, Callable[..., Any]]:
    module_name, _, path = name.partition(":")
    if not module_name or not path:
        raise CommandError(f"{name!r} names no handlers, expected MODULE:HANDLERS, as in my_swarm.tasks:handlers")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        handlers: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name in (module_name, module_name.partition(".")[0]):
            raise CommandError(f"there is no module {module_name!r}, neither here nor installed") from error
        raise CommandError(f"{module_name!r} cannot be imported: {described(error)}") from error
    for part in path.split("."):
        try:
            handlers = getattr(handlers, part)
        except AttributeError as error:
            raise CommandError(f"{module_name!r} has no {path!r}") from error
    if callable(handlers) and not isinstance(handlers, Mapping):
        try:
            handlers = handlers()
        except (Exception, SystemExit) as error:
            raise CommandError(f"{name}() failed: {described(error)}") from error
    try:
        handlers_by_type(handlers)
    except (InvalidQueryError, SerializationError) as error:
        raise CommandError(f"{name}: {error.message}") from error
    checked: Mapping[str, Callable[..., Any]] = handlers
    return checked


def _seconds(text: str) -> float:
    try:
        return seconds(float(text), "it")
    except (ValueError, InvalidQueryError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0") from None
