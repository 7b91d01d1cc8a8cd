"""The reads of an engine as values: `read(Get(TASKS, id))`. The type of a read declares the type of its result."""

from collections.abc import Iterable, Sequence
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import msgspec

from swarm_persistence.query.query import Query
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import LARGE_KINDS, Kind, M, Table
from swarm_persistence.schema.values import ColumnValue

R_co = TypeVar("R_co", covariant=True)


# Untracked by the garbage collector: thousands of reads may be in flight, and none is part of a cycle.
class Read(msgspec.Struct, Generic[R_co], frozen=True, gc=False):
    """Base class of all reads; `R_co` is the type of the result."""


class Get(Read[M | None], Generic[M], frozen=True, gc=False):
    """Read the record of an id."""

    table: Table[M]
    id: str


class Select(Read[list[M]], Generic[M], frozen=True, gc=False):
    """Read the records that match a query, in its full order."""

    query: Query[M]


class Page(Read[tuple[list[M], int]], Generic[M], frozen=True, gc=False):
    """Read the records that match a query, and the sequence of the last one; 0 without a record."""

    query: Query[M]


class Values(Read[list[Row]], frozen=True, gc=False):
    """Read some columns of the rows that match a query, in its full order, as they are stored."""

    query: Query[Any]
    fields: tuple[str, ...]


class FirstOfEach(Read[list[Row]], frozen=True, gc=False):
    """Read some columns of the first row of each value of a field, sorted by these values, up to the query's limit.

    The field is the query's first order, and one of the columns; null is skipped. With `after`, read those of higher
    values. An engine whose index holds only the beginning of long texts may leave out values that begin like `after`.
    The cost depends on the number of values read, not on the number of rows of each.
    """

    query: Query[Any]
    fields: tuple[str, ...]
    after: ColumnValue = None


class IsAny(Read[bool], frozen=True, gc=False):
    """Tell whether a row matches one of some queries, whose conditions hold no values but those that limit an index."""

    queries: tuple[Query[Any], ...]


class Sizes(Read[list[tuple[str, int]]], frozen=True, gc=False):
    """Read the ids of the rows that match a query, in its full order, each with the bytes of its columns of some kinds.

    The read transfers none of these bytes, except in a browser.
    """

    query: Query[Any]
    kinds: frozenset[Kind] = LARGE_KINDS


def leading(sizes: Iterable[int], most: int) -> int:
    """Return how many leading sizes fit into so many bytes; at least 1, even if the first one is larger.

    Without sizes, that is 0.
    """
    total = count = 0
    for size in sizes:
        total += size
        if count and total > most:
            break
        count += 1
    return count


class WordIndexes(Read[list[tuple[str, int, int]]], frozen=True, gc=False):
    """Read the indexes of words: the text of each one's collection, and the position up to which it is complete.

    The position is the change number and the sequence of a document. An engine that scans instead has no indexes.
    """


class WordMatches(Read[list[int]], frozen=True, gc=False):
    """Read the sequences of the documents that match a query's conditions, and may have all of these words, in order.

    These are the ones that are indexed with all of the words, and those that were changed after the number `since`.
    """

    query: Query[Any]
    words: tuple[str, ...]
    since: int


Metric = Literal["cosine", "dot", "euclidean"]
"""The similarity measure of vectors: cosine, dot product, or Euclidean distance."""


class NearestCandidates(Read[list[str] | None], frozen=True, gc=False):
    """Read the ids of the rows that match a query's conditions and may be among the `most` nearest to a vector.

    All that are among them are. `None` where the engine has no functions of vectors, or cannot tell: a row has another
    number of dimensions, or a number is too large or too small for its precision.
    """

    query: Query[Any]
    field: str
    vector: bytes
    metric: Metric
    most: int


class Count(Read[int], frozen=True, gc=False):
    """Count the rows that match a query's conditions."""

    query: Query[Any]


class LastSequence(Read[int], frozen=True, gc=False):
    """Read the highest sequence that a row of a table with a `floor` has or had, below `before`; 0 if there was none.

    Deleted rows count if they were committed, or belong to this transaction; rolled-back rows do not. With `before`,
    the read waits for writes in flight that may still add a row below it. Without, no row at or below the result is
    committed later, except when a snapshot is read.
    """

    table: Table[Any]
    before: int | None = None


class Elapsed(NamedTuple):
    """The microseconds from the latest of some time fields to another one; below zero if that is earlier.

    Null if `until` or the first field is null; of the others, null is ignored.
    """

    since: tuple[str, ...]
    until: str


class AggregateFunction(NamedTuple):
    """An aggregate function over a group of rows; nulls are ignored. `count` counts rows and takes no field.

    `percentile` computes `semantics.percentile_of` for the `fraction`, which the other functions do not have. It alone
    takes a time that has elapsed.
    """

    name: Literal["count", "avg", "min", "max", "sum", "percentile"]
    field: str | Elapsed | None = None
    fraction: float | None = None


class Bucket(NamedTuple):
    """Group by an integer or time field, rounded down to a multiple of `width`.

    Times are in microseconds since 1970.
    """

    field: str
    width: int


AggregateRow = Sequence[ColumnValue]
"""The values that define the group, then those of the functions."""


class Aggregate(Read[list[AggregateRow]], frozen=True, gc=False):
    """Compute functions over the groups of the rows that match a query, sorted by the group's values."""

    query: Query[Any]
    group_by: tuple[str | Bucket, ...]
    functions: tuple[AggregateFunction, ...]
