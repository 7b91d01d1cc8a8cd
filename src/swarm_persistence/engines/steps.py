"""The steps of a write as values: `write([Insert(task)])` does all of them or none, and gives the result of each."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic

import msgspec

from swarm_persistence.query.query import FromNow, Query
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import M, Table
from swarm_persistence.schema.values import ColumnValue


class Insert(msgspec.Struct, Generic[M], frozen=True):
    """Add a record. Gives its sequence; a known id raises `ConflictError`, which names model and id.

    Where `unless` names a field, and a row holds the same value in it (not null), nothing is added, and 0 is given.
    """

    model: M
    unless: str | None = None


class Save(msgspec.Struct, Generic[M], frozen=True):
    """Add a record, or replace the one of its id and version. Gives the rows written: 0 if the version differs.

    It is also 0 if the stored one has the sticky value (`Table.sticky`), and the new one does not.
    """

    model: M


class Replace(msgspec.Struct, Generic[M], frozen=True):
    """Replace the record of this id, and of this version unless it is forced.

    Gives the version that it has now (0 where the model counts none), or `None` if there is no such record, or it has
    the sticky value (`Table.sticky`) and the new one does not.
    """

    model: M
    is_forced: bool = False


class Increment(msgspec.Struct, frozen=True):
    """A change by so much instead of to a value."""

    by: int = 1


class CountOf(msgspec.Struct, frozen=True):
    """A change to the number of another table's rows that hold this row's id in a field."""

    table: Table[Any]
    field: str


Change = ColumnValue | Increment | FromNow | CountOf


class Update(msgspec.Struct, Generic[M], frozen=True):
    """Change the rows that a query finds, the first ones up to its limit if it has one. Gives how many they were."""

    query: Query[M]
    changes: Mapping[str, Change]


class Upkeep(Update[M], Generic[M], frozen=True, eq=False):
    """An update that brings rows up to the present time, the same for whoever writes: one object for all writes.

    An engine may do it once for the writes that it commits together, and give each of them the result.
    """


class Claim(msgspec.Struct, Generic[M], frozen=True):
    """Change the first rows that a query finds, in its order and up to its limit. Gives them, changed, in that order.

    No two claims ever get the same row while its change takes it out of the query.
    """

    query: Query[M]
    changes: Mapping[str, Change]


class Delete(msgspec.Struct, Generic[M], frozen=True):
    """Delete the rows that a query finds (its order and limit do not count). Gives how many they were."""

    query: Query[M]


class LockRows(msgspec.Struct, frozen=True):
    """Hold rows of a table by their ids, stored or not, until this write is committed. Gives nothing.

    Any number of writes may hold the `referred` ones at once: other rows are about to name them. Those `alone` no other
    write holds, nor the other way round. A write that ends a task holds it alone by itself before it is done: so a look
    for rows that name it finds all that were stored before, and those that are stored later see that it is over.

    No other transaction changes a stored row that is held. With `are_stored`, ids that are not stored do not matter.
    """

    table: Table[Any]
    referred: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    are_stored: bool = False


class Restore(msgspec.Struct, Generic[M], frozen=True):
    """Add rows as another store kept them, in the form of `Table.stored_names` and the sequence. Gives how many.

    Hidden columns are taken as they are, but for the number of the change, which is the next one. Sequences are kept,
    or given anew in the order of the rows. A known id, sequence or key raises `ConflictError`.
    """

    table: Table[M]
    rows: Sequence[Row]
    keeps_sequences: bool


class Reserve(msgspec.Struct, frozen=True):
    """Let every later row of a table have a sequence above this number. Gives nothing.

    Of a table with a floor, that is set, too: to the highest sequence of the rows that were deleted.
    """

    table: Table[Any]
    number: int
    floor: int


class IfChanged(msgspec.Struct, frozen=True):
    """Do a step, and if it added or changed anything, the steps after it. Gives the result of the first one."""

    step: "Step"
    then: "tuple[Step, ...]"


class IfNone(msgspec.Struct, frozen=True):
    """Do the steps if no row fulfils a query's conditions. Gives their results, or `None` if there is such a row.

    Another write may add such a row meanwhile, unless a `LockRows` before keeps it from that.
    """

    query: Query[Any]
    then: "tuple[Step, ...]"


Step = (
    Insert[Any]
    | Save[Any]
    | Replace[Any]
    | Update[Any]
    | Claim[Any]
    | Delete[Any]
    | LockRows
    | Restore[Any]
    | Reserve
    | IfChanged
    | IfNone
)
