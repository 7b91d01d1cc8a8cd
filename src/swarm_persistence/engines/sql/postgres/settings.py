"""The settings of a PostgreSQL engine, and their defaults."""

from typing import Any, ClassVar, Literal, Self, get_args

import msgspec

from swarm_persistence.engines.pools import PoolSettings
from swarm_persistence.engines.runtime import require_real_threads
from swarm_persistence.engines.schemas import DEFAULT_SCHEMA, require_name
from swarm_persistence.errors import OtherError

PreparedStatements = Literal["auto", "on", "off"]
Period = Literal["day", "week", "month"]
PERIODS: tuple[Period, ...] = get_args(Period)


class PostgresSettings(PoolSettings, frozen=True, kw_only=True):
    """What the builder and the URL set; `connection_timeout` also limits the wait for a failover."""

    # PostgreSQL counts timeouts in milliseconds of 32 bits.
    LONGEST_SECONDS: ClassVar[float] = 2_000_000.0

    # Only seconds: another process may need the connection, and a new one takes a few milliseconds.
    idle_timeout: float = 10.0
    schema: str = DEFAULT_SCHEMA
    """The schema that holds the tables. No other schema is written to."""
    operation_timeout: float = 60.0
    """How long the server may take for one statement before its connection is terminated."""
    parallel_transactions: bool = False
    """Whether transactions and writes of this storage run beside its open transaction, as those of other processes do,
    instead of waiting for its end."""
    partition_by: Period | None = None
    """The period by which events, messages and metrics of a new schema are partitioned."""
    prepared_statements: PreparedStatements = "auto"
    """Whether statements stay prepared on a connection. `auto`: behind a pooler, if it keeps those of clients apart."""

    query_comments: bool = False
    """Whether each statement names its verb in a comment, in sqlcommenter's format."""

    def checked(self) -> Self:
        """Return these settings; an invalid one raises `OtherError`, which names it."""
        require_name(self.schema)
        require_real_threads()
        super().checked()
        self.require_duration("operation_timeout")
        self.require("parallel_transactions", type(self.parallel_transactions) is bool, "true or false")
        self.require("partition_by", self.partition_by in (None, *PERIODS), "day, week or month")
        self.require("query_comments", type(self.query_comments) is bool, "true or false")
        self.require("prepared_statements", self.prepared_statements in ("auto", "on", "off"), "auto, on or off")
        return self

    def changed_by(self, options: dict[str, str]) -> "PostgresSettings":
        """Return the settings, overridden by the options of a URL."""
        try:
            # Not strict: a URL's values are texts.
            changes = msgspec.convert(options, _Options, strict=False)
        except msgspec.ValidationError as error:
            raise OtherError(f"an option of the URL: {error}") from None
        given: dict[str, Any] = {name: getattr(changes, name) for name in options}
        return msgspec.structs.replace(self, **given)


_Options = msgspec.defstruct(
    "_Options", [(field.name, field.type, None) for field in msgspec.structs.fields(PostgresSettings)]
)

OPTIONS = frozenset(PostgresSettings.__struct_fields__)
"""The settings that a URL may name."""
