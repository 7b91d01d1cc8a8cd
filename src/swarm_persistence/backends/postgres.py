"""`PostgresStorage`: the storage on a PostgreSQL server, and its builder."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Self

try:
    import asyncpg  # noqa: F401 - looked for here, to say in one line what is missing
except ImportError as error:
    raise ImportError("PostgreSQL needs asyncpg; pip install 'swarm-persistence[postgres]' brings it") from error

import msgspec

from swarm_persistence.backends.commenting import commenting
from swarm_persistence.backends.pools import PooledStorageBuilder
from swarm_persistence.durations import in_seconds
from swarm_persistence.engines.pools import Durability
from swarm_persistence.engines.sql.postgres.engine import PostgresEngine
from swarm_persistence.engines.sql.postgres.settings import PERIODS, Period, PostgresSettings, PreparedStatements
from swarm_persistence.engines.surroundings import running_loop
from swarm_persistence.errors import OtherError, shown
from swarm_persistence.models import AgentModel
from swarm_persistence.storage import Storage

_log = logging.getLogger("swarm_persistence")


class PostgresStorage(Storage):
    """A storage in one schema of a PostgreSQL database, which any number of processes of many machines may share."""

    _engine: PostgresEngine

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        schema: str | None = None,
        durability: Durability = "full",
        must_exist: bool = False,
        migrate: bool = True,
    ) -> Self:
        """Reach the server, and bring the schema up to date.

        The URL is `postgresql://user:password@host1:5432,host2:5432/database`, with options as `?name=value&…`:
        PostgreSQL's own ones, such as `sslmode` and `target_session_attrs`, and the builder's. With several hosts, the
        one that takes writes is used. `schema` names the schema that holds the tables; it is `swarm` unless the URL
        says otherwise. `durability="full"` keeps every write whose call has returned, whatever the role is set to.
        With `"normal"`, a crash of the server may take the last ones before it, and the numbers of those events and
        messages may be given out again, as on SQLite. With `must_exist`, a schema without a swarm is refused, and none
        is created.

        A newer schema is opened if it says that this code may work on it. With `migrate=False`, the schema is left as
        it is, and refused if it is missing or too old; `swarm-persistence migrate` changes it.

        Raises:
            DatabaseError: no server can be used; the text names each and the cause. Or the schema must exist, and does
                not.
            MigrationError: the schema is too new or, with `migrate=False`, too old for this code; or a step failed.
            OtherError: the URL or an option of it makes no sense.

        """
        settings = PostgresSettings(durability=durability, migrate=migrate)
        if schema is not None:
            settings = msgspec.structs.replace(settings, schema=schema)
        return await cls._open(url, settings, must_exist=must_exist)

    @classmethod
    def builder(cls) -> "PostgresStorageBuilder":
        """Return a builder with the default settings."""
        return PostgresStorageBuilder()

    @classmethod
    async def _open(cls, url: str, settings: PostgresSettings, *, must_exist: bool = False) -> Self:
        running_loop()
        engine = PostgresEngine.of(url, settings)
        await engine.open(must_exist=must_exist)
        return (commenting(cls) if engine.settings.query_comments else cls)(engine)

    async def partition(self, period: Period | None, report: Callable[[str], object] | None = None) -> None:
        """Partition events, messages and metrics by `day`, `week` or `month` from now on, or no longer (`None`).

        Readers and writers go on meanwhile. What is stored already becomes the first partition. `prune` drops a
        partition whose period is over, and of which all is to be deleted. `report` is told of each table.

        Raises:
            MigrationError: the role does not own the tables, or they stayed locked, or the server is older than 14.
            OtherError: the period is none of these.

        """
        self._require_no_transaction("partition")
        if period not in (None, *PERIODS):
            raise OtherError(f"period is {shown(period)}, expected one of {', '.join(PERIODS)}, or None")
        await (await self._engine.opened()).partition(period, report or _log.info)

    async def partitions(self) -> dict[str, str]:
        """Return which tables are partitioned, and by which period."""
        return await (await self._engine.opened()).partitions()

    def _begin_service(self, agent: AgentModel) -> None:
        if self._is_usable:
            self._engine.pools.begin_service(agent.name)

    def _end_service(self, agent: AgentModel) -> None:
        if self._is_usable:
            self._engine.pools.end_service(agent.name)

    def __repr__(self) -> str:
        if not self._is_usable:
            return "PostgresStorage"
        schema = "" if self._first is None else f".schema({self.schema_name!r})"
        return f"PostgresStorage({str(self._engine.pools.target)!r}){schema}"


class PostgresStorageBuilder(PooledStorageBuilder[PostgresSettings]):
    """Sets up a `PostgresStorage`; each method changes the builder and returns it. Durations: seconds or timedelta.

    What the URL says goes before what the builder says. `connection_timeout` also limits the wait for a server that is
    restarted or replaced.
    """

    def __init__(self) -> None:
        self._settings = PostgresSettings()

    def schema(self, name: str) -> Self:
        """Set the schema that holds the tables. Default `swarm`."""
        return self._set(schema=name)

    def operation_timeout(self, timeout: float | timedelta) -> Self:
        """Set how long the server may take for one statement before its connection is given up. Default 60 s."""
        return self._set(operation_timeout=in_seconds(timeout))

    def parallel_transactions(self, are_parallel: bool = True) -> Self:
        """Let this storage's transactions and writes go on beside an open transaction. Default: they wait for it.

        Then a read followed by a write, in one transaction, may be overtaken by another one, as it may by other
        processes: the write of an agent or a task whose version has changed raises `ConflictError`.
        """
        return self._set(parallel_transactions=are_parallel)

    def partition_by(self, period: Period) -> Self:
        """Partition events, messages and metrics of a new schema by `day`, `week` or `month`; `prune` drops those.

        A schema that holds such records and is not partitioned so is refused: `swarm-persistence partition` changes it.
        """
        return self._set(partition_by=period)

    def prepared_statements(self, use: PreparedStatements) -> Self:
        """Set whether statements stay prepared: `on`, `off`, or `auto` (the default): behind a pooler, if it keeps
        the statements of its clients apart.
        """
        return self._set(prepared_statements=use)

    def query_comments(self, has_comments: bool = True) -> Self:
        """Let each statement name the verb that it belongs to, in a comment of sqlcommenter's format. Default: not."""
        return self._set(query_comments=has_comments)

    async def build(self, url: str) -> PostgresStorage:
        """Open the storage; raises what `PostgresStorage.open` raises, and `OtherError` for a setting without sense."""
        return await PostgresStorage._open(url, self._settings)
