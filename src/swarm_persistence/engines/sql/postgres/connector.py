"""Opens connections to the first usable server of a URL; an error gives the reason for each server."""

import asyncio
import os
import re
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from datetime import UTC, datetime
from functools import partial
from socket import gaierror

import asyncpg
import msgspec

from swarm_persistence.clock import now
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.failures import DRIVER_ERRORS, is_lost, state_of, translate
from swarm_persistence.engines.sql.postgres.pipeline import PipelinedConnection
from swarm_persistence.engines.sql.postgres.settings import PostgresSettings
from swarm_persistence.engines.sql.postgres.statements import LARGEST_CACHE, NamedStatements
from swarm_persistence.engines.sql.postgres.url import PostgresUrl
from swarm_persistence.errors import DatabaseError, OtherError, PoolError, StorageError, with_cause
from swarm_persistence.version import VERSION


class Outage(msgspec.Struct, frozen=True):
    """An outage: which servers, since when, and why."""

    target: str
    since: datetime
    """When the first attempt that failed was made."""
    reasons: str
    """Why each server could not be reached in the latest attempt."""
    cause: BaseException

    def failure_of_a_wait(self, settings: PostgresSettings) -> PoolError:
        """Return the error for a caller whose wait has timed out."""
        return self.failure(f"the call has waited for connection_timeout ({settings.connection_timeout:g} s)")

    def failure(self, waited: str) -> PoolError:
        """Return the error for a caller; `waited` is the duration of its wait."""
        since = f"{self.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        message = f"{self.target}: no server can be reached since {since}, and {waited}: {self.reasons}"
        return with_cause(PoolError(message), self.cause)


OLDEST_SERVER = 13

_FULL = {"53300", "53400"}
"""The server, the database or the role has no connection left."""
_TRANSIENT_STATES = {"57P03", "25006", *_FULL}
"""The server starts up, is a standby that may be promoted, or has no connection left."""

# By the text, which may be truncated: behind a pooler, the process id is unknown. Where activities are not tracked, any
# session of the role counts as the one searched for.
_FIND_STATEMENT = """
SELECT 1
FROM pg_stat_activity
WHERE usename = current_user AND pid <> pg_backend_pid()
  AND (state = 'disabled' OR state = 'active' AND starts_with($1, query))
LIMIT 1
"""


class UnreachableError(Exception):
    """No server could be used; `failure` is the error for the caller."""

    def __init__(self, failure: StorageError, *, is_hopeless: bool) -> None:
        """Keep the failure; `is_hopeless` says that a retry would fail as well."""
        super().__init__(failure.message)
        self.failure = failure
        self.is_hopeless = is_hopeless


