"""The meaning of conditions and orders: the rules that all engines follow, and their implementation in Python.

- Null is equal to nothing, and no comparison with it is true; only `IS NULL` matches it. It sorts below every value.
- Text is compared by code point, upper case before lower case. `LIKE` ignores the case of ASCII letters only.
- Times are compared as instants, priorities by rank, False before True.
- Ties are broken by order of arrival (`sequence`), in the direction of the last term.
"""

import operator
import re
from collections.abc import Callable, Iterable
from functools import lru_cache, total_ordering
from typing import Any

from swarm_persistence.query.json_tests import json_predicate
from swarm_persistence.query.query import Condition, Order, Query, pair_of
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import JSON_KINDS, SEQUENCE, Kind, Table
from swarm_persistence.schema.values import ColumnValue

Predicate = Callable[[Row], bool]

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TEXT_KINDS = JSON_KINDS | {Kind.TEXT, Kind.CHOICE, Kind.PATH}


def predicate_of(table: Table[Any], conditions: Iterable[Condition]) -> Predicate:
    """Return the function that tells whether a row matches all conditions."""
    match [_test(table, condition) for condition in conditions]:
        case []:
            return lambda row: True
        case [test]:
            return test
        case [first, second]:
            return lambda row: first(row) and second(row)
        case tests:
            return lambda row: all(test(row) for test in tests)


def matches_nothing(table: Table[Any], condition: Condition) -> bool:
    """Tell whether no row can match the condition, because it compares with null or with no value."""
    match condition.operator:
        case "IS NULL":
            return not may_be_null(table, condition.field)
        case "IS NOT NULL":
            return False
        case "PAIR":
            return None in _several(condition.value)
        case "IN":
            return all(value is None for value in _several(condition.value))
    return condition.value is None


def _test(table: Table[Any], condition: Condition) -> Predicate:
    if matches_nothing(table, condition):
        return lambda row: False
    value: Any = condition.value
    if condition.operator == "PAIR":
        first, second = (table.positions[field] for field in pair_of(condition.field))
        wanted = frozenset(((value[0], value[1]), (value[1], value[0])))
        return lambda row: (row[first], row[second]) in wanted
    position = table.positions[condition.field]
    match condition.operator:
        case "=":
            return lambda row: row[position] == value
        case "IS NULL":
            return lambda row: row[position] is None
        case "IS NOT NULL":
            return lambda row: row[position] is not None
        case "IS NULL OR >":
            return lambda row: (found := row[position]) is None or bool(found > value)
        case "IN":
            values = frozenset(value) - {None}
            return lambda row: row[position] in values
        case "TAG":
            first, other = value
            return lambda row: (tags := str(row[position])).startswith(first) or other in tags
        case "JSON":
            passes = json_predicate(value)
            return lambda row: passes(row[position])
        case "LIKE":
            matches = like_pattern(value).fullmatch
            return lambda row: row[position] is not None and matches(str(row[position])) is not None
    compare = _COMPARISONS[condition.operator]
    return lambda row: row[position] is not None and compare(row[position], value)


def may_be_null(table: Table[Any], field: str) -> bool:
    """Tell whether a field is nullable; the sequence, which every table has, is not."""
    return field != SEQUENCE and table.column(field).is_nullable


def _several(value: Any) -> tuple[ColumnValue, ...]:
    return tuple(value)


@lru_cache(maxsize=256)
def like_pattern(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a `LIKE` pattern: `%` matches any text, `_` one character.

    The text between two `%` is matched at its first occurrence only (an atomic group). That misses no match, and
    prevents exponential backtracking on patterns with many `%`.
    """
    first, *others = (
        "".join("." if character == "_" else re.escape(character) for character in part) for part in pattern.split("%")
    )
    expression = first
    if others:
        *middle, last = others
        expression += "".join(f"(?>.*?{part})" for part in middle if part) + f".*{last}"
    # ASCII keeps IGNORECASE from folding more letters than SQLite does.
    return re.compile(expression, re.IGNORECASE | re.DOTALL | re.ASCII)


def sorted_rows(query: Query[Any], rows: Iterable[Row]) -> list[Row]:
    """Return the rows in the query's full order."""
    return sorted(rows, key=order_key(query.table, query.full_order))


@lru_cache(maxsize=256)
def order_key(table: Table[Any], order: tuple[Order, ...]) -> Callable[[Row], tuple[Any, ...]]:
    """Return the function that computes a row's sort key, a tuple that sorts ascending."""
    return compiled_key([key_text(table, term, f"row[{table.positions[term.field]}]") for term in order])


def compiled_key(texts: Iterable[str]) -> Callable[[Row], tuple[Any, ...]]:
    """Return the function of a `row` that computes a tuple of expressions, which must not contain a caller's text."""
    function: Callable[[Row], tuple[Any, ...]] = eval(
        f"lambda row: ({''.join(f'{text}, ' for text in texts)})", {"Descending": Descending}
    )
    return function


def key_text(table: Table[Any], term: Order, value: str) -> str:
    """Return the expression of a column's sort key, which sorts ascending, with null below every value."""
    is_text = term.field != SEQUENCE and table.column(term.field).kind in _TEXT_KINDS
    if not may_be_null(table, term.field):
        if not term.is_descending:
            return value
        return f"Descending({value})" if is_text else f"-{value}"
    if not term.is_descending:
        return f"(() if {value} is None else ({value},))"
    turned = f"Descending({value})" if is_text else f"-{value}"
    return f"((1,) if {value} is None else (0, {turned}))"


@total_ordering
class Descending:
    """A text that sorts in descending order."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Descending) and self.text == other.text

    def __lt__(self, other: "Descending") -> bool:
        return self.text > other.text

    def __hash__(self) -> int:
        return hash(self.text)


def percentile_of(values: Iterable[float], fraction: float) -> float | None:
    """Return the value below which this fraction of the values lies, interpolated between the two nearest.

    This is SQL's `percentile_cont` with the same arithmetic, so that all engines return the same numbers.
    """
    ordered = sorted(values)
    if not ordered:
        return None
    place = fraction * (len(ordered) - 1)
    below = int(place)
    if place == below:
        return ordered[below]
    return ordered[below] + (ordered[below + 1] - ordered[below]) * (place - below)
