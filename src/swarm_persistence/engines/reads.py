"""The reads of an engine as values: `read(Get(TASKS, id))`. The type of a read says what it gives."""

from collections.abc import Sequence
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import msgspec

from swarm_persistence.query.query import Query
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import M, Table
from swarm_persistence.schema.values import ColumnValue

R_co = TypeVar("R_co", covariant=True)


# The garbage collector need not look at reads: thousands of them are in flight at once, in no cycle.
class Read(msgspec.Struct, Generic[R_co], frozen=True, gc=False):
    """The base of all reads; `R_co` is the type of the result."""


class Get(Read[M | None], Generic[M], frozen=True, gc=False):
    """Read the record of an id."""

    table: Table[M]
    id: str


class Select(Read[list[M]], Generic[M], frozen=True, gc=False):
    """Read the records that a query finds, in its full order."""

    query: Query[M]


class Page(Read[tuple[list[M], int]], Generic[M], frozen=True, gc=False):
    """Read the records that a query finds, and the sequence of the last one; 0 if there is none."""

    query: Query[M]


class Values(Read[list[Row]], frozen=True, gc=False):
    """Read some columns of the rows that a query finds, in its full order, as the columns store them."""

    query: Query[Any]
    fields: tuple[str, ...]


class Count(Read[int], frozen=True, gc=False):
    """Count the rows that fulfil a query's conditions."""

    query: Query[Any]


class LastSequence(Read[int], frozen=True, gc=False):
    """Read the highest sequence that a row of a table with a `floor` has or had, below another one; 0: none yet.

    Deleted rows count if their transaction has committed, or is this one; rows that were rolled back do not. With
    `before`, the read waits for other writes that may still add a row below it. Without, no row that is committed later
    lies at or below the result, except for a snapshot.
    """

    table: Table[Any]
    before: int | None = None


class Function(NamedTuple):
    """A number about a group of rows; nulls don't count. `count` counts rows and takes no field.

    `percentile` gives what `query.percentiles` says for the `fraction`, which the others don't have.
    """

    name: Literal["count", "avg", "min", "max", "sum", "percentile"]
    field: str | None = None
    fraction: float | None = None


class Bucket(NamedTuple):
    """A way to group by a field of whole numbers or times: rounded down to a multiple of `width`.

    Times count in microseconds since 1970.
    """

    field: str
    width: int


AggregateRow = Sequence[ColumnValue]
"""The values that the rows of the group share, then those of the functions."""


class Aggregate(Read[list[AggregateRow]], frozen=True, gc=False):
    """Compute numbers about the groups of the rows that a query finds, sorted by what they are grouped by."""

    query: Query[Any]
    group_by: tuple[str | Bucket, ...]
    functions: tuple[Function, ...]
