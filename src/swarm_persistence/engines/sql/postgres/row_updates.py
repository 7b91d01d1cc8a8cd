"""Changes of single rows by id: those of equal shape share one statement, however many they are.

The statement skips a row that another transaction has locked, or that does not fulfil the conditions, so no caller
waits for another caller's row. Each skipped change is then retried alone.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

from swarm_persistence.engines.prepared import BoundSteps, Parameter, PreparedWrite
from swarm_persistence.engines.sql.compiler import Compiler, changes_shape
from swarm_persistence.engines.sql.postgres import id_locks
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.dialect import PostgresDialect, hidden
from swarm_persistence.engines.sql.postgres.given_values import GivenMarks, arrays_of, given, types_of
from swarm_persistence.engines.sql.postgres.row_sizes import SizeOf, sizes_at
from swarm_persistence.engines.steps import (
    Change,
    Claim,
    CountOf,
    IfChanged,
    IfNone,
    Increment,
    LockRows,
    Step,
    Unlink,
    Update,
)
from swarm_persistence.query.query import Condition, FromNow, Query
from swarm_persistence.query.text import Marks, listed, quoted, where_text
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import SEQUENCE, TASK_LINKS, TASKS, UNMET_DEPENDENCIES, Kind, Table
from swarm_persistence.schema.values import ColumnValue

_SIZED_TYPES = frozenset({"text", "json", "bytea"})


class Ending(Enum):
    """The effect of a task's change on the tasks that wait for it."""

    NONE = "none"
    MEETS = "meets"  # dependents no longer wait for it
    UNLESS_AWAITED = "unless awaited"  # it is changed only if it has no dependents


class RowUpdateCompiler(Compiler):
    """Compiles any number of single-row changes into one statement over arrays.

    A query names the id of its row, and what else the row must hold.
    """

    dialect: PostgresDialect

    def shape(self, query: Query[Any], changes: Mapping[str, Change]) -> object:
        """Return what the text depends on."""
        return self._conditions_shape(query), changes_shape(changes)

    def change_values(self, query: Query[Any], changes: Mapping[str, Change]) -> list[ColumnValue]:
        """Return the values of one change, each of which goes into an array of its own."""
        return [*self._change_values(changes), *self.dialect.values(query.table, query.conditions)]

    def size_of(self, query: Query[Any], changes: Mapping[str, Change]) -> SizeOf[Sequence[Any]]:
        """Return the function that sizes the values of one change in bytes, except numbers and times."""
        types = self._types(query, changes)
        return sizes_at([place for place, name in enumerate(types) if name in _SIZED_TYPES])

    def text(
        self,
        query: Query[Any],
        changes: Mapping[str, Change],
        literals: Sequence[Condition],
        *,
        returned: Sequence[str],
        ending: Ending,
        unless: Sequence[Query[Any]] = (),
    ) -> str:
        """Return the text; it marks one array for each of the values.

        Of each changed row, it gives the columns `returned`, of which the id is one, and last its place.

        What `literals` say stands in the text.
        """
        table, schema = query.table, self.dialect.schema
        columns = GivenMarks(self.dialect)
        change = self._change(table, changes, columns)
        conditions = [where_text(query, columns), *(hidden(self._literal(table, condition)) for condition in literals)]
        conditions += self._guards(unless, Marks(self.dialect))
        choices = {
            "chosen": f"SELECT {SEQUENCE} AS chosen_sequence, id AS chosen_id, given.*\n"
            f"  FROM {given(self._types(query, changes), Marks(self.dialect))}, {self.dialect.table(table)}\n"
            f"  WHERE {' AND '.join(conditions)}\n"
            # All writers lock in the same order, and this statement never waits: it skips locked rows.
            f"  ORDER BY {SEQUENCE}\n  FOR UPDATE OF {table.name} SKIP LOCKED"
        }
        if ending is not Ending.NONE:
            # Nor does it wait for the lock of an id, which a task that was not committed yet holds: see `id_locks`.
            lock = id_locks.lock_of("chosen_id", f"'{self.dialect.table(table)}'::regclass::oid::bigint")
            choices["free"] = f"SELECT * FROM chosen WHERE pg_try_advisory_xact_lock({lock})"
        # A function's own statements see what was committed before the rows were locked, as this statement does not: a
        # link that was stored in between.
        if ending is Ending.UNLESS_AWAITED:
            choices["unawaited"] = f"SELECT * FROM free WHERE NOT {schema}.is_awaited(chosen_id)"
        meeting = f"SELECT {schema}.meet_dependencies(array_agg(id)) FROM changed"
        source = [*choices][-1]
        names = listed(returned)
        chosen = ", ".join(f"{name} AS MATERIALIZED (\n  {text}\n)" for name, text in choices.items())
        changed = f"{change}\nFROM {source}\nWHERE {SEQUENCE} = chosen_sequence\nRETURNING {names}, place"
        if ending is not Ending.MEETS:
            return f"WITH {chosen}\n{changed}"
        return f"WITH {chosen}, changed AS (\n{changed}\n)\nSELECT {names}, ({meeting}), place\nFROM changed"

    def _types(self, query: Query[Any], changes: Mapping[str, Change]) -> list[str]:
        table = query.table
        compared = [
            (condition.field, condition.value)
            for condition in query.conditions
            if not condition.operator.endswith("NULL") and not self.dialect.is_literal(table, condition)
        ]
        return types_of(self.dialect, table, (*changes.items(), *compared))

    def _literal(self, table: Table[Any], condition: Condition) -> str:
        """Return the condition that a column holds one of some values."""
        values: Any = condition.value
        column = table.column(condition.field)
        return f"{quoted(condition.field)} IN ({', '.join(self.dialect.literal(column, value) for value in values)})"


