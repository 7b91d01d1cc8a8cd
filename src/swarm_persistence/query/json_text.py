"""The SQL of a JSON test, for SQLite."""

from collections.abc import Callable, Sequence

from swarm_persistence.plain_json import encode_json
from swarm_persistence.query.json_tests import SQL_OPERATORS, JsonTest
from swarm_persistence.schema.values import ColumnValue

PASSES_JSON = "passes_json"
"""The library's own function on its connections, for cases in which SQLite's functions err: they read large numbers as
doubles, and keys only up to a NUL."""


def json_condition(field: str, test: JsonTest, mark: Callable[[], str]) -> str:
    """Return the condition that a column passes a test; `json_values` are the values of its placeholders."""
    exact = f"{PASSES_JSON}({field}, {mark()})"
    if not test.is_plain:
        return exact
    # A stored key may have a NUL, in very few rows. GLOB looks for it in less than half of the time that instr takes.
    return f"CASE WHEN {field} GLOB '*\\u0000*' THEN {exact} ELSE {_native(field, test, mark)} END"


def json_values(test: JsonTest) -> Sequence[ColumnValue]:
    """Return the values of the placeholders of `json_condition`."""
    whole = encode_json([test.path, test.operator, test.value]).decode()
    path = "".join(["$", *[f".{encode_json(key).decode()}" for key in test.path]])
    if not test.is_plain:
        return (whole,)
    if test.kind == "flag":
        return whole, path, test.text
    compared = (path, test.value, path)
    return (whole, path, *compared) if test.operator == "ne" else (whole, *compared)


def _native(field: str, test: JsonTest, mark: Callable[[], str]) -> str:
    if test.kind == "flag":
        found = f"json_type({field}, {mark()})"
        return f"{found} = {mark()}" if test.operator == "eq" else f"{found} NOT IN ('null', {mark()})"
    is_there = f"json_type({field}, {mark()}) <> 'null'" if test.operator == "ne" else ""
    operator = "=" if test.operator == "ne" else SQL_OPERATORS[test.operator]
    types = "('text')" if test.kind == "text" else "('integer', 'real')"
    compared = f"json_extract({field}, {mark()}) {operator} {mark()} AND json_type({field}, {mark()}) IN {types}"
    return f"{is_there} AND NOT ({compared})" if is_there else compared
