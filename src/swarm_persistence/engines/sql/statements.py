"""The statements that steps and reads compile to: generators that yield the SQL to run and are sent its result.

They do not depend on a driver. A loop runs them: `sqlite/execution.py` in a thread, `postgres/execution.py` in an event
loop.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from copy import copy
from itertools import chain
from operator import attrgetter
from typing import Any, ClassVar, Self, TypeVar, final

import msgspec

from swarm_persistence.engines.prepared import Parameter
from swarm_persistence.engines.reads import leading
from swarm_persistence.engines.steps import DeleteFirst
from swarm_persistence.query.query import Condition, Query, unexpired
from swarm_persistence.query.semantics import sorted_rows
from swarm_persistence.schema.codec import CODECS
from swarm_persistence.schema.tables import Table

T = TypeVar("T")

MOST_BYTES_IN_LOOP = 65_536
"""The largest value that is read or written in an event loop's own thread."""

_values_of = attrgetter("values")
_count: Callable[[Any], int] = int

Exchange = Generator["Statement", Any, T]
"""Yields statements for a driver to run, receives the result or the error of each, and returns a result.

A driver answers a `CountStatement` with the number of changed rows, any other `TextStatement` with its rows.
"""


# The garbage collector need not track them: thousands are in flight at once, in no cycle.
class Statement(msgspec.Struct, eq=False, gc=False):
    """A compiled step or read."""

    @property
    def is_single(self) -> bool:
        """Tell whether it runs at most one SQL statement, and so is atomic without a transaction."""
        return True

    @property
    def is_short(self) -> bool:
        """Tell whether it reads or writes a single row found by an index."""
        return False

    @property
    def in_loop(self) -> "Statement | None":
        """Return the statement that an event loop may run in its own thread; `None` if it may take long."""
        return self if self.is_short else None

    @property
    def may_be_short(self) -> bool:
        """Tell whether an event loop may start it in its own thread, and move it to another one if it takes long."""
        return False

    @property
    def values(self) -> Iterable[Any]:
        """Return all values that it may bind."""
        return ()

    @property
    def can_fail_after_change(self) -> bool:
        """Tell whether it may raise after the database has run it."""
        return False

    def run(self) -> Exchange[Any]:
        """Run it and return its result."""
        raise NotImplementedError

    def tables_changed(self) -> Iterable[str]:
        """Return the names of the tables that it may change."""
        return ()

    def bound(self, values: Sequence[Any]) -> Self:
        """Return the statement with these values for its parameters."""
        return self


class TextStatement(Statement, eq=False, gc=False):
    """One SQL statement; gives its rows."""

    text: str
    values: Sequence[Any]
    table: Table[Any]

    changes_table: ClassVar[bool] = False

    @final
    def run(self) -> Exchange[Any]:
        """Return the result made from the rows; a statement that does more is not a `TextStatement`: see `run_all`."""
        return self.result((yield self))

    def result(self, rows: list[Any], /) -> Any:
        """Return what the caller gets for the rows."""
        return rows

    def tables_changed(self) -> Iterable[str]:
        return (self.table.name,) if self.changes_table else ()

    def bound(self, values: Sequence[Any]) -> Self:
        bound = copy(self)
        bound.values = [values[each.position] if type(each) is Parameter else each for each in self.values]
        return bound


class CountStatement(TextStatement, eq=False, gc=False):
    """Changes rows; gives how many."""

    changes_table: ClassVar[bool] = True
    result = staticmethod(_count)


class SaveStatement(CountStatement, eq=False, gc=False):
    """Replaces or adds one row; gives how many it wrote."""

    is_short: ClassVar[bool] = True


class ValueStatement(TextStatement, eq=False, gc=False):
    """Gives the first value of the first row, or `None` if there is no row."""

    def result(self, rows: list[Any]) -> Any:
        return rows[0][0] if rows else None


class ReplaceStatement(ValueStatement, eq=False, gc=False):
    """Replaces one row; gives its version, or `None` if there is no such row."""

    changes_table: ClassVar[bool] = True
    is_short: ClassVar[bool] = True


