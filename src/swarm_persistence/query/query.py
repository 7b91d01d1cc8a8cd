"""The query: a plain value that says which rows of a table, in which order.

Values are kept as columns keep them (`schema.values`), so that every engine compares the same things.
"""

from collections.abc import Sequence
from typing import Any, Generic, Literal, NamedTuple

import msgspec

from swarm_persistence.clock import microseconds, now
from swarm_persistence.schema.tables import SEQUENCE, M, Table
from swarm_persistence.schema.values import ColumnValue

Operator = Literal["=", "<>", "<", "<=", ">", ">=", "LIKE", "IN", "AMONG", "IS NULL", "IS NOT NULL", "PAIR"]


class FromNow(msgspec.Struct, frozen=True):
    """A time so long after the present one, by the clock of the database where it has one of its own."""

    seconds: float = 0.0

    def moment(self) -> int:
        """Return the time that this is now by the clock of this process, as columns keep it."""
        return self.after(microseconds(now()))

    def after(self, present: int) -> int:
        """Return the time that this is at a time that is the present one."""
        return present + round(self.seconds * 1_000_000) if self.seconds else present


class Selection(msgspec.Struct, frozen=True):
    """What a column holds in the rows that fulfil a query's conditions; its order and bounds do not count."""

    query: "Query[Any]"
    field: str


class Condition(NamedTuple):
    """A fact that a row must have. A comparison with null is never a fact, as in SQL.

    `value` is one column's value; a tuple of them for `IN`, a selection for `AMONG`. For `PAIR`, `field` names two
    columns (`a|b`) that hold the two values of the tuple, in either order. A time may be compared with one `FromNow`.
    """

    field: str
    operator: Operator
    value: ColumnValue | tuple[ColumnValue, ...] | FromNow | Selection = None


def one_of(field: str, values: Sequence[str]) -> Condition:
    """Return the condition that a field holds one of these values."""
    return Condition(field, "=", values[0]) if len(values) == 1 else Condition(field, "IN", tuple(values))


class Order(NamedTuple):
    """A field to sort by; null is lower than everything."""

    field: str
    is_descending: bool = False


class Query(msgspec.Struct, Generic[M], frozen=True):
    """Rows that fulfil every condition, sorted; where the order ties, arrival decides, in the last term's direction.

    With `without_gaps`, none that arrived behind the first place which a write that is not committed may still take; in
    a transaction that has added rows of the table itself, all count.
    """

    table: Table[M]
    conditions: tuple[Condition, ...] = ()
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    without_gaps: bool = False

    @property
    def full_order(self) -> tuple[Order, ...]:
        """Return the order with the arrival that breaks its ties."""
        if self.order and self.order[-1].field == SEQUENCE:
            return self.order
        return (*self.order, Order(SEQUENCE, self.order[-1].is_descending if self.order else False))


def pair_of(field: str) -> tuple[str, str]:
    """Split the field of a `PAIR` condition, or of an index on one, into its two columns."""
    first, second = field.split("|")
    return first, second
