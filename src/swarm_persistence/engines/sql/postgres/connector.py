"""Opens connections: to the first server of the URL that can be used, or an error that says what each one answered."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from functools import partial
from socket import gaierror

import asyncpg

from swarm_persistence.engines.sql.postgres.application_name import ApplicationName
from swarm_persistence.engines.sql.postgres.codecs import learn_arrays, set_codecs
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.failures import DRIVER_ERRORS, is_lost, state_of, translate
from swarm_persistence.engines.sql.postgres.pipeline import PipelinedConnection
from swarm_persistence.engines.sql.postgres.settings import PostgresSettings
from swarm_persistence.engines.sql.postgres.statements import LARGEST_CACHE, NamedStatements
from swarm_persistence.engines.sql.postgres.url import PostgresUrl
from swarm_persistence.errors import DatabaseError, OtherError, PoolError, StorageError

OLDEST_SERVER = 13

_FULL = {"53300", "53400"}
"""The server, the database or the role has no connection left."""
_PASSING_STATES = {"57P03", "25006", *_FULL}
"""The server starts up, is a standby that may be promoted, or has no connection left."""

# By the text, which may be cut off: behind a pooler, nobody knows the number of the process. Where activities are not
# tracked, any session stands for the one that is looked for.
_FIND_STATEMENT = """
SELECT 1
FROM pg_stat_activity
WHERE usename = current_user AND pid <> pg_backend_pid()
  AND (state = 'disabled' OR state = 'active' AND starts_with($1, query))
LIMIT 1
"""


class UnreachableError(Exception):
    """No server could be used: `failure` is what to tell the caller."""

    def __init__(self, failure: StorageError, *, is_hopeless: bool) -> None:
        """Keep the failure; a hopeless one would be met by another try as well."""
        super().__init__(failure.message)
        self.failure = failure
        self.is_hopeless = is_hopeless


class Connector:
    """Knows the servers, and what it has learnt of them."""

    def __init__(self, target: PostgresUrl, settings: PostgresSettings) -> None:
        self.target = target
        self.settings = settings
        self.application = ApplicationName(target.application_name)
        self.has_pooler = False
        self.named = NamedStatements()
        self.has_written = False
        self._has_looked = False
        self._has_been_there = False
        self._first = 0

    @property
    def owns_sessions(self) -> bool:
        """Tell whether what a statement leaves on its connection is there for the next one."""
        return not self.has_pooler and self.settings.prepared_statements != "off"

    @property
    def awaits_primary(self) -> bool:
        """Tell whether a server that takes no writes is worth the wait: for its promotion, or for the one after it."""
        return self.has_written or self.target.seeks_primary

    async def open(self, deadline: float) -> Connection:
        """Return a new connection, to the first server that can be used; each is tried once.

        A server that was there once is worth another try: it may be restarted, or another one take its place. At
        first, only one that says itself that it is about to be ready is.

        Raises:
            UnreachableError: no server can be used; its failure says why, for each.

        """
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
                self._has_been_there = True
                self._first = position
                return connection
        is_hopeless = not any(self._may_pass(error) for _, error in failures)
        raise UnreachableError(self._failure(failures, is_hopeless), is_hopeless=is_hopeless)

    async def _open_one(self, host: str | None, port: int | None, deadline: float) -> Connection:
        try:
            return await self._try_to_open(host, port, deadline)
        except asyncpg.InvalidCachedStatementError:  # lost by the pooler, which is trusted with no other one now
            return await self._try_to_open(host, port, deadline)

    async def _try_to_open(self, host: str | None, port: int | None, deadline: float) -> Connection:
        owned_sessions = self.owns_sessions
        application_name = self.application.text
        driver = await self._connect(host, port, deadline)
        try:
            if not self._has_looked:
                await self._look_for_a_pooler(driver, deadline)
                if self.owns_sessions is not owned_sessions:
                    driver.terminate()
                    driver = await self._connect(host, port, deadline)
            connection = Connection(
                driver,
                self.target.name_of(host, port),
                self.settings,
                named=self.named,
                is_at_work=partial(self._is_at_work, host, port),
            )
            connection.application_name = application_name
            async with _given_up_at(deadline, driver):
                self._require_usable(driver)
                await set_codecs(driver)
                if not self.owns_sessions:
                    await learn_arrays(driver)
                await connection.greet()
        except BaseException:
            driver.terminate()  # nobody else knows of it, whoever was cancelled here
            raise
        return connection

    async def _connect(self, host: str | None, port: int | None, deadline: float) -> asyncpg.Connection:
        return await asyncpg.connect(
            self.target.dsn(),
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

    async def _look_for_a_pooler(self, driver: asyncpg.Connection, deadline: float) -> None:
        """See whether the server tells the number of the process that answers; a pooler tells one of its own making."""
        async with _given_up_at(deadline, driver), driver.transaction():
            # Without a name, so that nothing is left behind at a pooler's server.
            number = await (await driver.prepare("SELECT pg_catalog.pg_backend_pid()", name="")).fetchval()
            self.has_pooler = number != driver.get_server_pid()
            if self.has_pooler:
                choice = self.settings.prepared_statements
                self.named.are_kept = choice == "on" or (choice == "auto" and await _keeps_statements(driver))
        self._has_looked = True

    async def _is_at_work(self, host: str | None, port: int | None, text: str) -> bool:
        """Ask a server on a new connection whether it runs a statement of this role."""
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
            raise DatabaseError(f"the server is PostgreSQL {found}; {OLDEST_SERVER} is the oldest that will do")
        encoding = settings.server_encoding
        if encoding != "UTF8":
            raise DatabaseError(f"the database keeps its text as {encoding}; create one with ENCODING 'UTF8'")

    def _may_pass(self, error: BaseException) -> bool:
        if state_of(error) in _PASSING_STATES or isinstance(error, asyncpg.TargetServerAttributeNotMatched):
            return True
        return self._has_been_there and (is_lost(error) or isinstance(error, TimeoutError))

    def _failure(self, failures: list[tuple[str, BaseException]], is_hopeless: bool) -> StorageError:
        causes = [self._explained(server, error) for server, error in failures]
        kind = DatabaseError if is_hopeless or not self._has_been_there else PoolError
        within = "" if is_hopeless else f" within connection_timeout ({self.settings.connection_timeout:g} s)"
        failure = kind(f"{self.target}: no server can be used{within}: {'; '.join(causes)}")
        failure.__cause__ = failures[-1][1]
        return failure

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
                return f"{server}: it takes no writes; it is a standby, or read-only"
            case asyncpg.ClientConfigurationError():
                raise OtherError(f"{self.target}: {error}") from error
        translated = translate(error, server, self.settings.connection_timeout)
        if isinstance(translated, StorageError):
            message = translated.message
            return message if message.startswith(server) else f"{server}: {message}"
        return f"{server}: {error}"


async def _keeps_statements(driver: asyncpg.Connection) -> bool:
    """Tell whether a pooler keeps apart the statements of its clients: then the server knows ours by another name."""
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
async def _given_up_at(deadline: float, driver: asyncpg.Connection) -> AsyncIterator[None]:
    """Drop the connection at the deadline, and on any error.

    A timeout that only cancels would let a transaction send its rollback, and wait for the answer to that for ever.
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
