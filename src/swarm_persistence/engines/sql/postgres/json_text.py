"""The SQL of a JSON test on PostgreSQL.

PostgreSQL's functions refuse JSON with a NUL in any of its texts. Where there may be one, a NUL and the character
U+0001 are both replaced by two characters, in the searched keys and texts as well: equal texts stay equal, and their
order is kept. All other JSON, which has neither, is read as it is.
"""

from collections.abc import Callable, Sequence

from swarm_persistence.query.json_tests import SQL_OPERATORS, JsonTest
from swarm_persistence.schema.values import ColumnValue

_BACKSLASH = "chr(92)"  # a literal depends on standard_conforming_strings


def json_condition(field: str, test: JsonTest, mark: Callable[[], str]) -> str:
    """Return the condition that a column passes a test; `json_values` are the values of its placeholders."""
    keys = [f" -> {mark()}::text" for _ in test.path]
    found = f"({_readable(field)}{''.join(keys)})"
    wanted, type_of, text = mark(), f"json_typeof({found})", f"({found} #>> '{{}}')"
    operator = SQL_OPERATORS[test.operator]
    match test.kind:
        case "text":
            kind, compared = "string", f'{text} COLLATE "C" {operator} {wanted}::text'
        case "flag":
            kind, compared = "boolean", f"{text} {operator} {wanted}::text"
        case "number":
            kind, compared = "number", f"{text}::numeric {operator} {wanted}::text::numeric"
    # A missing value has no type, so it matches only the last branch.
    is_other = f"WHEN {type_of} = 'null' THEN false ELSE {type_of} IS NOT NULL"
    others = is_other if test.operator == "ne" else "ELSE false"
    return f"CASE WHEN {type_of} = '{kind}' THEN {compared} {others} END"


def json_values(test: JsonTest) -> Sequence[ColumnValue]:
    """Return the values of the placeholders of `json_condition`."""
    value = _mapped(test.value) if isinstance(test.value, str) else test.text
    return [*map(_mapped, test.path), value]


def _readable(field: str) -> str:
    """Return a column's JSON with each NUL rewritten."""
    escaped = f"replace({field}::text, repeat({_BACKSLASH}, 2), {_BACKSLASH} || 'u005c')"
    for number in (1, 0):
        old = f"{_BACKSLASH} || 'u000{number}'"
        escaped = f"replace({escaped}, {old}, {_BACKSLASH} || 'u0001' || {_BACKSLASH} || 'u000{1 + number}')"
    return f"CASE WHEN strpos({field}::text, {_BACKSLASH} || 'u000') > 0 THEN {escaped}::json ELSE {field} END"


def _mapped(text: str) -> str:
    return text.replace("\1", "\1\2").replace("\0", "\1\1")
