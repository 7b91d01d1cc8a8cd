"""`swarm-persistence serve`: serves a swarm over HTTP: its API, its live page, and MCP."""

import argparse
import asyncio
import ipaddress
import logging
import os
import signal
import socket
import stat
import sys
from pathlib import Path

from swarm_persistence.backends.targets import default_target, init_storage
from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.target import add_database, existing_file, open_existing, shown
from swarm_persistence.cli.telemetry import instrument_if_provided
from swarm_persistence.storage import Storage

_DESCRIPTION = """\
Serve a swarm over HTTP: a live page for people, an API under /api/v1 for programs in any language, and MCP at /mcp for
language models. It listens to this machine only, unless --host says otherwise; then it asks for the token of
--token-file. SIGTERM or Ctrl-C ends it, and the streams of its clients, at once."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("serve", help="serve the live page, the HTTP API and MCP", description=_DESCRIPTION)
    add_database(parser)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen to (default: 127.0.0.1)")
    parser.add_argument(
        "--port", type=_port, default=8787, metavar="N", help="the port (default: 8787; 0: any free one)"
    )
    parser.add_argument("--read-only", action="store_true", help="show everything, change nothing")
    parser.add_argument(
        "--token-file", type=Path, metavar="F", help="ask for the token that this file holds, 16 characters or more"
    )
    parser.add_argument(
        "--no-auth", action="store_true", help="ask for no token on any address; there only with --read-only"
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name of this server, besides addresses and localhost; may be repeated",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal, and return the exit code."""
    try:
        import uvicorn  # noqa: F401 - to tell before the database is opened

        from swarm_persistence.web import swarm_app  # noqa: F401
    except ImportError as error:
        if error.name == "uvicorn":
            raise CommandError('this needs uvicorn: pip install "swarm-persistence[web]"') from None
        raise CommandError(str(error)) from None
    token = _token(arguments)
    family, address = _address(arguments.host, arguments.port)
    _require_safety(arguments, address[0], token)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    try:
        listener = socket.create_server(address, family=family, backlog=2048)
    except OSError as error:
        raise CommandError(f"cannot listen to {arguments.host} port {arguments.port}: {error.strerror}", 1) from None
    with listener:
        stopped_by = asyncio.run(_serve(arguments, token, listener))
    return 130 if stopped_by is signal.SIGINT else 0


async def _serve(arguments: argparse.Namespace, token: str | None, listener: socket.socket) -> signal.Signals | None:
    from swarm_persistence.web import swarm_app
    from swarm_persistence.web.server import SwarmServer, url_of

    target = arguments.database or default_target()
    async with await _open(target, read_only=arguments.read_only) as storage:
        instrument_if_provided(storage)
        hosts = [arguments.host, *arguments.allow_host]
        app = swarm_app(storage, read_only=arguments.read_only, token=token, hosts=hosts)

        def announce() -> None:
            print(f"database: {shown(str(getattr(storage, 'path', target)))}")
            print(f"page: {url_of(listener)}", flush=True)

        server = SwarmServer(app, announce=announce)
        await server.serve(sockets=[listener])
    return server.stopped_by


async def _open(target: str, *, read_only: bool) -> Storage:
    if read_only:
        return await open_existing(str(existing_file(target) or target), migrate=False)
    return await init_storage(target)


def _token(arguments: argparse.Namespace) -> str | None:
    path: Path | None = arguments.token_file
    if path is None:
        return None
    if arguments.no_auth:
        raise CommandError("--no-auth asks for no token, and --token-file for one: leave one of them out")
    try:
        token = path.read_text().strip()
        is_readable_by_all = os.name == "posix" and bool(path.stat().st_mode & stat.S_IROTH)
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot read the token from {str(path)!r}: {error}") from None
    from swarm_persistence.web.access import require_secret

    require_secret(token)
    if is_readable_by_all:
        # Only warn, unlike ssh: secrets that Kubernetes mounts are world-readable by default.
        print(f"warning: every user of this machine can read the token in {str(path)!r}: chmod 600", file=sys.stderr)
    return token


def _require_safety(arguments: argparse.Namespace, address: str, token: str | None) -> None:
    if token is not None or ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        return
    if arguments.no_auth and arguments.read_only:
        return
    raise CommandError(
        f"on {arguments.host}, any machine that reaches this one could read and change the swarm: give "
        "--token-file, or --read-only --no-auth to let all of them read"
    )


def _address(host: str, port: int) -> tuple[int, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise CommandError(f"--host is {host!r}: {error}") from None
    family, *_, address = found[0]
    return family, (str(address[0]), port)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, expected 0 to 65535")
    return int(text)
