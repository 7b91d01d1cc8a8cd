"""The query: a plain value that selects rows of a table and sorts them.

Conditions hold column values (`schema.values`), so that all engines compare the same values.
"""

from collections.abc import Sequence
from typing import Any, Generic, Literal, NamedTuple

import msgspec

from swarm_persistence.clock import now_in_microseconds
from swarm_persistence.query.json_tests import JsonTest
from swarm_persistence.schema.tables import SEQUENCE, M, Table
from swarm_persistence.schema.values import ColumnValue

Operator = Literal[
    "=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "LIKE",
    "IN",
    "IN SUBQUERY",
    "IS NULL",
    "IS NOT NULL",
    "IS NULL OR >",
    "PAIR",
    "TAG",
    "JSON",
]


class FromNow(msgspec.Struct, frozen=True):
    """A time relative to now, by the database's clock where it has one."""

    seconds: float = 0.0

    def moment(self) -> int:
        """Return the time by this process's clock, as a column value."""
        return self.after(now_in_microseconds())

    def after(self, present: int) -> int:
        """Return the time if `present` is now, in microseconds."""
        return present + round(self.seconds * 1_000_000) if self.seconds else present


_NOW = FromNow()


class Subquery(msgspec.Struct, frozen=True):
    """The values of a column in the rows that match a query's conditions; its order and limits are ignored."""

    query: "Query[Any]"
    field: str


class Condition(NamedTuple):
    """A predicate on one field of a row. A comparison with null is never true, as in SQL.

    `value` is a column value; for `IN`, a tuple of them; for `IN SUBQUERY`, a `Subquery`. For `PAIR`, `field` names two
    columns (`a|b`) that hold the two values of the tuple, in either order. For `TAG`, these are two texts: the JSON of
    the field begins with the first, or contains the second. For `JSON`, it is a `JsonTest` of the field's JSON. A time
    may be compared with a `FromNow`.
    """

    field: str
    operator: Operator
    value: ColumnValue | tuple[ColumnValue, ...] | FromNow | Subquery | JsonTest = None


def unexpired(table: Table[Any]) -> tuple[Condition, ...]:
    """Return the condition of rows whose expiry has not passed; none for a table without one."""
    return () if table.expiry is None else (Condition(table.expiry, "IS NULL OR >", _NOW),)


def without_expired(query: "Query[M]") -> "Query[M]":
    """Restrict a query to the rows whose expiry has not passed."""
    if query.table.expiry is None:
        return query
    return msgspec.structs.replace(query, conditions=(*query.conditions, *unexpired(query.table)))


def with_condition(conditions: tuple[Condition, ...], added: Condition) -> tuple[Condition, ...]:
    """Add a condition; of two bounds on one side of a field, only the tighter one is kept.

    An index range has one bound per side; a second one would be compared with each row.
    """
    side = _SIDES.get(added.operator)
    if side is None:
        return (*conditions, added)
    for place, known in enumerate(conditions):
        if known.field == added.field and _SIDES.get(known.operator) == side:
            tightest = max(known, added, key=_tightness) if side == ">" else min(known, added, key=_tightness)
            return (*conditions[:place], tightest, *conditions[place + 1 :])
    return (*conditions, added)


_SIDES = {">": ">", ">=": ">", "<": "<", "<=": "<"}


def _tightness(bound: Condition) -> Any:
    """Return the sort key of bounds on one side: the tightest lower bound comes last, the tightest upper one first."""
    return bound.value, bound.operator in (">", "<=")


def one_of(field: str, values: Sequence[str]) -> Condition:
    """Return the condition that a field has one of these values."""
    return Condition(field, "=", values[0]) if len(values) == 1 else Condition(field, "IN", tuple(values))


class Order(NamedTuple):
    """A field to sort by; null sorts below every value.

    If `is_of_beginning`, an engine may compare only the prefix of a text that its index holds.
    """

    field: str
    is_descending: bool = False
    is_of_beginning: bool = False


class Query(msgspec.Struct, Generic[M], frozen=True):
    """The rows that match all conditions, sorted. Ties are broken by order of arrival, in the last term's direction.

    With `settled_only`, the result ends before the first sequence number that an uncommitted write may still take. In a
    transaction that has itself added rows to the table, it is ignored.
    """

    table: Table[M]
    conditions: tuple[Condition, ...] = ()
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    settled_only: bool = False

    @property
    def full_order(self) -> tuple[Order, ...]:
        """Return the order with the sequence number that breaks its ties."""
        if self.order and self.order[-1].field in (SEQUENCE, "id"):
            return self.order  # these are unique
        return (*self.order, Order(SEQUENCE, self.order[-1].is_descending if self.order else False))


def pair_of(field: str) -> tuple[str, str]:
    """Split the field of a `PAIR` condition or index into its two columns."""
    first, second = field.split("|")
    return first, second
