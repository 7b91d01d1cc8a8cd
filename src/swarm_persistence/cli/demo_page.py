"""Serves the live page while the demo runs, in a process of its own; says so if the packages for it are missing."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from swarm_persistence.storage import Storage


@asynccontextmanager
async def demo_page(storage: Storage) -> AsyncIterator[str]:
    """Yield a line that tells where the page is."""
    try:
        from swarm_persistence.web import swarm_app
        from swarm_persistence.web.server import serving
    except ImportError:
        yield 'page: none; to see one: pip install "swarm-persistence[web]"'
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with serving(swarm_app(storage), listener) as url:
            yield f"page: {url} (until the demo ends; later: swarm-persistence serve)"
