"""A PgBouncer that tests start for themselves."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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


@asynccontextmanager
async def new_pooler(server: Server, *, size: int = 3) -> AsyncIterator[str]:
    """Start a PgBouncer in transaction mode before a server, with so many connections to it, and give its URL."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        raise RuntimeError("the tests of poolers need PgBouncer; on Debian: apt-get install pgbouncer")
    with new_folder() as folder:
        own_port = free_port()
        (folder / "users").write_text(f'"{USER}" "{PASSWORD}"\n')
        text = CONFIGURATION.format(
            port=server.port, user=USER, password=PASSWORD, own_port=own_port, folder=folder, size=size
        )
        (folder / "pgbouncer.ini").write_text(text)
        for path in (folder, *folder.iterdir()):
            path.chmod(0o755)
        process = subprocess.Popen(  # noqa: ASYNC220 - quick, and watched below
            [program, str(folder / "pgbouncer.ini")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, **as_nobody(),
        )  # fmt: skip
        try:
            url = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{own_port}/postgres"
            await _answers(url, process)
            yield url
        finally:
            process.terminate()
            process.wait()


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
