"""The percentile function, for builds of SQLite without it."""

from typing import Any

import apsw

from swarm_persistence.query.percentiles import percentile_of

IS_BUILT_IN = "ENABLE_PERCENTILE" in apsw.compile_options


class _Percentile:
    """The values of one group."""

    def __init__(self) -> None:
        self._values: list[float] = []
        self._fraction = 0.0

    def step(self, *arguments: Any) -> None:
        """Add a value."""
        value, self._fraction = arguments
        if value is not None:
            self._values.append(value)

    def final(self) -> float | None:
        """Return the percentile of the values."""
        return percentile_of(self._values, self._fraction)


def add_percentile(connection: apsw.Connection) -> None:
    """Give the connection a `percentile_cont(value, fraction)` that computes the same numbers as SQLite's own."""
    connection.create_aggregate_function("percentile_cont", _Percentile, 2)
