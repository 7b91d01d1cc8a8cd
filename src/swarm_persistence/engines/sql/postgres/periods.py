"""The periods of partitioned tables: begins a new partition when a period is over."""

import logging
import time

import asyncpg

from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.failures import DRIVER_ERRORS
from swarm_persistence.schema.tables import EVENTS, MESSAGES, METRICS

_log = logging.getLogger(__name__)

PARTITIONABLE = frozenset({EVENTS.name, MESSAGES.name, METRICS.name})
"""The history tables: rows that are added in the order of time can be dropped in that order."""

_LONGEST_PAUSE_SECONDS = 3600.0
_PAUSE_SECONDS = 20.0
"""Before the next attempt to begin a period: a transaction blocked it, or its partition was created just now."""

_PERIODS = """
SELECT table_name, has_next, extract(epoch FROM ends_at - clock_timestamp())::double precision
FROM {schema}.current_periods()
WHERE NOT pg_is_in_recovery()
"""


class Periods:
    """Checks from time to time whether a period is over. All event loops of a storage share it."""

    def __init__(self, schema: str) -> None:
        self._schema = f'"{schema}"'
        self._next_check = 0.0

    @property
    def is_due(self) -> bool:
        """Return whether a check is due."""
        return time.monotonic() >= self._next_check

    def postpone(self) -> None:
        """Postpone the next check, so that no other call makes one meanwhile."""
        self._next_check = time.monotonic() + _PAUSE_SECONDS

    async def check(self, connection: Connection) -> None:
        """Begin the periods that are due, and create the partitions of the next ones; what fails is retried later.

        A period may begin late: rows that arrive meanwhile belong to the one before.
        """
        self.postpone()
        try:
            pauses = [await self._begin(connection, *row) for row in await connection.run(self._text(_PERIODS))]
        except DRIVER_ERRORS as error:
            _log.warning(
                "%s: a new partition could not be created or started; retrying later (%s)",
                connection.server,
                error,
            )
        else:
            self._next_check = time.monotonic() + min(pauses, default=_LONGEST_PAUSE_SECONDS)

    async def _begin(self, connection: Connection, table: str, has_next: bool, left: float) -> float:
        """Return in how many seconds the next check is due."""
        if not has_next:
            await connection.run(self._text("SELECT {schema}.add_partition($1)"), (table,))
        if left > 0:
            return min(left, _LONGEST_PAUSE_SECONDS)
        try:
            await connection.run(self._text("SELECT {schema}.begin_partition($1)"), (table,))
        except asyncpg.LockNotAvailableError:
            return _PAUSE_SECONDS
        await connection.run(self._text("SELECT {schema}.add_partition($1)"), (table,))
        return _PAUSE_SECONDS

    def _text(self, text: str) -> str:
        return text.replace("{schema}", self._schema)
