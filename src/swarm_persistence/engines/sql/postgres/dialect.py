"""The dialect of PostgreSQL."""

from collections.abc import Callable, Sequence
from typing import Any

from swarm_persistence.clock import is_system_clock, microseconds, now
from swarm_persistence.query.json_tests import SQL_OPERATORS, JsonTest
from swarm_persistence.query.query import FromNow, Order, pair_of
from swarm_persistence.query.text import Dialect, Marks, quoted
from swarm_persistence.schema.tables import CHANGE_NUMBER, JSON_KINDS, SEQUENCE, TABLES, Column, Kind, Table
from swarm_persistence.schema.values import ColumnValue

CURRENT_CHANGE = "pg_current_xact_id()::text::bigint"
"""The id of the writing transaction, which a write stores in a row of a followed table as its change number."""

_ANY_LENGTH = frozenset(
    {"task_type", "event_type", "metric_type", "unit", "label", "group", "concurrency_key", "required_capabilities"}
)
"""Indexed columns whose texts have any length: the index has only a prefix of them."""

INDEXED_CHARACTERS = 200

_TIMES = frozenset(column.name for table in TABLES for column in table.columns if column.kind is Kind.TIME)

_NEVER_NULL = frozenset({SEQUENCE, CHANGE_NUMBER, "id"})

_TYPES = {
    Kind.TEXT: "text",
    Kind.CHOICE: "text",
    Kind.RANK: "smallint",
    Kind.COUNT: "bigint",
    Kind.VERSION: "bigint",
    Kind.REAL: "double precision",
    Kind.FLAG: "boolean",
    Kind.TIME: "timestamptz",
    Kind.PATH: "text",
    Kind.BYTES: "bytea",
    Kind.VECTOR: "bytea",
    **dict.fromkeys(JSON_KINDS, "json"),
}


def type_of(column: Column) -> str:
    """Return the type of a column."""
    return _TYPES[column.kind]