_TEMPLATES_KEPT = 256
_COMPARISONS = frozenset({"=", "<>", "<", "<=", ">", ">="})


class RowUpdatePlan:
    """The statement of one shape."""

    def __init__(
        self,
        table: Table[Any],
        text: str,
        ending: Ending,
        *,
        size_of: SizeOf[Sequence[Any]],
        result_of: Callable[[Any], Any],
        is_repeatable: bool,
    ) -> None:
        """Take the text, whose last column is the position of each changed row, counted from 1.

        `result_of` makes the step's result from such a row.
        """
        self.table = table
        self._size_of = size_of
        self.is_repeatable = is_repeatable
        """Whether it is idempotent, except for the version."""
        self._text = text
        self._ending = ending
        self._result_of = result_of

    async def run(self, connection: Connection, updates: "Sequence[RowUpdate]") -> list[list[Any] | None]:
        """Return the results of each update's steps; `None` where no row was changed."""
        rows = await connection.run(self._text, arrays_of(update.values for update in updates))
        results: list[list[Any] | None] = [None] * len(updates)
        for row in rows:
            result = self._result_of(row)
            results[row[-1] - 1] = [None, [result]] if self._ending is Ending.UNLESS_AWAITED else [result]
        return results

    def size_of(self, update: "RowUpdate") -> int:
        """Return how many bytes of a change are sent, but for numbers."""
        return self._size_of(update.values)

    def has_changed(self, results: Sequence[Any]) -> bool:
        """Tell from the results of the steps whether a row was changed."""
        return bool(results[-1] and results[-1][0]) if self._ending is Ending.UNLESS_AWAITED else bool(results[0])


class RowUpdate(NamedTuple):
    """One change of one row."""

    plan: RowUpdatePlan
    id: str
    values: Sequence[ColumnValue]
    steps: Sequence[Step]


class _Returned(NamedTuple):
    """The queries that must match no row, the columns returned of a changed row, and the result."""

    unless: tuple[Query[Any], ...]
    columns: tuple[str, ...]
    result_of: Callable[[Any], Any]


