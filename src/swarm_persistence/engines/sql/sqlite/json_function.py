"""The SQL function that tests JSON as Python does, where SQLite's own functions would err."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import apsw
import msgspec

from swarm_persistence.query.json_tests import JsonTest, json_predicate
from swarm_persistence.query.json_text import PASSES_JSON
from swarm_persistence.schema.values import decode_json


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