class Connector:
    """Opens connections, and caches what it learns about the servers."""

    def __init__(self, target: PostgresUrl, settings: PostgresSettings) -> None:
        self.target = target
        self.settings = settings
        self.application = ApplicationName(target.application_name)
        self.has_pooler = False
        self.named = NamedStatements()
        self.has_written = False
        self._has_checked = False
        self._was_reached = False
        self._first = 0
        self.outage: Outage | None = None
        """Set while no server answers, if one has answered before."""

    @property
    def owns_sessions(self) -> bool:
        """Return whether a session is ours alone, so that settings and prepared statements stay."""
        return not self.has_pooler and self.settings.prepared_statements != "off"

    @property
    def awaits_primary(self) -> bool:
        """Return whether to wait for a primary if the server is read-only: for its promotion, or for another server."""
        return self.has_written or self.target.seeks_primary

    async def open(self, deadline: float) -> Connection:
        """Return a new connection to the first usable server; each is tried once.

        Once a server has been reached, a failure is worth a retry: the server may restart or fail over. Before that,
        only the failure of a server that announces that it will be ready is.

        Raises:
            UnreachableError: no server can be used; its failure gives the reason for each.

        """
        began_at = now()
        failures: list[tuple[str, BaseException]] = []
        for place in range(len(self.target.hosts)):
            position = (self._first + place) % len(self.target.hosts)
            host, port = self.target.hosts[position]
            start = time.monotonic()
            share = max(0.001, (deadline - start) / (len(self.target.hosts) - place))
            try:
                connection = await self._open_one(host, port, start + share)
            except (*DRIVER_ERRORS, StorageError, UnicodeError, OverflowError) as error:
                failures.append((self.target.name_of(host, port), error))
            else:
                self._was_reached = True
                self.outage = None
                self._first = position
                return connection
        is_hopeless = not any(self._is_transient(error) for _, error in failures)
        raise UnreachableError(self._failure(failures, began_at, is_hopeless), is_hopeless=is_hopeless)

    def unexpected_error(self, error: Exception) -> StorageError:
        """Return the caller's error for a failure that is not about a server."""
        if isinstance(error, StorageError):
            return error
        message = f"{self.target}: no connection could be opened ({type(error).__name__})"
        return with_cause(DatabaseError(message), error)

    async def _open_one(self, host: str | None, port: int | None, deadline: float) -> Connection:
        try:
            return await self._try_to_open(host, port, deadline)
        except asyncpg.InvalidCachedStatementError:  # lost by the pooler, which is not trusted with further ones
            return await self._try_to_open(host, port, deadline)

    async def _try_to_open(self, host: str | None, port: int | None, deadline: float) -> Connection:
        owned_sessions = self.owns_sessions
        application_name = self.application.text
        driver = await self._connect(host, port, deadline)
        try:
            if not self._has_checked:
                await self._detect_pooler(driver, deadline)
                if self.owns_sessions is not owned_sessions:
                    driver.terminate()
                    driver = await self._connect(host, port, deadline)
            connection = Connection(
                driver,
                self.target.name_of(host, port),
                self.settings,
                named=self.named,
                is_running=partial(self._is_running, host, port),
            )
            connection.application_name = application_name
            async with _terminated_at(deadline, driver):
                self._require_usable(driver)
                await set_codecs(driver)
                if not self.owns_sessions:
                    await learn_arrays(driver)
                await connection.set_up()
        except BaseException:
            driver.terminate()  # no other code has a reference to it
            raise
        return connection

    async def _connect(self, host: str | None, port: int | None, deadline: float) -> asyncpg.Connection:
        return await asyncpg.connect(
            self.target.dsn,
            host=host,
            port=port,
            timeout=max(0.001, deadline - time.monotonic()),
            max_cached_statement_lifetime=0,
            # Of a session that is not ours, the driver must neither keep statements nor, as it would without a cache,
            # parse them anew by itself: in a cache of statements of one byte, there are none.
            connection_class=asyncpg.Connection if self.owns_sessions else PipelinedConnection,
            statement_cache_size=LARGEST_CACHE if self.owns_sessions else 1,
            max_cacheable_statement_size=0 if self.owns_sessions else 1,
            server_settings=self._server_settings(),
        )

    def _server_settings(self) -> dict[str, str]:
        names = {"application_name": self.application.text}
        # As the server writes it: the driver's own 'utf-8' would let PgBouncer set it before each transaction.
        return names if self.owns_sessions else {**names, "client_encoding": "UTF8"}

    async def _detect_pooler(self, driver: asyncpg.Connection, deadline: float) -> None:
        """Detect a pooler by its process id, which differs from that of the server process."""
        async with _terminated_at(deadline, driver), driver.transaction():
            # Without a name, so that nothing is left behind at a pooler's server.
            number = await (await driver.prepare("SELECT pg_catalog.pg_backend_pid()", name="")).fetchval()
            self.has_pooler = number != driver.get_server_pid()
            if self.has_pooler:
                choice = self.settings.prepared_statements
                self.named.are_kept = choice == "on" or (choice == "auto" and await _keeps_statements(driver))
        self._has_checked = True

    async def _is_running(self, host: str | None, port: int | None, text: str) -> bool:
        """Check on a new connection whether the server runs a statement of this role."""
        try:
            connection = await self._open_one(host, port, time.monotonic() + self.settings.connection_timeout)
        except (*DRIVER_ERRORS, StorageError) as error:
            return state_of(error) in _FULL  # then it is alive
        try:
            return bool(await connection.run(_FIND_STATEMENT, (text,)))
        except DRIVER_ERRORS:
            return False
        finally:
            connection.terminate()

    def _require_usable(self, driver: asyncpg.Connection) -> None:
        settings = driver.get_settings()
        if driver.get_server_version().major < OLDEST_SERVER:
            found = settings.server_version
            raise DatabaseError(f"the server is PostgreSQL {found}; {OLDEST_SERVER} is the oldest supported one")
        encoding = settings.server_encoding
        if encoding != "UTF8":
            raise DatabaseError(f"the database keeps its text as {encoding}; create one with ENCODING 'UTF8'")

    def _is_transient(self, error: BaseException) -> bool:
        if state_of(error) in _TRANSIENT_STATES or isinstance(error, asyncpg.TargetServerAttributeNotMatched):
            return True
        return self._was_reached and (is_lost(error) or isinstance(error, TimeoutError))

    def _failure(
        self, failures: list[tuple[str, BaseException]], began_at: datetime, is_hopeless: bool
    ) -> StorageError:
        causes = "; ".join(self._explained(server, error) for server, error in failures)
        cause = failures[-1][1]
        kind = DatabaseError if is_hopeless or not self._was_reached else PoolError
        limit = f"connection_timeout ({self.settings.connection_timeout:g} s)"
        within = "" if is_hopeless else f" within {limit}"
        if self._was_reached and not any(state_of(error) for _, error in failures):  # else a server has answered
            since = began_at if self.outage is None else self.outage.since
            self.outage = Outage(str(self.target), since, causes, cause)
            return self.outage.failure_of_a_wait(self.settings)
        return with_cause(kind(f"{self.target}: no server can be used{within}: {causes}"), cause)

    def _explained(self, server: str, error: BaseException) -> str:
        match error:
            case gaierror():
                return f"{server}: the host is unknown ({error.strerror})"
            case UnicodeError():
                return f"{server}: the host's name is not a valid one ({error})"
            case ConnectionRefusedError():
                return f"{server}: nothing listens there (connection refused)"
            case TimeoutError():
                return f"{server}: no answer in time"
            case FileNotFoundError():
                return f"{server}: there is no such socket, or no such file of a certificate or key ({error})"
            case asyncpg.TargetServerAttributeNotMatched():
                return f"{server}: it is read-only: a standby, or set so"
            case asyncpg.ClientConfigurationError():
                raise OtherError(f"{self.target}: {error}") from error
        translated = translate(error, server, self.settings.connection_timeout)
        if isinstance(translated, StorageError):
            message = translated.message
            return message if message.startswith(server) else f"{server}: {message}"
        return f"{server}: {error}"


