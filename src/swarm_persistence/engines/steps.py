"""The steps of a write as values: `write([Insert(task)])` runs them atomically and returns the result of each."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic

import msgspec

from swarm_persistence.models import ClaimOutcome
from swarm_persistence.query.query import FromNow, Query
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import M, Table
from swarm_persistence.schema.values import ColumnValue


# The garbage collector need not track them: one write has thousands, in no cycle.
class Insert(msgspec.Struct, Generic[M], frozen=True, gc=False):
    """Add a record. Result: its sequence. A stored id raises `ConflictError`, which names model and id.

    If `unless` names a field, and a row has the same value in it (not null), nothing is added; the result is 0.
    """

    model: M
    unless: str | None = None


class Save(msgspec.Struct, Generic[M], frozen=True):
    """Add a record, or replace the one of its id and version. Result: the rows written, 0 if the version differs.

    It is also 0 if the stored one has the sticky value (`Table.sticky`), and the new one does not.
    """

    model: M


class Put(msgspec.Struct, Generic[M], frozen=True, gc=False):
    """Add records of one table, or replace those of their ids; no two may share an id.

    A replaced record keeps its `created_at`, and its version is raised. With `if_absent`, stored records are left as
    they are. Result: for each record the version and `created_at` now stored, as column values, or `None` if it was
    left. `created_at` may be `None` for the version 1, which has that of the record.
    """

    models: Sequence[M]
    if_absent: bool = False


class Take(msgspec.Struct, Generic[M], frozen=True):
    """Delete the rows that match a query; its order and limit are ignored. Result: their records, in any order."""

    query: Query[M]


class Replace(msgspec.Struct, Generic[M], frozen=True):
    """Replace the record of this id, and of this version unless it is forced.

    Result: its new version (0 if the model has none), or `None` if there is no such record, or it has
    the sticky value (`Table.sticky`) and the new one does not, unless it may lose it.
    """

    model: M
    is_forced: bool = False
    may_lose_sticky: bool = False


class Increment(msgspec.Struct, frozen=True):
    """A change that adds a number to the present value."""

    by: int = 1


class CountOf(msgspec.Struct, frozen=True):
    """A change to the count of another table's rows that have this row's id in a field."""

    table: Table[Any]
    field: str


class EndClaim(msgspec.Struct, frozen=True):
    """A change to the list of past claims: the row's claim ends now, with this outcome and error.

    The claim is taken from the row's columns as they are before the write; without an agent, the list stays as it is.
    Beyond `MOST_PAST_CLAIMS`, the oldest is dropped.
    """

    outcome: ClaimOutcome
    error: str | None = None


Change = ColumnValue | Increment | FromNow | CountOf | EndClaim


class Update(msgspec.Struct, Generic[M], frozen=True):
    """Change the rows that match a query, at most its limit. Result: the number of rows changed."""

    query: Query[M]
    changes: Mapping[str, Change]


class Upkeep(Update[M], Generic[M], frozen=True, eq=False):
    """An update that depends only on the current time, and precedes many writes: one shared object for all of them.

    An engine may run it once for the writes that it commits together, and give each of them the result.
    """


class Claim(msgspec.Struct, Generic[M], frozen=True):
    """Change the first rows that match a query, at most its limit. Result: the changed records, in the query's order.

    If the change makes a row no longer match, no two claims ever get the same row. Nothing is changed if a row matches
    one of the queries `unless`, whose conditions hold no values but those that limit an index.

    With `fields`, the result has the values of these columns of the changed row instead, as a tuple: no engine reads
    the rest of the row. The query must then name an id.
    """

    query: Query[M]
    changes: Mapping[str, Change]
    unless: tuple[Query[Any], ...] = ()
    fields: tuple[str, ...] = ()


class Delete(msgspec.Struct, Generic[M], frozen=True):
    """Delete the rows that match a query; its order and limit are ignored. Result: the number of rows deleted."""

    query: Query[M]


class DeleteFirst(msgspec.Struct, Generic[M], frozen=True):
    """Delete the first rows that match a query, by id, up to its limit and to a number of bytes.

    At least one row is deleted, however large. Bytes are those of `Sizes`. Result: the number of rows deleted that had
    not expired, and the id of the last row deleted, or `None` if fewer matched than might have been deleted.
    """

    query: Query[M]
    bytes: int


MOST_COUNTED = 8
"""The highest number of links that a counter states exactly on every engine."""


class Unlink(msgspec.Struct, frozen=True):
    """Delete the links that match a query, and count the links that are left to the rows that they led from.

    A link names its row, one of `table`, in `field`. The counter is exact up to `MOST_COUNTED`, and above that never
    lower than the number of links: an engine need not write a wide row once for each. A row must not have several of
    the links to delete. Result: the number of links deleted.
    """

    links: Query[Any]
    field: str
    table: Table[Any]
    counter: str


class LockRows(msgspec.Struct, frozen=True):
    """Lock ids of a table, whether or not they are stored, until this write is committed. No result.

    A write that adds references to rows takes `shared` locks on their ids. One that ends a task locks its id
    exclusively: a query for the rows that refer to it then finds all that were stored before, and later writers see
    that it has ended.

    No other transaction changes a stored row that is locked. With `skips_missing`, ids that are not stored need none.
    """

    table: Table[Any]
    shared: tuple[str, ...] = ()
    exclusive: tuple[str, ...] = ()
    skips_missing: bool = False


class Restore(msgspec.Struct, Generic[M], frozen=True):
    """Add rows from another store: the columns of `Table.stored_names`, then the sequence. Result: the number of rows.

    Hidden columns are kept, except the change number, which is assigned anew. Sequences are kept, or assigned anew in
    the order of the rows. A stored id, sequence or key raises `ConflictError`.
    """

    table: Table[M]
    rows: Sequence[Row]
    keeps_sequences: bool


class Reserve(msgspec.Struct, frozen=True):
    """Make every later row of a table get a sequence above this number. No result.

    In a table with a floor, also set the floor: the highest sequence of its deleted rows.
    """

    table: Table[Any]
    number: int
    floor: int


class KeepWordIndex(msgspec.Struct, frozen=True):
    """Keep an index of the words of a collection and all below it, replacing those within it; or forget it. No result.

    An engine that scans does nothing.
    """

    collection: str
    is_kept: bool = True


class IndexWords(msgspec.Struct, frozen=True):
    """Replace the indexed words of documents, each named by its sequence; without words, it is forgotten.

    With a collection, its index moves from the position `since` to `upto`, each a change number and a sequence; if it
    is not at `since`, nothing is written. Result: whether it was.
    """

    words: Sequence[tuple[int, tuple[str, ...]]]
    collection: str | None = None
    since: tuple[int, int] = (0, 0)
    upto: tuple[int, int] = (0, 0)


class IfChanged(msgspec.Struct, frozen=True):
    """Run a step and, if it added or changed a row, the steps after it. Result: that of the first step."""

    step: "Step"
    then: "Sequence[Step]"


class IfNone(msgspec.Struct, frozen=True):
    """Run the steps if no row matches a query's conditions. Result: those of the steps, or `None` if a row matches.

    Another write may add a matching row meanwhile, unless an earlier `LockRows` prevents that.
    """

    query: Query[Any]
    then: "tuple[Step, ...]"


class IndependentWrites(msgspec.Struct, frozen=True):
    """Run several independent writes. Result: for each write, the results of its steps.

    An engine may commit each of them separately from the others and from the rest of the write, before it or
    concurrently. So if the write fails, any of them may be stored.
    """

    writes: "tuple[Sequence[Step], ...]"


Step = (
    Insert[Any]
    | Save[Any]
    | Put[Any]
    | Take[Any]
    | Replace[Any]
    | Update[Any]
    | Claim[Any]
    | Delete[Any]
    | DeleteFirst[Any]
    | Unlink
    | LockRows
    | Restore[Any]
    | Reserve
    | KeepWordIndex
    | IndexWords
    | IfChanged
    | IfNone
    | IndependentWrites
)