class ExistsStatement(TextStatement, eq=False, gc=False):
    """Tells whether there is a row."""

    may_be_short: ClassVar[bool] = True

    def result(self, rows: list[Any]) -> bool:
        return bool(rows)


class TruthStatement(TextStatement, eq=False, gc=False):
    """Gives the truth value of the single value that it reads."""

    may_be_short: ClassVar[bool] = True

    def result(self, rows: list[Any]) -> bool:
        return bool(rows[0][0])


class NothingStatement(TextStatement, eq=False, gc=False):
    """Gives `None`, for a read that this database does not support."""

    def result(self, rows: list[Any]) -> None:
        return None


class RecordsStatement(TextStatement, eq=False, gc=False):
    """Gives the records of whole rows."""

    @property
    def may_be_short(self) -> bool:
        return not self.table.may_be_large

    @property
    def decode(self) -> Callable[[Any], Any]:
        """Return the function that makes a record of a row."""
        return CODECS[self.table.model].decode

    def result(self, rows: list[Any]) -> Any:
        return self.result_of(rows, [*map(self.decode, rows)])

    def result_of(self, rows: Sequence[Any], records: list[Any]) -> Any:
        """Return the caller's result from the rows and the records decoded from them."""
        return records


class RecordStatement(RecordsStatement, eq=False, gc=False):
    """Gives the record of an id, or `None` if there is no row."""

    is_short: ClassVar[bool] = True

    def result(self, rows: list[Any]) -> Any:
        return CODECS[self.table.model].decode(rows[0]) if rows else None


class PageStatement(RecordsStatement, eq=False, gc=False):
    """Gives the records of whole rows, and the sequence of the last one."""

    def result_of(self, rows: Sequence[Any], records: list[Any]) -> Any:
        return records, rows[-1][-1] if rows else 0


class TuplesStatement(TextStatement, eq=False, gc=False):
    """Gives rows as tuples."""

    @property
    def may_be_short(self) -> bool:
        return not self.table.may_be_large

    def result(self, rows: list[Any]) -> Any:
        return [*map(tuple, rows)]


class ClaimStatement(TextStatement, eq=False, gc=False):
    """Changes the first rows of a query; gives their records in its order, which RETURNING does not keep."""

    query: Query[Any]

    changes_table: ClassVar[bool] = True
    can_fail_after_change: ClassVar[bool] = True  # a claimed row may be unreadable

    def result(self, rows: list[Any]) -> list[Any]:
        if len(rows) > 1:
            rows = sorted_rows(self.query, rows)
        return [*map(CODECS[self.table.model].decode, rows)]


class ChangedValuesStatement(TuplesStatement, eq=False, gc=False):
    """Changes one row; gives some of its values, as a tuple."""

    changes_table: ClassVar[bool] = True
    may_be_short: ClassVar[bool] = False


class TakeStatement(TextStatement, eq=False, gc=False):
    """Deletes rows; gives their records."""

    changes_table: ClassVar[bool] = True
    can_fail_after_change: ClassVar[bool] = True  # a deleted row may be unreadable

    def result(self, rows: list[Any]) -> list[Any]:
        return [*map(CODECS[self.table.model].decode, rows)]


class RowsStatement(Statement, eq=False, gc=False):
    """Writes rows of one table."""

    table: Table[Any]
    rows: Sequence[Any]

    @property
    def values(self) -> Iterable[Any]:
        return chain.from_iterable(self.rows)

    def tables_changed(self) -> Iterable[str]:
        return (self.table.name,)


class InsertStatement(RowsStatement, eq=False, gc=False):
    """Adds rows of one table, one for each step; gives the sequences, which are the results of its steps."""

    rows: list[Any]

    def step_results(self, sequences: list[Any]) -> list[Any]:
        """Return the results of its steps if its rows have these sequences."""
        return sequences


