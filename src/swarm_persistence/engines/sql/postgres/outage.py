"""A period in which no server can be reached, and its error for callers."""

from datetime import UTC, datetime

import msgspec

from swarm_persistence.engines.sql.postgres.settings import PostgresSettings
from swarm_persistence.errors import PoolError, with_cause


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
