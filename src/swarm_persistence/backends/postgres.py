"""`PostgresStorage`: the storage on a PostgreSQL server, and its builder."""

import inspect
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from functools import cache, wraps
from typing import Any, Self, TypeVar

try:
    import asyncpg  # noqa: F401 - imported here to report a missing extra in one line
except ImportError as error:
    raise ImportError("PostgreSQL needs asyncpg; pip install 'swarm-persistence[postgres]' brings it") from error

import msgspec

from swarm_persistence.backends.pools import PooledStorageBuilder
from swarm_persistence.durations import in_seconds
from swarm_persistence.engines.pools import Durability
from swarm_persistence.engines.runtime import running_loop
from swarm_persistence.engines.sql.postgres.comments import VERB
from swarm_persistence.engines.sql.postgres.engine import PostgresEngine
from swarm_persistence.engines.sql.postgres.settings import PERIODS, Period, PostgresSettings, PreparedStatements
from swarm_persistence.errors import OtherError, shown
from swarm_persistence.models import AgentModel
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence.schema.tables import M
from swarm_persistence.storage import Repository, Storage

_log = logging.getLogger(__name__)

S = TypeVar("S", bound=Storage)

_PASS_ON = ("close", "run_transaction")
"""Verbs that run others, or no statement."""


class PostgresStorage(Storage):
    """A storage in one schema of a PostgreSQL database, which any number of processes of many machines may share."""

    database_system = "postgresql"

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
        """Connect to the server, and migrate the schema to the latest version.

        The URL is `postgresql://user:password@host1:5432,host2:5432/database`, with options as `?name=value&…`:
        those of PostgreSQL, such as `sslmode` and `target_session_attrs`, and those of the builder. With several hosts,
        the one that accepts writes is used. `schema` is the schema of the tables, `swarm` unless the URL names another
        one. With `durability="full"`, every write whose call has returned is durable, whatever the role's settings.
        With `"normal"`, a crash of the server may lose the last writes, and the sequences of lost events and messages
        may be assigned again, as on SQLite. With `must_exist`, a schema without a swarm is refused, and none is
        created.

        A newer schema is opened if it is marked as compatible with this code. With `migrate=False`, the schema is not
        changed, and refused if it is missing or too old; run `swarm-persistence migrate` to change it.

        Raises:
            DatabaseError: no server can be used (the message names each, with the cause), or the schema must exist and
                does not.
            MigrationError: the schema is too new, or too old with `migrate=False`, or a migration failed.
            OtherError: the URL or one of its options is invalid.

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
        """Partition events, messages and metrics by `day`, `week` or `month`, or with `None` merge the partitions.

        This does not block readers and writers. The stored rows become the first partition. `prune` drops a partition
        if its period is over and all of its rows are to be deleted. `report` is called for each table.

        Raises:
            MigrationError: the role does not own the tables, or they stayed locked, or the server is older than 14.
            OtherError: the period is unknown.

        """
        self._require_no_transaction("partition")
        if period not in (None, *PERIODS):
            raise OtherError(f"period is {shown(period)}, expected one of {', '.join(PERIODS)}, or None")
        await (await self._engine.opened()).partition(period, report or _log.info)

    async def partitions(self) -> dict[str, str]:
        """Return which tables are partitioned, and by which period."""
        return await (await self._engine.opened()).partitions()

    def begin_service(self, agent: AgentModel) -> None:
        super().begin_service(agent)
        if self._is_usable:
            self._engine.pools.begin_service(agent.name)

    def end_service(self, agent: AgentModel) -> None:
        if self._is_usable:
            self._engine.pools.end_service(agent.name)

    def __repr__(self) -> str:
        if not self._is_usable:
            return "PostgresStorage"
        schema = "" if self._first is None else f".schema({self.schema_name!r})"
        return f"PostgresStorage({str(self._engine.pools.target)!r}){schema}"


class PostgresStorageBuilder(PooledStorageBuilder[PostgresSettings]):
    """Configures a `PostgresStorage`; each method changes the builder and returns it. Durations: seconds or timedelta.

    URL options override builder settings. `connection_timeout` also limits the wait for a server that is restarting or
    failing over.
    """

    def __init__(self) -> None:
        self._settings = PostgresSettings()

    def schema(self, name: str) -> Self:
        """Set the schema of the tables. Default `swarm`."""
        return self._set(schema=name)

    def operation_timeout(self, timeout: float | timedelta) -> Self:
        """Set how long one statement may take before its connection is closed. Default 60 s."""
        return self._set(operation_timeout=in_seconds(timeout))

    def parallel_transactions(self, are_parallel: bool = True) -> Self:
        """Let transactions and writes of this storage run in parallel. Default: they wait for an open transaction.

        In parallel, a read followed by a write in one transaction may race with another transaction, as it may with
        those of other processes: writing an agent or task whose version has changed raises `ConflictError`.
        """
        return self._set(parallel_transactions=are_parallel)

    def partition_by(self, period: Period) -> Self:
        """Partition events, messages and metrics of a new schema by `day`, `week` or `month`; `prune` drops partitions.

        A schema with such records and another partitioning is refused: run `swarm-persistence partition` to change it.
        """
        return self._set(partition_by=period)

    def prepared_statements(self, use: PreparedStatements) -> Self:
        """Set whether statements stay prepared: `on`, `off`, or `auto` (the default).

        `auto` means `on`, except behind a pooler that does not track the prepared statements of its clients.
        """
        return self._set(prepared_statements=use)

    def query_comments(self, has_comments: bool = True) -> Self:
        """Append a comment with the name of the verb, in sqlcommenter's format, to each statement. Default `False`."""
        return self._set(query_comments=has_comments)

    async def build(self, url: str) -> PostgresStorage:
        """Open the storage; raises what `PostgresStorage.open` raises, and `OtherError` for an invalid setting."""
        return await PostgresStorage._open(url, self._settings)


