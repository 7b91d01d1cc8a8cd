"""Builds a query step by step, checking each step against the model, so that callers' text never becomes SQL."""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any, Generic, Self

from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.plain_json import encode_json
from swarm_persistence.query.collections import collection_argument, collections_below, documents_of
from swarm_persistence.query.json_tests import JsonOperator, JsonScalar, json_test
from swarm_persistence.query.query import Condition, Operator, Order, Query, with_condition
from swarm_persistence.query.text import Dialect, select_text
from swarm_persistence.query.values import bound_value, query_value
from swarm_persistence.schema.tables import DOCUMENTS, Column, Kind, M, Table, table_named, table_of
from swarm_persistence.schema.values import ColumnValue, text

LARGEST_LIMIT = 2**63 - 1
_WITH_KEYS = frozenset({Kind.JSON, Kind.OBJECT, Kind.TAGS})
LONGEST_PATTERN = 50_000
"""SQLite's limit, which all engines enforce."""


class QueryBuilder(Generic[M]):
    """A query of one model. Each method returns a new builder, and does not change this one.

    An unknown field, a value that the column cannot store, and an operator that the column does not support raise
    `InvalidQueryError` or `SerializationError` immediately.
    """

    __slots__ = ("query",)

    def __init__(self, model: type[M] | str) -> None:
        """Take the model or, as in the seed, the name of its table: `QueryBuilder[AgentModel]("agents")`."""
        self.query: Query[M] = Query(table_named(model) if isinstance(model, str) else table_of(model))

    @classmethod
    def new(cls, table: str) -> Self:
        """Return a query of the table of this name: the seed's spelling."""
        return cls(table)

    def where_eq(self, field: str, value: object) -> "QueryBuilder[M]":
        """Keep records whose field equals the value."""
        return self._compare(field, "=", value)

    def where_ne(self, field: str, value: object) -> "QueryBuilder[M]":
        """Keep records whose field is neither null nor the value."""
        return self._compare(field, "<>", value)

    def where_gt(self, field: str, value: object) -> "QueryBuilder[M]":
        """Keep records whose field is greater than the value; a time may be given in Unix seconds."""
        return self._compare(field, ">", value)

    def where_ge(self, field: str, value: object) -> "QueryBuilder[M]":
        """Keep records whose field is the value or greater; a time may be given in Unix seconds."""
        return self._compare(field, ">=", value)

    def where_lt(self, field: str, value: object) -> "QueryBuilder[M]":
        """Keep records whose field is less than the value; a time may be given in Unix seconds."""
        return self._compare(field, "<", value)

    def where_le(self, field: str, value: object) -> "QueryBuilder[M]":
        """Keep records whose field is the value or less; a time may be given in Unix seconds.

        An `int` includes its whole second.
        """
        return self._compare(field, "<=", value)

    def where_like(self, field: str, pattern: str) -> "QueryBuilder[M]":
        """Keep records whose text matches: `%` any text, `_` one character; ignores the case of ASCII letters."""
        column = self._column(field)
        if column.kind not in (Kind.TEXT, Kind.CHOICE):
            raise InvalidQueryError(f"LIKE needs a text field, and {self._name(field)} holds {column.kind.value}")
        wanted = text(pattern, self._name(column.name))
        if len(wanted.encode()) > LONGEST_PATTERN:
            raise InvalidQueryError(f"a LIKE pattern may have {LONGEST_PATTERN} bytes, not {len(wanted.encode())}")
        return self._with(Condition(column.name, "LIKE", wanted))

    def where_in(self, field: str, values: Iterable[object]) -> "QueryBuilder[M]":
        """Keep records whose field equals one of the values; without values, no record."""
        column = self._column(field)
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise InvalidQueryError(f"where_in({column.name!r}) needs several values, and got {shown(values)}")
        return self._with(Condition(column.name, "IN", tuple(self._value(column, value) for value in values)))

    def where_tag(self, key: str, value: str) -> "QueryBuilder[M]":
        """Keep records that have this value in `tags` under this key."""
        return self._with(Condition(self._name_of("tags"), "TAG", tag_texts(key, value)))

    def where_collection(self, collection: Sequence[str], *, below: bool = False) -> "QueryBuilder[M]":
        """Keep the documents of a collection; with `below`, those of the collections below it as well.

        An index finds them in the order of their ids, which is that of collections and keys: `order_by("id")` costs no
        sort, and `where_gt("id", …)` begins after a document.
        """
        if self.query.table is not DOCUMENTS:
            raise InvalidQueryError(
                f"where_collection is for DocumentModel, and the query is for {self.query.table.model.__name__}"
            )
        if not isinstance(below, bool):
            raise InvalidQueryError(f"below is {shown(below)}, expected True or False")
        within = collection_argument(collection)
        return self._with(*(collections_below(within) if below else documents_of(within)))

    def where_json(
        self, field: str, path: str | Sequence[str], operator: JsonOperator, value: JsonScalar
    ) -> "QueryBuilder[M]":
        """Keep records whose JSON in this field compares so at a path: a key, or keys from outer to inner.

        The operators are `eq`, `ne`, `gt`, `ge`, `lt` and `le`. Texts, numbers and booleans are never equal to each
        other and have no order among each other; numbers are compared as the decimals in the JSON. A null or missing
        value never matches, not even with `ne`. An empty path is the field's whole value.
        """
        column = self.query.table.field(field)
        if column.kind not in _WITH_KEYS:
            held = "a list" if column.kind in (Kind.TEXTS, Kind.CLAIMS) else column.kind.value
            raise InvalidQueryError(f"where_json needs JSON with keys, and {self._name(column.name)} holds {held}")
        test = json_test(path, operator, value, self._name(column.name))
        return self._with(Condition(column.name, "JSON", test))

    def where_null(self, field: str) -> "QueryBuilder[M]":
        """Keep records whose field is `None`."""
        return self._with(Condition(self._name_of(field), "IS NULL"))

    def where_not_null(self, field: str) -> "QueryBuilder[M]":
        """Keep records whose field is not `None`."""
        return self._with(Condition(self._name_of(field), "IS NOT NULL"))

    def order_by(self, field: str, desc: bool = False) -> "QueryBuilder[M]":
        """Sort by the field, after the fields of earlier calls; ties are in order of arrival."""
        column = self._column(field)
        if not isinstance(desc, bool):
            raise InvalidQueryError(f"desc is {shown(desc)}, expected True or False")
        return self._replace(order=(*self.query.order, Order(column.name, desc)))

    def limit(self, limit: int) -> "QueryBuilder[M]":
        """Return at most this many records."""
        return self._replace(limit=bound("limit", limit))

    def offset(self, offset: int) -> "QueryBuilder[M]":
        """Skip this many records."""
        return self._replace(offset=bound("offset", offset))

    def build(self) -> tuple[str, list[ColumnValue]]:
        """Return the query as SQL text with `?` for each value, and the values as SQLite stores them."""
        return select_text(self.query, Dialect())

    def _compare(self, field: str, operator: Operator, value: object) -> "QueryBuilder[M]":
        column = self._column(field)
        if value is None:
            raise InvalidQueryError(
                f"{self._name(field)} {operator} None finds nothing; use where_null or where_not_null"
            )
        return self._with(
            Condition(column.name, operator, bound_value(column, operator, value, self._name(column.name)))
        )

    def _value(self, column: Column, value: object) -> ColumnValue:
        return query_value(column, value, self._name(column.name))

    def _column(self, field: object) -> Column:
        return comparable_column(self.query.table, field)

    def _name_of(self, field: object) -> str:
        return self.query.table.field(field).name

    def _name(self, field: str) -> str:
        return f"{self.query.table.label}.{field}"

    def _with(self, *conditions: Condition) -> "QueryBuilder[M]":
        return self._replace(conditions=reduce(with_condition, conditions, self.query.conditions))

    def _replace(self, **changes: Any) -> "QueryBuilder[M]":
        builder: QueryBuilder[M] = QueryBuilder.__new__(QueryBuilder)
        query = self.query
        builder.query = Query(
            query.table,
            changes.get("conditions", query.conditions),
            changes.get("order", query.order),
            changes.get("limit", query.limit),
            changes.get("offset", query.offset),
        )
        return builder

    def __repr__(self) -> str:
        return f"QueryBuilder({self.query.table.model.__name__}): {self.build()[0]}"