class PostgresDialect(Dialect):
    """The SQL of PostgreSQL. Table names are qualified, so that they do not depend on `search_path`."""

    has_literals = True

    def __init__(self, schema: str) -> None:
        self.schema = f'"{schema}"'

    def table(self, table: Table[Any]) -> str:
        """Return a table's qualified name."""
        return f"{self.schema}.{table.name}"

    def floor(self, table: Table[Any]) -> str:
        """Return the qualified name of a floor's table."""
        return f"{self.schema}.{super().floor(table)}"

    def numbers(self, table: Table[Any]) -> str:
        """Return the qualified name of the sequence that numbers a table's rows."""
        return f"{self.schema}.{table.name}_{SEQUENCE}_seq"

    def placeholder(self, position: int) -> str:
        return f"${position}"

    def pair(self, field: str) -> tuple[str, str]:
        first, second = pair_of(field)
        return f"least({first}, {second})", f"greatest({first}, {second})"

    def higher(self, first: str, second: str) -> str:
        return f"greatest({first}, {second})"

    def has_any_length(self, field: str) -> bool:
        """Tell whether the indexes have only a prefix of a field."""
        return field in _ANY_LENGTH

    def contains(self, field: str, candidates: Sequence[ColumnValue], marks: Marks) -> str:
        """Return a condition with one array for any number of candidates, so that all of them share one text."""
        mark = marks.next()
        plain = f"{quoted(field)} = ANY({mark})"
        if field not in _ANY_LENGTH:
            return plain
        beginnings = f"ARRAY(SELECT {beginning('one')} FROM unnest({mark}::text[]) AS one)"
        return f"{beginning(quoted(field))} = ANY({beginnings}) AND {_uncounted(plain)}"

    def candidates(self, candidates: Sequence[ColumnValue]) -> Sequence[Any]:
        """Return the candidates as one array."""
        return [list(candidates)]

    def candidates_shape(self, candidates: Sequence[ColumnValue]) -> object:
        """Return `None`: the text does not depend on the candidates."""
        return None

    def comparison(self, field: str, operator: str, mark: str) -> str:
        # Without this ESCAPE, a backslash would be one. In the collation "C", only ASCII letters have case.
        if operator == "LIKE":
            return f"{quoted(field)} ILIKE {mark} ESCAPE ''"
        plain = f"{quoted(field)} {operator} {mark}"
        if operator in ("=", ">", "<") and field in _ANY_LENGTH:
            bound = "=" if operator == "=" else f"{operator}="
            return f"{beginning(quoted(field))} {bound} {beginning(mark)} AND {_uncounted(plain)}"
        return plain

    def beyond(self, field: str, mark: str) -> str:
        """Return the condition that the part of a column that an index holds is higher than that of a value."""
        return (
            f"{beginning(quoted(field))} > {beginning(mark)}" if field in _ANY_LENGTH else f"{quoted(field)} > {mark}"
        )

    def has_tag(self, field: str, first: str, other: str) -> str:
        # Not by a function for JSON, which fails on a row with a NUL in any of its texts.
        return f"(starts_with({field}::text, {first}) OR strpos({field}::text, {other}) > 0)"

    def passes(self, field: str, test: JsonTest, marks: Marks) -> str:
        """Return the condition that a column's JSON passes a test."""
        return json_condition(quoted(field), test, marks.next)

    def test_values(self, test: JsonTest) -> Sequence[ColumnValue]:
        return json_values(test)

    def of_one_row(self, conditions: Sequence[str], place: int) -> str:
        """Return conditions of which the planner can use only the one on the id.

        With statistics from before many tasks were claimed, an index for the other conditions seems empty and as cheap.
        The planner would scan all of it for each change of a row.
        """
        others = [condition for other, condition in enumerate(conditions) if other != place]
        return f"{conditions[place]} AND {hidden(' AND '.join(others))}"

    def size(self, column: Column) -> str:
        """Return the expression of the bytes of a column; the server has to read only JSON for it."""
        return f"octet_length({quoted(column.name)}::text)" if column.kind in JSON_KINDS else super().size(column)

    def whole_sum(self, name: str) -> str:
        """Return the sum of a whole number as a bigint; that of a bigint would be numeric."""
        return f"{super().whole_sum(name)}::bigint"

    def literal(self, column: Column, value: object) -> str:
        """Return a value as a literal."""
        return str(bool(value)).lower() if column.kind is Kind.FLAG else super().literal(column, value)

    def function(self, table: Table[Any], name: str, field: str | None) -> str:
        """Return the call of an aggregate function, cast to the type that other engines return."""
        if field is None or name in ("min", "max"):
            return super().function(table, name, field)
        is_whole = table.column(field).kind in (Kind.COUNT, Kind.VERSION, Kind.RANK)
        result = "bigint" if name == "sum" and is_whole else "bigint" if name == "count" else "double precision"
        return f"{name}({quoted(field)})::{result}"

    def rounded_down(self, field: str, marks: Marks) -> str:
        """Return the expression of a number or time, rounded down to a multiple of the width in `width_values`."""
        number = _microseconds(field) if field in _TIMES else field
        first, second, third = (f"{marks.next()}::bigint" for _ in range(3))
        return f"({number} - ({number} % {first} + {second}) % {third})"

    def percentile(self, field: str, marks: Marks) -> str:
        return f"percentile_cont({marks.next()}::double precision) WITHIN GROUP (ORDER BY {field})"

    def elapsed(self, since: str, until: str) -> str:
        """Return the expression of the microseconds between two times, exact until it is cast to a double."""
        return f"(extract(epoch FROM {until} - {since}) * 1000000)::double precision"

    def order(self, order: Order) -> str:
        """Return one term of ORDER BY, as all indexes are sorted."""
        if order.field in _NEVER_NULL:
            return super().order(order)
        field = quoted(order.field)
        if order.is_of_beginning and order.field in _ANY_LENGTH:
            return f"{beginning(field)} NULLS FIRST"
        return f"{field} DESC NULLS LAST" if order.is_descending else f"{field} NULLS FIRST"

    def any_number_of_rows(self) -> str:
        """Return the LIMIT clause for an OFFSET without a limit."""
        return "LIMIT ALL"

    def microseconds(self, time: str) -> str:
        return _microseconds(time)

    def appended(self, field: str, values: Sequence[str], most: int) -> str:
        """Return the expression of a column's JSON array with an array of values as the last of its `most` elements."""
        room = f"CASE WHEN json_array_length({field}) < {most} THEN {field}::jsonb ELSE {field}::jsonb - 0 END"
        return f"({room} || jsonb_build_array(jsonb_build_array({', '.join(values)})))::json"

    def text_mark(self, marks: Marks) -> str:
        """Return the placeholder of a text in a place that does not say its type."""
        return f"{marks.next()}::text"

    def from_now(self, moment: FromNow, marks: Marks) -> str:
        """Return the expression of a time by the server's clock, or by the one that tests use."""
        # Not clock_timestamp(): it is volatile, and no index is used for a comparison with it.
        start = f"coalesce({marks.next()}::timestamptz, statement_timestamp())"
        if not moment.seconds:
            return start
        return f"{start} + {marks.next()}::double precision * interval '1 microsecond'"

    def moment_values(self, moment: FromNow) -> Sequence[ColumnValue]:
        """Return null for the server's clock, else the time of the one that tests use; then the offset, if any."""
        start = None if is_system_clock() else microseconds(now())
        return (start, moment.seconds * 1_000_000) if moment.seconds else (start,)

    def moment_types(self, moment: FromNow) -> Sequence[str]:
        """Return the types of the values of `moment_values`."""
        return ("timestamptz", "double precision") if moment.seconds else ("timestamptz",)

    def change_number(self, table: Table[Any]) -> str:
        """Return the expression of the writing transaction's id."""
        return CURRENT_CHANGE


