"""The entry point: parses the arguments, runs a command, and turns errors into one line and an exit code."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, TextIO

from swarm_persistence import __version__
from swarm_persistence.cli import (
    agents,
    backup,
    checksums,
    completion,
    copying,
    delete,
    demo,
    doctor,
    erase,
    events,
    import_rust,
    limits,
    mcp,
    messages,
    migrate,
    partition,
    prune,
    recover,
    schedules,
    serve,
    stats,
    tasks,
    top,
    worker,
)
from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.records import printable
from swarm_persistence.demo.failure import DemoError
from swarm_persistence.errors import StorageError

PROGRAM = "swarm-persistence"

# In the order of the help.
_RUNNING = (demo, worker, serve, mcp)
_SHOWING = (stats, top, tasks, schedules, limits, agents, events, messages)
_MAINTAINING = (doctor, migrate, prune, partition, recover, copying, import_rust, delete, erase, backup, checksums)

_EXIT_CODES = """\
exit codes: 0 all is well, 1 something is wrong, 2 the command could not be run as given, 130 stopped by Ctrl-C"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return the exit code."""
    # A stream that the caller has closed, as `>&-` does, is `None`.
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without Unicode gets question marks, not a traceback
    parsed = make_parser().parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
        sys.stdout.flush()
    except CommandError as error:
        return _fail(error, error.exit_code)
    except (StorageError, DemoError) as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except OSError as error:
        # Standard output itself may have failed: the disk is full, or the reader has exited, as `| head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1 if isinstance(error, BrokenPipeError) else _fail(error, 1)
    return code


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser: argparse.ArgumentParser = _Parser(
        prog=PROGRAM,
        description="Durable agents, tasks, events, messages, metrics and documents for AI-agent swarms.",
        epilog=_EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (*_RUNNING, *_SHOWING, *_MAINTAINING):
        command.add_parser(commands)
    completion.add_parser(commands, make_parser)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and repeat no URL, which may contain a password."""

    _given: Sequence[str] = ()

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        self._given = sys.argv[1:] if args is None else [*args]
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            # Otherwise the top-level parser would report the error, without the name of the command.
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        for given in self._given:
            rest = given.partition("://")[2]
            for text in (rest, repr(rest)[1:-1]):
                message = message.replace(f"://{text}", "://…") if text else message
        self.exit(2, f"{self.prog}: error: {printable(' '.join(message.split()))}; see {self.prog} --help\n")


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def _fail(reason: object, code: int) -> int:
    print(f"{PROGRAM}: {' '.join(str(reason).split())}", file=sys.stderr)
    return code
