"""A PgBouncer that tests start for themselves."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from postgres.servers import PASSWORD, USER, Server, as_nobody, free_port, new_folder

CONFIGURATION = """
[databases]
postgres = host=127.0.0.1 port={port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
auth_type = plain
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 100
server_login_retry = 1
unix_socket_dir =
"""

FIRST_TO_KEEP_STATEMENTS = (1, 21)
"""The version that is the first to keep apart the statements that its clients prepare."""


def pooler_program() -> Path:
    """Return the program: the one that the environment's PGBOUNCER names, or the system's."""
    found = os.environ.get("PGBOUNCER") or shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if found is None:
        raise RuntimeError("the tests of poolers need PgBouncer; on Debian: apt-get install pgbouncer")
    return Path(found)


def pooler_version() -> tuple[int, ...]:
    """Return the version of the program."""
    said = subprocess.run([pooler_program(), "--version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", said)
    assert found is not None, said
    return tuple(map(int, found.groups()))


class Pooler:
    """A PgBouncer in transaction mode."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes]
        self.url = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(  # noqa: ASYNC220 - quick, and watched below
            [str(pooler_program()), str(self._folder / "pgbouncer.ini")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._folder, **as_nobody(),
        )  # fmt: skip
        await _answers(self.url, self._process)

    def stop(self) -> None:
        """End it at once, with all connections."""
        self._process.kill()  # newer ones wait, once asked to end, for their clients to leave
        self._process.wait()


@asynccontextmanager
async def new_pooler(
    server: Server, *, size: int = 3, max_prepared_statements: int | None = None
) -> AsyncIterator[str]:
    """Start a PgBouncer in transaction mode before a server, with so many connections to it, and give its URL."""
    async with new_restartable_pooler(server, size=size, max_prepared_statements=max_prepared_statements) as pooler:
        yield pooler.url


@asynccontextmanager
async def new_restartable_pooler(
    server: Server, *, size: int = 3, max_prepared_statements: int | None = None
) -> AsyncIterator[Pooler]:
    """Start one that can be stopped, and started again."""
    with new_folder() as folder:
        own_port = free_port()
        (folder / "users").write_text(f'"{USER}" "{PASSWORD}"\n')
        text = CONFIGURATION.format(
            port=server.port, user=USER, password=PASSWORD, own_port=own_port, folder=folder, size=size
        )
        if max_prepared_statements is not None and pooler_version() >= FIRST_TO_KEEP_STATEMENTS:
            text += f"max_prepared_statements = {max_prepared_statements}\n"
        (folder / "pgbouncer.ini").write_text(text)
        for path in (folder, *folder.iterdir()):
            path.chmod(0o755)
        pooler = Pooler(folder, own_port)
        await pooler.start()
        try:
            yield pooler
        finally:
            pooler.stop()


async def _answers(url: str, process: "subprocess.Popen[bytes]") -> None:
    async with asyncio.timeout(20):
        while process.poll() is None:
            try:
                connection = await asyncpg.connect(url, statement_cache_size=0)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                await connection.close()
                return
    raise RuntimeError(f"PgBouncer ended with {process.returncode}")
