"""What a condition and an order mean: the laws that every engine keeps, and the row engines' way of keeping them.

- Null equals nothing and compares with nothing: only `IS NULL` finds it. It sorts below every value.
- Text is compared by code point, upper case before lower case. `LIKE` folds the case of ASCII letters only.
- Times are compared as instants, priorities by rank, False before True.
- Where the order ties, arrival (`sequence`) decides, in the direction of the last term.
"""

import operator
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from swarm_persistence.query.query import Condition, Query, pair_of
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import Table
from swarm_persistence.schema.values import ColumnValue

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Predicate = Callable[[Row], bool]


def predicate_of(table: Table[Any], conditions: Iterable[Condition]) -> Predicate:
    """Return the function that tells whether a row fulfils all conditions."""
    tests = [_test(table, condition) for condition in conditions]
    if len(tests) == 1:
        return tests[0]
    return lambda row: all(test(row) for test in tests)


def _test(table: Table[Any], condition: Condition) -> Predicate:
    value: Any = condition.value
    if condition.operator == "PAIR":
        first, second = (table.positions[field] for field in pair_of(condition.field))
        wanted = frozenset(((value[0], value[1]), (value[1], value[0])))
        return lambda row: (row[first], row[second]) in wanted
    position = table.positions[condition.field]
    match condition.operator:
        case "IS NULL":
            return lambda row: row[position] is None
        case "IS NOT NULL":
            return lambda row: row[position] is not None
        case "IN":
            values = frozenset(value)
            return lambda row: row[position] in values
        case "LIKE":
            matches = like_pattern(value).fullmatch
            return lambda row: row[position] is not None and matches(str(row[position])) is not None
    compare = _COMPARISONS[condition.operator]
    return lambda row: row[position] is not None and compare(row[position], value)


@lru_cache(maxsize=256)
def like_pattern(pattern: str) -> re.Pattern[str]:
    """Return the expression that matches as SQLite's `LIKE` does: `%` any text, `_` one character."""
    parts = {"%": ".*", "_": "."}
    expression = "".join(parts.get(character) or re.escape(character) for character in pattern)
    # ASCII keeps IGNORECASE from folding more letters than SQLite does.
    return re.compile(expression, re.IGNORECASE | re.DOTALL | re.ASCII)


def sort_key(value: ColumnValue) -> tuple[bool, Any]:
    """Return what sorts as the value does, null first."""
    return (value is not None, value)


def sorted_rows(query: Query[Any], rows: Iterable[Row]) -> list[Row]:
    """Return the rows in the query's full order."""
    result = list(rows)
    for term in reversed(query.full_order):
        position = query.table.positions[term.field]
        result.sort(key=lambda row: sort_key(row[position]), reverse=term.is_descending)
    return result
