"""The condition on a JSON column's value at a path: its evaluation in Python, and its SQL for SQLite.

Numbers are compared as the decimals in the JSON, however large, so `1` equals `1.0`, and `10**23` equals `1e23`. Texts
are compared by code point. Values of different types are not equal and have no order; null and missing values match
nothing.
"""

import math
import operator
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import msgspec

from swarm_persistence.errors import InvalidQueryError, SerializationError, shown
from swarm_persistence.plain_json import encode_json
from swarm_persistence.schema.values import DEEPEST_NESTING, ColumnValue, decode_json

JsonOperator: TypeAlias = Literal["eq", "ne", "gt", "ge", "lt", "le"]
JsonScalar: TypeAlias = str | int | float | bool

SQL_OPERATORS: dict[str, str] = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {name: getattr(operator, name) for name in SQL_OPERATORS}
LARGEST_EXACT = 2**53
"""Below this, doubles represent every whole number, so comparing numbers as doubles equals comparing their decimals."""


class JsonTest(msgspec.Struct, frozen=True):
    """A comparison of the JSON value at a path of keys with a given value; an empty path is the whole."""

    path: tuple[str, ...]
    operator: JsonOperator
    value: JsonScalar

    @property
    def kind(self) -> Literal["text", "number", "flag"]:
        """Return which type of JSON is compared."""
        if isinstance(self.value, str):
            return "text"
        return "flag" if isinstance(self.value, bool) else "number"

    @property
    def is_plain(self) -> bool:
        """Whether the test has neither a number that a double cannot hold exactly nor a key with a NUL."""
        is_exact = isinstance(self.value, str) or -LARGEST_EXACT < self.value < LARGEST_EXACT
        return is_exact and not any("\0" in key for key in self.path)

    @property
    def shape(self) -> object:
        """Return what the text of a statement depends on."""
        return self.operator, self.kind, self.is_plain, len(self.path)

    @property
    def text(self) -> str:
        """Return the value as JSON."""
        return encode_json(self.value).decode()


def json_test(path: object, operator: object, value: object, name: str) -> JsonTest:
    """Return the test for a caller's arguments.

    Raises:
        InvalidQueryError: the path is malformed, the operator is unknown, or the value cannot be compared.

    """
    keys = _keys(path, name)
    if not isinstance(operator, str) or operator not in SQL_OPERATORS:
        known = ", ".join(SQL_OPERATORS)
        raise InvalidQueryError(f"the operator of {name} is {shown(operator)}, expected one of {known}")
    if value is None:
        raise InvalidQueryError(f"no comparison of {name} with None finds anything")
    compared = _scalar(value, name)
    if isinstance(compared, bool) and operator not in ("eq", "ne"):
        raise InvalidQueryError(f"True and False of {name} have no order; compare them by eq or ne")
    return JsonTest(keys, operator, compared)  # type: ignore[arg-type]


def json_predicate(test: JsonTest) -> Callable[[Any], bool]:
    """Return the function that tells whether a column's JSON text passes a test."""
    path, compare, wanted, is_ne = test.path, _COMPARISONS[test.operator], _exact(test.value), test.operator == "ne"
    kind = _type_of(test.value)

    def passes(text: str | None) -> bool:
        if text is None:
            return False
        found: Any = decode_json(text)
        for key in path:
            if type(found) is not dict or key not in found:
                return False
            found = found[key]
        if found is None:
            return False
        return compare(_exact(found), wanted) if _type_of(found) is kind else is_ne

    return passes


def _exact(value: Any) -> Any:
    """Return a number as one that compares by its decimal digits; anything else unchanged."""
    is_large = type(value) is float and not -LARGEST_EXACT < value < LARGEST_EXACT
    return Decimal(repr(value)) if is_large else value


def _type_of(value: object) -> object:
    return float if type(value) is int else type(value)


def _keys(path: object, name: str) -> tuple[str, ...]:
    keys = (path,) if isinstance(path, str) else path
    if not isinstance(keys, Sequence) or not all(isinstance(key, str) for key in keys):
        raise InvalidQueryError(f"the path in {name} is {shown(path)}, expected a key or a list of keys, each a str")
    if len(keys) > DEEPEST_NESTING:
        raise InvalidQueryError(f"the path in {name} has {len(keys)} keys, expected {DEEPEST_NESTING} at most")
    return tuple([_text(key, f"the path in {name}") for key in keys])


def _scalar(value: object, name: str) -> JsonScalar:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, name)
    if isinstance(value, int):
        number = int.__int__(value)
        try:
            encode_json(number)
        except ValueError:  # Python writes no more digits than its limit
            raise SerializationError(f"{name} is {shown(value)}, expected a number of fewer digits") from None
        return number
    if isinstance(value, float) and math.isfinite(value):
        return float.__float__(value)
    raise SerializationError(f"{name} is {shown(value)}, expected a str, a finite number, True or False")


def _text(value: str, name: str) -> str:
    plain = str.__str__(value)
    try:
        plain.encode()
    except UnicodeEncodeError:
        raise SerializationError(f"{name} is {shown(value)}, expected text without lone surrogates") from None
    return plain


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