class RowUpdates:
    """Recognizes changes of one row; caches the plan of each shape, and of each prepared write with its parameters."""

    def __init__(self, dialect: PostgresDialect) -> None:
        self._compiler = RowUpdateCompiler(dialect)
        self._plans: dict[object, RowUpdatePlan] = {}
        self._template_of = lru_cache(_TEMPLATES_KEPT)(self._template)

    def of(self, steps: Sequence[Step]) -> RowUpdate | None:
        """Return the change that a write is, or `None` if it is anything else."""
        # The text of a relative time depends on its offset.
        if type(steps) is BoundSteps and FromNow not in map(type, steps.values):
            return self._bound(steps)
        return self._of(steps)

    def _bound(self, steps: BoundSteps) -> RowUpdate | None:
        template: Any = self._template_of(steps.prepared)
        if template is None:
            return None
        given = steps.values
        bound = [given[each.position] if type(each) is Parameter else each for each in template.values]
        id = given[template.id.position] if type(template.id) is Parameter else template.id
        return RowUpdate(template.plan, id, bound, steps)

    def _template(self, prepared: PreparedWrite) -> RowUpdate | None:
        return self._of(prepared.template())

    def _of(self, steps: Sequence[Step]) -> RowUpdate | None:
        step = _change_of(steps)
        if not isinstance(step, Claim | Update):
            return None
        query, changes = step.query, step.changes
        guard = _guard_of(query)
        if guard is None or any(isinstance(change, CountOf) for change in changes.values()):
            return None
        id, literals, conditions = guard
        ending = _ending_of(steps, step, id)
        if ending is None:
            return None
        compiler = self._compiler
        compared = Query(query.table, conditions)
        unless, returned, result_of = _result_of(step)
        key = (query.table.name, literals, compiler.shape(compared, changes), returned, ending, unless)
        plan = self._plans.get(key)
        if plan is None:
            text = compiler.text(compared, changes, literals, returned=returned, ending=ending, unless=unless)
            plan = self._plans[key] = RowUpdatePlan(
                query.table,
                text,
                ending,
                size_of=compiler.size_of(compared, changes),
                result_of=result_of,
                is_repeatable=_is_repeatable(changes),
            )
        return RowUpdate(plan, id, compiler.change_values(compared, changes), steps)


def _result_of(step: Claim[Any] | Update[Any]) -> _Returned:
    """Return what a change depends on and gives: see `_Returned`."""
    if not isinstance(step, Claim):
        return _Returned((), ("id",), lambda _: 1)
    table, end = step.query.table, len(step.fields) + 1
    if step.fields:
        return _Returned(step.unless, ("id", *step.fields), lambda row: [row[1:end]])
    decode = codec_of(table.model).decode
    return _Returned(step.unless, (*table.stored_names, SEQUENCE), lambda row: [decode(row)])


def _change_of(steps: Sequence[Step]) -> Step | None:
    """Return the step that is to change a row, if it can be told."""
    last = steps[-1] if steps else None
    if isinstance(last, IfChanged):
        return last.step
    if isinstance(last, IfNone):
        return last.then[0] if len(last.then) == 1 else None
    return last


def _ending_of(steps: Sequence[Step], change: Step, id: str) -> Ending | None:
    """Return the effect of the steps beside the change of the row of this id; `None` for any other steps."""
    if len(steps) == 1 and steps[0] is change:
        return Ending.NONE
    links: Query[Any] = Query(TASK_LINKS, (Condition("dependency_id", "=", id),))
    if len(steps) == 1 and isinstance(steps[0], IfChanged):
        return Ending.MEETS if steps[0].then == _steps_to_meet(links) else None
    return Ending.UNLESS_AWAITED if [*steps] == [LockRows(TASKS, exclusive=(id,)), IfNone(links, (change,))] else None


def _guard_of(query: Query[Any]) -> tuple[str, tuple[Condition, ...], tuple[Condition, ...]] | None:
    """Return the id of a query's only row, the conditions with literal values, and those with bound values."""
    if query.limit not in (None, 1) or query.offset:
        return None
    id: Any = None
    literals: list[Condition] = []
    compared: list[Condition] = []
    for condition in query.conditions:
        field, operator, _ = condition
        if operator == "IN" and query.table.column(field).kind is Kind.CHOICE:
            literals.append(condition)
            continue
        if operator not in _COMPARISONS and operator not in ("IS NULL", "IS NOT NULL"):
            return None
        if field == "id" and operator == "=":
            if id is not None:
                return None
            id = condition.value
        compared.append(condition)
    return None if id is None else (id, tuple(literals), tuple(compared))


def _is_repeatable(changes: Mapping[str, Change]) -> bool:
    return all(name == "version" or not isinstance(change, Increment) for name, change in changes.items())


def _steps_to_meet(links: Query[Any]) -> tuple[Step, ...]:
    """Return the steps that the schema's function `meet_dependencies` performs for a completed task."""
    return (Unlink(links, "task_id", TASKS, UNMET_DEPENDENCIES),)
