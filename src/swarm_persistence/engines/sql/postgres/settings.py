"""The settings of a PostgreSQL engine, each default in its one home."""

import re
from typing import Any, Literal

import msgspec

from swarm_persistence.errors import OtherError

PreparedStatements = Literal["auto", "on", "off"]

LONGEST_SECONDS = 2_000_000.0
"""PostgreSQL counts timeouts in milliseconds of 32 bits."""

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class Settings(msgspec.Struct, frozen=True):
    """What the builder and the URL set; durations in seconds."""

    schema: str = "swarm"
    """The schema that holds the tables. Nothing is written to any other one."""
    max_connections: int = 16
    """Connections that this storage may have open at once, over all event loops."""
    min_idle_connections: int = 1
    """Connections that stay open however long they are idle."""
    connection_timeout: float = 30.0
    """How long an operation waits for a connection, for a lock, or for its turn to write, before it raises
    `PoolError`; and how long it tries to reach a server that is restarted or replaced."""
    idle_timeout: float = 600.0
    """How long a connection stays open with nothing to do."""
    transaction_timeout: float = 30.0
    """How long a transaction may stay open before it is rolled back, so that others can write."""
    operation_timeout: float = 60.0
    """How long the server may take for one statement before its connection is given up."""
    parallel_transactions: bool = False
    """Whether the transactions and writes of this storage go on beside an open transaction, as those of other processes
    do, instead of waiting for its end."""
    prepared_statements: PreparedStatements = "auto"
    """Whether statements stay prepared on a connection. `auto`: not if there is a pooler in between."""

    def checked(self) -> "Settings":
        """Return these settings; one that makes no sense raises `OtherError`, which names it."""
        has_name = isinstance(self.schema, str) and _SCHEMA.fullmatch(self.schema) is not None
        _require(has_name, self, "schema", "a name of lower-case letters, digits and _, 63 at most, not first a digit")
        _require(not str(self.schema).startswith("pg_"), self, "schema", "a name that does not begin with pg_")
        _require(type(self.max_connections) is int and self.max_connections >= 1, self, "max_connections", "1 or more")
        _require(
            type(self.min_idle_connections) is int and 0 <= self.min_idle_connections <= self.max_connections,
            self,
            "min_idle_connections",
            "0 or more, and not more than max_connections",
        )
        for name in ("connection_timeout", "idle_timeout", "transaction_timeout", "operation_timeout"):
            _require(_is_duration(getattr(self, name)), self, name, "a finite number of seconds above 0")
        _require(type(self.parallel_transactions) is bool, self, "parallel_transactions", "true or false")
        _require(self.prepared_statements in ("auto", "on", "off"), self, "prepared_statements", "auto, on or off")
        return self

    def changed_by(self, options: dict[str, str]) -> "Settings":
        """Return the settings with those of a URL's options in place of the defaults."""
        try:
            # Not strict: a URL's values are texts.
            changes = msgspec.convert(options, _Options, strict=False)
        except msgspec.ValidationError as error:
            raise OtherError(f"an option of the URL: {error}") from None
        given: dict[str, Any] = {name: getattr(changes, name) for name in options}
        return msgspec.structs.replace(self, **given)


_Options = msgspec.defstruct("_Options", [(field.name, field.type, None) for field in msgspec.structs.fields(Settings)])

OPTIONS = frozenset(Settings.__struct_fields__)
"""The settings that a URL may name."""


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= LONGEST_SECONDS


def _require(is_met: bool, settings: Settings, name: str, expected: str) -> None:
    if not is_met:
        raise OtherError(f"{name} is {getattr(settings, name)!r}, expected {expected}")
