"""What `doctor` says of a swarm on a PostgreSQL server, and puts right there."""

from collections.abc import AsyncIterator

import swarm_persistence.backends.postgres  # noqa: F401 - says in one line if the driver is missing
from swarm_persistence.cli.finding import Finding, advice, ok, wrong
from swarm_persistence.engines.sql.postgres.engine import PostgresEngine
from swarm_persistence.engines.sql.postgres.settings import Settings


async def examine_server(url: str, *, is_repairing: bool) -> list[Finding]:
    """Return all findings, after what was repaired.

    Raises:
        StorageError: the server cannot be reached, it holds no swarm there, or this role may not do that.

    """
    engine = PostgresEngine(url, Settings())
    try:
        await engine.require()
        findings: list[Finding] = []
        if is_repairing and (replaced := await engine.replace_foreign_changes()):
            findings.append(ok("repaired", f"change numbers: those of {replaced} tasks were another server's"))
        return [*findings, *[finding async for finding in _examine(engine)]]
    finally:
        await engine.close()


async def _examine(engine: PostgresEngine) -> AsyncIterator[Finding]:
    status = await engine.migration_status()
    if status.version == status.latest:
        yield ok("schema", f"version {status.version}, the latest")
    elif status.version < status.latest:
        yield advice("schema", f"version {status.version} of {status.latest}", "open the storage as the schema's owner")
    else:
        yield wrong("schema", f"version {status.version}, and this code knows {status.latest}", "upgrade the package")
    if count := await engine.count_foreign_changes():
        yield wrong(
            "change numbers",
            f"{count} tasks bear numbers of another server, as after a restore of a dump: watch_tasks misses them",
            "run `swarm-persistence doctor --repair`, or open the storage as a role that may write",
        )
    else:
        yield ok("change numbers", "this server gave out all of them")
