"""The SQL functions that connections get: one tests JSON as Python does, where SQLite's own functions would err."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import apsw
import msgspec

from swarm_persistence.query.json_tests import JsonTest, json_predicate
from swarm_persistence.query.json_text import PASSES_JSON
from swarm_persistence.query.percentiles import percentile_of
from swarm_persistence.schema.values import decode_json

HAS_PERCENTILE = "ENABLE_PERCENTILE" in apsw.compile_options
"""Whether this build of SQLite has the percentile function of its own."""


def add_json_function(connection: apsw.Connection) -> None:
    """Give the connection the function."""
    connection.create_scalar_function(PASSES_JSON, _passes, 2, deterministic=True)


def _passes(*arguments: Any) -> bool:
    text, test = arguments
    try:
        return _predicate(test)(text)
    except msgspec.MsgspecError as error:
        raise apsw.SQLError("malformed JSON") from error  # as SQLite's functions say


@lru_cache(maxsize=64)
def _predicate(test: str) -> Callable[[Any], bool]:
    path, operator, value = decode_json(test)
    return json_predicate(JsonTest(tuple(path), operator, value))


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