def hidden(condition: str) -> str:
    """Return a condition that no index is used for, and whose selectivity the planner does not estimate."""
    return f"CASE WHEN {condition} THEN true ELSE false END"


def _uncounted(condition: str) -> str:
    """Return a condition that is nearly always true where the others are; the planner assumes half of the rows.

    Written plainly, the planner would multiply the selectivities, as if the conditions were independent.
    """
    return f"coalesce({condition}, false)"


def beginning(text: str) -> str:
    """Return the part of a text of any length that an index holds."""
    return f"left({text}, {INDEXED_CHARACTERS})"


def _microseconds(field: str) -> str:
    """Return the expression of a time as whole microseconds since 1970.

    In two parts: before PostgreSQL 14, extract() returns a double, which is not precise enough for the whole.
    """
    seconds = f"extract(epoch FROM date_trunc('second', {field}))::bigint"
    return f"({seconds} * 1000000 + extract(microseconds FROM {field})::bigint % 1000000)"


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
    """Return a column's JSON with each NUL rewritten, as PostgreSQL's functions refuse JSON that has one in its texts.

    Where there may be one, a NUL and the character U+0001 are both replaced by two characters, in the searched keys and
    texts as well: equal texts stay equal, and their order is kept. All other JSON, which has neither, is read as it is.
    """
    escaped = f"replace({field}::text, repeat({_BACKSLASH}, 2), {_BACKSLASH} || 'u005c')"
    for number in (1, 0):
        old = f"{_BACKSLASH} || 'u000{number}'"
        escaped = f"replace({escaped}, {old}, {_BACKSLASH} || 'u0001' || {_BACKSLASH} || 'u000{1 + number}')"
    return f"CASE WHEN strpos({field}::text, {_BACKSLASH} || 'u000') > 0 THEN {escaped}::json ELSE {field} END"


def _mapped(text: str) -> str:
    return text.replace("\1", "\1\2").replace("\0", "\1\1")