def commenting(storage: type[S]) -> type[S]:
    """Return a subclass that passes the name of each verb to its statements.

    It costs one more coroutine per call, only for storages that ask for comments.
    """
    known: Any = storage  # mypy does not accept a class as hashable
    made: type[S] = _commenting(known)
    return made


@cache
def _commenting(storage: Any) -> Any:
    def repository(self: Storage, model: type[M]) -> Repository[M]:
        return _CommentingRepository(self, model)

    members: dict[str, Any] = {
        name: _with_verb(name, method) for name, method in _verbs(storage).items() if name not in _PASS_ON
    }
    # The blocking storage calls it directly.
    members |= {"_claim_by_id": _with_verb("claim_task", storage._claim_by_id), "repository": repository}
    members |= {name: getattr(storage, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(storage.__name__, (storage,), members)


def _verbs(owner: type[Any]) -> dict[str, Callable[..., Coroutine[Any, Any, Any]]]:
    methods = inspect.getmembers(owner, inspect.iscoroutinefunction)
    return {name: method for name, method in methods if not name.startswith("_")}


def _with_verb(verb: str, method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        if VERB.get() is not None:  # the outermost verb gives the name
            return await method(*args, **kwargs)
        token = VERB.set(verb)
        try:
            return await method(*args, **kwargs)
        finally:
            VERB.reset(token)

    return call


class _CommentingRepository(Repository[M]):
    """A repository that passes on the names of its verbs as well."""

    async def batches(
        self, builder: QueryBuilder[M] | None = None, *, batch_size: int = 1000
    ) -> AsyncIterator[list[M]]:
        batches = super().batches(builder, batch_size=batch_size)

        async def next_batch() -> list[M] | None:
            return await anext(batches, None)

        following = _with_verb("repository.batches", next_batch)
        while (batch := await following()) is not None:
            yield batch


for _name, _method in _verbs(Repository).items():
    setattr(_CommentingRepository, _name, _with_verb(f"repository.{_name}", _method))