def tag_texts(key: object, value: object) -> tuple[str, str]:
    """Return two texts: JSON tags with this value under this key begin with the first, or contain the second.

    Only for two pairs are there others that do so.
    """
    pair = {text(key, "the key of a tag"): text(value, f"the tag {shown(key)}")}
    if pair in _AMBIGUOUS:
        raise InvalidQueryError(f"no query finds the tag {shown(pair)}: other tags look like it in JSON")
    encoded = encode_json(pair).decode()[:-1]
    return encoded, f'",{encoded[1:]}'


_AMBIGUOUS = ({":": ","}, {",": ":"})


def comparable_column(table: Table[Any], field: object) -> Column:
    """Return the column of a field by whose values records can be found, sorted and grouped.

    Raises:
        InvalidQueryError: the field is unknown, or holds values without an order.

    """
    column = table.field(field)
    if not column.is_comparable:
        held = "bytes" if column.kind is Kind.BYTES else "an embedding" if column.kind is Kind.VECTOR else "JSON"
        raise InvalidQueryError(
            f"{table.label}.{column.name} holds {held}, which has no order and no equality to query by"
        )
    return column


def bound(name: str, value: object) -> int:
    """Return a limit or offset; `InvalidQueryError` unless it is a whole number, 0 or more."""
    if type(value) is not int or not 0 <= value <= LARGEST_LIMIT:
        raise InvalidQueryError(f"{name} is {shown(value)}, expected a whole number, 0 or more and below 2**63")
    return value
