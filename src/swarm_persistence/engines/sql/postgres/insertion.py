"""Statements that insert rows: many at once, as arrays, into tables that may be partitioned, and tasks with links."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, pairwise, takewhile
from operator import itemgetter
from typing import Any, Self

import asyncpg

from swarm_persistence.engines.sql.postgres.compiler import Numbering, PostgresCompiler
from swarm_persistence.engines.sql.postgres.failures import conflict, constraint_of, index_of, overtaken, refused
from swarm_persistence.engines.sql.postgres.given_values import arrays_of, short_arrays_of
from swarm_persistence.engines.sql.postgres.row_sizes import first_part, parts_of, sizes_at
from swarm_persistence.engines.sql.postgres.statements import Values
from swarm_persistence.engines.sql.statements import (
    MOST_BYTES_IN_LOOP,
    Exchange,
    InsertStatement,
    RowsStatement,
    Statement,
    TextStatement,
)
from swarm_persistence.engines.steps import CountOf, Delete, IfNone, Insert, LockRows, Step, Update
from swarm_persistence.errors import ConflictError
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.models.links import TaskLink
from swarm_persistence.query.query import Condition, Query, Subquery, one_of
from swarm_persistence.query.task_statuses import IS_UNSUCCESSFUL
from swarm_persistence.schema.tables import TASK_LINKS, TASKS, UNMET_DEPENDENCIES, M, Table

LARGEST_INSERT = 2000
"""Rows in one INSERT: enough to amortize a round trip, few enough that the server need not hold much."""

_MOST_MARKED = 8
"""How many rows with large values are sent without arrays: the driver copies an array once more, all in one go."""


class ArrayInsertStatement(InsertStatement, eq=False, gc=False):
    """Inserts rows, which are sent as one array for each column."""

    text: str
    _parts: Sequence[Sequence[Values]] | None = None
    has_notified: bool = False
    """Whether the commit itself has notified other processes."""

    @property
    def parts(self) -> Sequence[Sequence[Values]]:
        """Return the rows of each statement; all rows of this one are there when it is first asked for."""
        if self._parts is None:
            self._parts = [*parts_of(self.rows, LARGEST_INSERT, sizes_at(self.table.large_places))]
        return self._parts

    @property
    def is_single(self) -> bool:
        return len(self.parts) <= 1

    def run(self) -> Exchange[list[Any]]:
        sequences: list[Any] = []
        for rows in self.parts:
            # RETURNING has no order.
            sequence_of = dict((yield from self._added(rows, short_arrays_of(self.table, rows))))
            sequences += [sequence_of[row[0]] for row in rows]
        return self.step_results(sequences)

    def _added(self, rows: Sequence[Values], values: Values) -> Exchange[list[Any]]:
        try:
            added: list[Any] = yield TextStatement(self.text, values, self.table)
        except asyncpg.UniqueViolationError as error:
            raise refused(self.table, error, rows) from error
        return added


class RowInsertStatement(ArrayInsertStatement, eq=False, gc=False):
    """Inserts one row, without arrays, and sets `has_notified`: if it may, its commit notifies other processes."""

    may_notify: bool = False

    def run(self) -> Exchange[list[Any]]:
        ((sequence, has_notified),) = yield from self._added(self.rows, (*self.rows[0], self.may_notify))
        self.has_notified = bool(has_notified)
        return self.step_results([sequence])


class ArrayPutStatement(RowsStatement, eq=False, gc=False):
    """Inserts or replaces rows of one table; returns version and creation time of each row that was written."""

    compiler: PostgresCompiler
    if_absent: bool
    has_lock_timeout: bool = False
    """Whether it fails soon if another transaction holds one of the rows."""

    @property
    def may_be_shared(self) -> bool:
        """Tell whether rows of other puts may go into its statement: no value is large, and the ids are in order.

        If ids are not in order, the statement needs a privilege on the table's sequence, which the others do not.
        """
        return self._is_sorted and not any(map(self._is_large, self.rows))

    @property
    def _is_sorted(self) -> bool:
        ids: list[Any] = [row[0] for row in self.rows]
        return all(first < second for first, second in pairwise(ids))

    @property
    def is_single(self) -> bool:
        return first_part(self.rows, LARGEST_INSERT, sizes_at(self.table.large_places)) == len(self.rows)

    def run(self) -> Exchange[list[tuple[int, int] | None]]:
        ids: list[Any] = [row[0] for row in self.rows]
        written: dict[Any, tuple[int, int]] = {}
        if self._is_sorted:
            yield from self._put_parts(self.rows, Numbering.BY_ID, written)
        elif self.is_single:
            yield from self._put(self.rows, Numbering.BY_PLACE, written)
        else:
            draw = self.compiler.draw_numbers(self.table)
            numbers = yield TextStatement(draw, (len(self.rows),), self.table)
            # All are sorted, not each part: two writers that lock the same rows in different orders would deadlock.
            numbered = sorted(
                ((*row, number) for row, (number,) in zip(self.rows, sorted(numbers), strict=True)), key=itemgetter(0)
            )
            yield from self._put_parts(numbered, Numbering.GIVEN, written)
        return [written.get(id) for id in ids]

    def _put_parts(
        self, rows: Sequence[Values], numbering: Numbering, written: dict[Any, tuple[int, int]]
    ) -> Exchange[None]:
        for part in parts_of(rows, LARGEST_INSERT, sizes_at(self.table.large_places)):
            yield from self._put(part, numbering, written)

    def _put(self, rows: Sequence[Values], numbering: Numbering, written: dict[Any, tuple[int, int]]) -> Exchange[None]:
        marked = len(rows) if len(rows) <= _MOST_MARKED and any(map(self._is_large, rows)) else None
        columns = arrays_of(rows) if marked is None else [*chain.from_iterable(zip(*rows, strict=True))]
        text = self.compiler.put_rows(
            self.table,
            if_absent=self.if_absent,
            numbering=numbering,
            marked=marked,
            has_lock_timeout=self.has_lock_timeout,
        )
        values = self.compiler.put_values(self.table, columns, if_absent=self.if_absent)
        try:
            stored = yield TextStatement(text, values, self.table)
        except asyncpg.UniqueViolationError as error:
            raise refused(self.table, error, rows) from error
        written.update((id, (version, created_at)) for id, version, created_at in stored)

    def _is_large(self, row: Values) -> bool:
        large: Any = [row[place] for place in self.table.large_places]
        return any(value is not None and len(value) > MOST_BYTES_IN_LOOP for value in large)


class _RowStatement(Statement, eq=False, gc=False):
    """Writes a row, and translates the violations of its constraints."""

    text: str
    values: Values
    table: Table[Any]

    def tables_changed(self) -> Iterable[str]:
        return (self.table.name,)


class InsertUnlessStatement(_RowStatement, eq=False, gc=False):
    """Inserts a row unless another one has its key; gives its sequence, or 0."""

    def run(self) -> Exchange[int]:
        try:
            rows = yield TextStatement(self.text, self.values, self.table)
        except asyncpg.UniqueViolationError as error:
            raise refused(self.table, error, [self.values]) from error
        return int(rows[0][0]) if rows else 0


class InsertUnlessHeldStatement(_RowStatement, eq=False, gc=False):
    """Inserts a row into a table that may be partitioned, unless another one has its key; gives its sequence, or 0."""

    check_text: str
    key: str

    def run(self) -> Exchange[int]:
        table, values = self.table, self.values
        try:
            ((sequence, is_held),) = yield TextStatement(self.text, values, table)
        except asyncpg.UniqueViolationError as error:
            if constraint_of(table, error) == index_of(table, self.key):
                raise overtaken(table, error) from error
            raise refused(table, error, [values]) from error
        if sequence or is_held:
            return int(sequence)
        # A row with this key or id was committed meanwhile.
        identity = values[0]
        check = TextStatement(self.check_text, (values[table.positions[self.key]], identity), table)
        ((is_held, is_known),) = yield check
        if is_known and not is_held:
            raise conflict(table.label, identity, None)
        return 0


class SavePartitionedStatement(_RowStatement, eq=False, gc=False):
    """Replaces or inserts a row of a table that may be partitioned; gives 1."""

    def run(self) -> Exchange[int]:
        try:
            ((count,),) = yield TextStatement(self.text, self.values, self.table)
        except asyncpg.UniqueViolationError as error:
            if constraint_of(self.table, error) == f"{self.table.name}_id_key":
                raise overtaken(self.table, error) from error
            raise refused(self.table, error, [self.values]) from error
        return int(count)


class RestoreStatement(RowsStatement, eq=False, gc=False):
    """Inserts rows with their hidden columns; gives how many."""

    text: str
    make_room: Statement | None
    """Creates the partition of the highest sequence, where the table is partitioned by it."""

    @property
    def is_single(self) -> bool:
        size_of = sizes_at(self.table.large_places)
        return self.make_room is None and first_part(self.rows, len(self.rows), size_of) == len(self.rows)

    def run(self) -> Exchange[int]:
        if not self.rows:
            return 0
        if self.make_room is not None:
            yield from self.make_room.run()
        try:
            for rows in parts_of(self.rows, len(self.rows), sizes_at(self.table.large_places)):
                yield TextStatement(self.text, arrays_of(rows), self.table)
        except asyncpg.UniqueViolationError as error:
            raise ConflictError(f"{self.table.label}s cannot be restored: {error.detail or error}") from error
        return len(self.rows)


_MOST_ROWS = 500
"""More links or tasks than this are stored by separate statements, as round trips no longer matter then."""

_IS_COMPLETED = Condition("status", "=", TaskStatus.COMPLETED.value)


class InsertDependentsStatement(InsertStatement, eq=False, gc=False):
    """Inserts tasks with their links, unless another task waits for one, or a dependency of one has failed.

    It locks the dependencies first. If it inserts nothing, the steps run one by one.
    Gives the results of `LockRows` and `IfNone`; of the innermost steps, those of the tasks only.
    """

    text: str
    others: list[Any]

    @classmethod
    def of(cls, text: str, lock: LockRows, links: Sequence[Values], tasks: Sequence[Values]) -> Self:
        """Return the statement that adds these rows."""
        dependencies = [*dict.fromkeys(link[TASK_LINKS.positions["dependency_id"]] for link in links)]
        return cls(TASKS, [*tasks], text, [lock.shared, lock.exclusive, dependencies, *zip(*links, strict=True)])

    def run(self) -> Exchange[list[Any]]:
        try:
            added = yield TextStatement(self.text, [*self.others, *arrays_of(self.rows)], TASKS)
        except asyncpg.UniqueViolationError as error:
            # Only the sequence of a link can conflict here: a link with the same id is skipped.
            table = TASK_LINKS if error.table_name == TASK_LINKS.name else TASKS
            raise refused(table, error, self.rows) from error
        # RETURNING has no order.
        sequence_of = dict(added)
        return self.step_results([sequence_of[row[0]] for row in self.rows] if added else [])

    def step_results(self, sequences: list[Any]) -> list[Any]:
        return [None, [sequences] if sequences else None]


def links_and_tasks(
    steps: Sequence[Step], has_key: Callable[[Insert[Any]], bool]
) -> tuple[LockRows, list[Insert[TaskLink]], list[Insert[TaskModel]]] | None:
    """Return what a write of new tasks with links locks and adds; `None` for any other write."""
    match steps:
        case [LockRows() as lock, IfNone(query=awaited, then=(IfNone(query=vain, then=then),))]:
            pass
        case _:
            return None
    tasks = [*takewhile(lambda insert: not has_key(insert), _first_inserts(then, TaskModel))]
    links = [*_first_inserts(then[len(tasks) :], TaskLink)]
    if not (0 < len(tasks) <= _MOST_ROWS and 0 < len(links) <= _MOST_ROWS):
        return None
    ids = [*dict.fromkeys(link.model.task_id for link in links)]
    dependencies = [*dict.fromkeys(link.model.dependency_id for link in links)]
    is_such = (
        lock == LockRows(TASKS, lock.shared, lock.exclusive)
        and awaited == Query(TASK_LINKS, (one_of("dependency_id", lock.exclusive),))
        and vain == Query(TASKS, (one_of("id", dependencies), IS_UNSUCCESSFUL))
        and [*then[len(tasks) + len(links) :]] == _steps_after_linking(ids, dependencies)
    )
    return (lock, links, tasks) if is_such else None


def _first_inserts(steps: Sequence[Step], model: type[M]) -> Iterator[Insert[M]]:
    """Yield the first steps as long as they add a record of this model."""
    for step in steps:
        if not (isinstance(step, Insert) and isinstance(step.model, model)):
            return
        yield step


def _steps_after_linking(ids: Sequence[str], dependencies: Sequence[str]) -> list[Step]:
    """Return the steps that reduce a task's links to dependencies that are not completed, and count them."""
    completed = Query(TASKS, (one_of("id", dependencies), _IS_COMPLETED))
    of_completed = Condition("dependency_id", "IN SUBQUERY", Subquery(completed, "id"))
    return [
        Delete(Query(TASK_LINKS, (one_of("task_id", ids), of_completed))),
        Update(Query(TASKS, (one_of("id", ids),)), {UNMET_DEPENDENCIES: CountOf(TASK_LINKS, "task_id")}),
    ]