async def _keeps_statements(driver: asyncpg.Connection) -> bool:
    """Return whether a pooler maps prepared statements for each client: the server then has ours under another name."""
    name = f"swarm_{uuid.uuid4().hex}"
    statement = await driver.prepare(
        f"SELECT /* {name} */ pg_catalog.string_agg(name, ' ') FROM pg_catalog.pg_prepared_statements "
        f"WHERE pg_catalog.starts_with(statement, 'SELECT /* {name} */')",
        name=name,
    )
    names = (await statement.fetchval() or "").split(" ")
    if name in names:
        await driver.execute(f"DEALLOCATE {name}")
    return name not in names and len(names) == 1 and names != [""]


@asynccontextmanager
async def _terminated_at(deadline: float, driver: asyncpg.Connection) -> AsyncIterator[None]:
    """Terminate the connection at the deadline, and on any error.

    A timeout that only cancels would let a transaction send its rollback and wait for its answer without limit.
    """
    has_expired = False

    def expire() -> None:
        nonlocal has_expired
        has_expired = True
        driver.terminate()

    timer = asyncio.get_running_loop().call_at(deadline, expire, context=Context())
    try:
        yield
    except BaseException as error:
        driver.terminate()
        if has_expired and isinstance(error, DRIVER_ERRORS):
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()


_MICROSECONDS_TO_2000 = 946_684_800_000_000
"""PostgreSQL counts times from the year 2000, our columns from 1970."""

ARRAY_TYPES = (
    "bool", "int2", "int4", "int8", "float4", "float8", "numeric", "text", "varchar", "timestamptz", "json", "jsonb",
    "bytea", "name", "oid",
)  # fmt: skip
"""The types of values and arrays in our statements, also after a column is altered."""

_FALSE, _TRUE = b"\0", b"\1"


async def set_codecs(connection: asyncpg.Connection) -> None:
    """Let a connection read and write values in the form that the rows of all engines have.

    Times are whole microseconds since 1970, flags 0 and 1, JSON is text.
    """
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=_encode_time, decoder=_decode_time, format="tuple"
    )
    await connection.set_type_codec(
        "bool", schema="pg_catalog", encoder=_encode_flag, decoder=_decode_flag, format="binary"
    )


async def learn_arrays(connection: asyncpg.Connection) -> None:
    """Make the driver introspect array types now, in one transaction, instead of when a statement first uses one.

    The introspection takes two round trips, between which a pooler would switch to another session.
    """
    async with connection.transaction():
        await connection.prepare(f"SELECT {', '.join(f'NULL::pg_catalog.{type}[]' for type in ARRAY_TYPES)}", name="")


def _encode_time(microseconds: int) -> tuple[int]:
    return (microseconds - _MICROSECONDS_TO_2000,)


def _decode_time(count: tuple[int]) -> int:
    return count[0] + _MICROSECONDS_TO_2000


def _encode_flag(flag: int) -> bytes:
    return _TRUE if flag else _FALSE


def _decode_flag(data: bytes) -> int:
    return data[0]


_LONGEST_BYTES = 63
"""The server truncates longer names."""

_UNPRINTABLE = re.compile(r"[^ -~]")
"""Each server replaces other characters differently."""


class ApplicationName:
    """The application name of a pool's connections. One that the URL or the environment gives is never changed."""

    def __init__(self, given: str | None) -> None:
        self.given = given if given is not None else os.environ.get("PGAPPNAME") or None
        self._agents: Counter[str] = Counter()
        self.text = self._text()

    def add(self, agent: str) -> None:
        """Add an agent whose worker has started."""
        self._agents[agent] += 1
        self.text = self._text()

    def discard(self, agent: str) -> None:
        """Remove an agent whose worker has ended."""
        self._agents[agent] -= 1
        self._agents += Counter()  # drops non-positive ones
        self.text = self._text()

    def _text(self) -> str:
        if self.given is not None:
            return self.given
        text = f"swarm-persistence/{VERSION} {','.join(self._agents)}".strip()
        return _UNPRINTABLE.sub("?", text)[:_LONGEST_BYTES]