class IfChangedStatement(Statement, eq=False, gc=False):
    """Runs a step and, if it added or changed anything, further steps; gives the result of the first."""

    first: Sequence[Statement]
    then: Sequence[Statement]

    is_single: ClassVar[bool] = False

    @property
    def values(self) -> Iterable[Any]:
        return values_of((*self.first, *self.then))

    def run(self) -> Exchange[Any]:
        (result,) = yield from run_all(self.first)
        if result:
            yield from run_all(self.then)
        return result

    def bound(self, values: Sequence[Any]) -> Self:
        return type(self)([each.bound(values) for each in self.first], [each.bound(values) for each in self.then])

    def tables_changed(self) -> Iterable[str]:
        return tables_changed((*self.first, *self.then))


class IfNoneStatement(Statement, eq=False, gc=False):
    """Runs steps if a query finds no row; gives their results, or `None` if there is such a row."""

    exists: ExistsStatement
    then: Sequence[Statement]

    is_single: ClassVar[bool] = False

    @property
    def values(self) -> Iterable[Any]:
        return values_of((self.exists, *self.then))

    def run(self) -> Exchange[list[Any] | None]:
        is_met = yield from self.exists.run()
        return None if is_met else (yield from run_all(self.then))

    def tables_changed(self) -> Iterable[str]:
        return tables_changed(self.then)


class DeleteFirstStatement(Statement, eq=False, gc=False):
    """Deletes the first rows of a query; gives the number that had not expired, and the last id.

    One aggregate usually suffices; the size of each row is read only if they are too large for one write.
    """

    extent: TextStatement
    sizes: TuplesStatement
    step: DeleteFirst[Any]
    delete_of: Callable[[Query[Any], int], Statement]
    """Returns the statement that deletes the rows of a query, whose number is known."""

    is_single: ClassVar[bool] = False

    def run(self) -> Exchange[tuple[int, str | None]]:
        query, table = self.step.query, self.step.query.table
        ((count, size, last, expiring),) = yield from self.extent.run()
        if not count:
            return 0, None
        is_rest = query.limit is None or count < query.limit
        if size > self.step.bytes:
            sizes = yield from self.sizes.run()
            if not sizes:
                return 0, None  # another process has deleted them since
            count = leading((size for _, size in sizes), self.step.bytes)
            is_rest = count == len(sizes) and (query.limit is None or count < query.limit)
            last = sizes[count - 1][0]
        # No two bounds on one side: an index takes only one of them.
        others = [each for each in query.conditions if each.field != "id" or each.operator not in ("<", "<=")]
        chosen = (*others, Condition("id", "<=", last))
        deleted = yield from self.delete_of(Query(table, (*chosen, *unexpired(table))), count).run()
        if expiring:
            yield from self.delete_of(Query(table, chosen), count - deleted).run()
        return deleted, None if is_rest else last

    def tables_changed(self) -> Iterable[str]:
        return (self.step.query.table.name,)


class IndependentWritesStatement(Statement, eq=False, gc=False):
    """Runs several writes one after another; gives the results of each."""

    writes: Sequence[Sequence[Statement]]

    is_single: ClassVar[bool] = False

    @property
    def values(self) -> Iterable[Any]:
        return values_of(chain.from_iterable(self.writes))

    def run(self) -> Exchange[list[Any]]:
        results: list[Any] = []
        for write in self.writes:
            results.append((yield from run_all(write)))  # noqa: PERF401 - no comprehension can yield
        return results

    def tables_changed(self) -> Iterable[str]:
        return set[str]().union(*map(tables_changed, self.writes))


def run_all(statements: Iterable[Statement]) -> Exchange[list[Any]]:
    """Run the statements of a write in their order; return the result of each step."""
    results: list[Any] = []
    for statement in statements:
        if isinstance(statement, TextStatement):
            # What `run` does, without a generator more for each statement of a claim.
            results.append(statement.result((yield statement)))
        elif isinstance(statement, InsertStatement):
            results += yield from statement.run()
        else:
            results.append((yield from statement.run()))
    return results


def values_of(statements: Iterable[Statement]) -> Iterable[Any]:
    """Return all values that statements may bind."""
    return chain.from_iterable(map(_values_of, statements))


def tables_changed(statements: Iterable[Statement]) -> set[str]:
    """Return the names of the tables that statements may change."""
    return {name for statement in statements for name in statement.tables_changed()}
