"""Compiles steps and reads into acts."""

from collections.abc import Callable, Sequence
from typing import Any

from swarm_persistence.engines.reads import Aggregate, Count, Get, LastSequence, Page, Read, Select, Values
from swarm_persistence.engines.sql.compiler import restored_values
from swarm_persistence.engines.sql.postgres.acts import (
    Act,
    ClaimAct,
    CountAct,
    HoldAct,
    InsertAct,
    InsertUnlessAct,
    InsertUnlessHeldAct,
    RestoreAct,
    RewriteAct,
    RowsAct,
    SaveAct,
    Steps,
    UnlessAct,
    WhenAct,
)
from swarm_persistence.engines.sql.postgres.arrivals import LastSequenceAct, SettledRowsAct
from swarm_persistence.engines.sql.postgres.claim_acts import ClaimPlan
from swarm_persistence.engines.sql.postgres.compiler import PostgresCompiler
from swarm_persistence.engines.sql.postgres.dialect import PostgresDialect
from swarm_persistence.engines.sql.postgres.new_dependents import InsertDependentsAct, links_and_tasks
from swarm_persistence.engines.sql.postgres.periods import PARTITIONABLE
from swarm_persistence.engines.sql.postgres.row_updates import RowUpdates
from swarm_persistence.engines.sql.postgres.sequences import ReserveAct
from swarm_persistence.engines.steps import (
    Claim,
    Delete,
    IfChanged,
    IfNone,
    Insert,
    LockRows,
    Replace,
    Reserve,
    Restore,
    Save,
    Step,
    Update,
    Upkeep,
)
from swarm_persistence.query.query import Query
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import TABLES, Table
from swarm_persistence.schema.values import ColumnValue


class Plans:
    """Knows the texts of one schema."""

    def __init__(self, schema: str) -> None:
        self.compiler = PostgresCompiler(PostgresDialect(schema))
        self.inserts = {
            table.model: (table, self.compiler.insert_rows(table), codec_of(table.model).encode) for table in TABLES
        }
        self.gets = {table.model: self.compiler.read_by_ids(table) for table in TABLES}
        self._dependents = self.compiler.insert_dependents()
        self._reads: dict[type[Read[Any]], Callable[[Any], Act]] = {
            Get: self._get,
            Select: self._select,
            Page: self._page,
            Values: self._values,
            Count: self._count,
            Aggregate: self._aggregate,
            LastSequence: self._last_sequence,
        }
        self.row_updates = RowUpdates(self.compiler.dialect)

    def row_of(self, step: Insert[Any]) -> tuple[Table[Any], str, tuple[ColumnValue, ...]]:
        """Return table, text and row of a step that adds one."""
        table, text, encode = self.inserts[type(step.model)]
        return table, text, encode(step.model)

    def steps(self, steps: Sequence[Step]) -> Steps:
        """Return the acts of a write; a value that no column can hold raises `SerializationError`."""
        planned = Steps()
        dependents = self._insert_dependents(steps)
        if dependents is not None:
            planned.add(dependents)
            return planned
        for step in steps:
            if isinstance(step, Insert) and not has_key(step):
                planned.add_row(*self.row_of(step))
            else:
                planned.add(self._act(step))
        return planned

    def claim(self, steps: Sequence[Step]) -> ClaimPlan | None:
        """Return the plan of a write that claims what may have to be brought up to date before; `None` for others."""
        return ClaimPlan.of(self.compiler, steps)

    def of_read(self, read: Read[Any]) -> Act:
        """Return what does a read."""
        return self._reads[type(read)](read)

    def _get(self, read: Get[Any]) -> Act:
        decode = codec_of(read.table.model).decode
        return RowsAct(self.gets[read.table.model], ([read.id],), lambda rows: decode(rows[0]) if rows else None)

    def _select(self, read: Select[Any]) -> Act:
        query, compiler = read.query, self.compiler
        if query.without_gaps:
            return SettledRowsAct(compiler.select, query, compiler.dialect.table(query.table))
        decode = codec_of(query.table.model).decode
        return RowsAct(*compiler.select(query), lambda rows: [*map(decode, rows)])

    def _page(self, read: Page[Any]) -> Act:
        decode = codec_of(read.query.table.model).decode
        return RowsAct(
            *self.compiler.select(read.query), lambda rows: ([*map(decode, rows)], rows[-1][-1] if rows else 0)
        )

    def _values(self, read: Values) -> Act:
        return RowsAct(*self.compiler.values(read.query, read.fields), _as_tuples)

    def _count(self, read: Count) -> Act:
        return RowsAct(*self.compiler.count(read.query), _first_value)

    def _aggregate(self, read: Aggregate) -> Act:
        return RowsAct(*self.compiler.aggregate(read), _as_tuples)

    def _last_sequence(self, read: LastSequence) -> Act:
        shown = self.last_shown(read.table, read.before)
        return LastSequenceAct(shown, self.compiler.dialect.table(read.table), read.before)

    def last_shown(self, table: Table[Any], before: int | None) -> RowsAct:
        """Return what finds it among all that is committed at the moment."""
        return RowsAct(*self.compiler.last_sequence(table, before), _first_value)

    def _act(self, step: Step) -> Act:
        compiler = self.compiler
        match step:
            case Insert():
                if has_key(step):
                    return self._insert_unless(step)
                table, text, row = self.row_of(step)
                act = InsertAct(table, text)
                act.rows.append(row)
                return _One(act)
            case Update():
                return self._update(step)
            case Claim():
                return ClaimAct(*compiler.claim(step.query, step.changes), step.query)
            case Delete():
                return self._counted(step.query, *compiler.delete(step.query))
            case Replace():
                table, _, row = self.row_of(Insert(step.model))
                values = compiler.replace_values(table, row, step.is_forced)
                return RewriteAct(table, RowsAct(compiler.replace(table, step.is_forced), values, _first_value))
            case Save():
                return self._save(step)
            case Restore():
                rows = restored_values(step.table, step.rows, step.keeps_sequences)
                text = compiler.restore(step.table, step.keeps_sequences)
                highest: Any = max((row[-1] for row in step.rows), default=0)  # type: ignore[type-var]
                room = self._room_for(step.table, highest) if step.keeps_sequences else None
                return RestoreAct(step.table, text, rows, room)
            case Reserve():
                room = self._room_for(step.table, step.number + 1)
                return ReserveAct(compiler.dialect, step.table, step.number, step.floor, room)
            case LockRows():
                return HoldAct(*compiler.hold(step))
            case IfChanged():
                return WhenAct(self._act(step.step), [self._act(each) for each in step.then])
            case IfNone():
                look = RowsAct(*compiler.exists(step.query), bool)
                return UnlessAct(look, self.steps(step.then))

    def _update(self, step: Update[Any]) -> Act:
        if isinstance(step, Upkeep):
            return self._counted(step.query, *self.compiler.upkeep(step.query, step.changes))
        counted = self._counted(step.query, *self.compiler.update(step.query, step.changes))
        return RewriteAct(step.query.table, counted)

    def _insert_dependents(self, steps: Sequence[Step]) -> InsertDependentsAct | None:
        parts = links_and_tasks(steps, has_key)
        if parts is None:
            return None
        hold, links, tasks = parts
        rows_of_links, rows_of_tasks = ([self.row_of(step)[-1] for step in inserts] for inserts in (links, tasks))
        return InsertDependentsAct(self._dependents, hold, rows_of_links, rows_of_tasks)

    def _insert_unless(self, step: Insert[Any]) -> Act:
        table, _, row = self.row_of(step)
        assert step.unless is not None
        if table.name not in PARTITIONABLE:
            return InsertUnlessAct(table, self.compiler.insert_one_unless(table, step.unless), row)
        texts = self.compiler.insert_one_unless_held(table, step.unless)
        return InsertUnlessHeldAct(table, *texts, row, step.unless)

    def _save(self, step: Save[Any]) -> Act:
        table, _, row = self.row_of(Insert(step.model))
        if table.name in PARTITIONABLE:
            return SaveAct(table, self.compiler.save_by_id(table), row)
        return RewriteAct(table, CountAct(table, self.compiler.save(table), row))

    def _room_for(self, table: Table[Any], number: int) -> RowsAct | None:
        if table.name not in PARTITIONABLE:
            return None
        return RowsAct(self.compiler.make_room(), (table.name, number), _first_value)

    @staticmethod
    def _counted(query: Query[Any], text: str, values: list[ColumnValue]) -> CountAct:
        return CountAct(query.table, text, values)


class _One:
    """Gives the one result of an act that gives a list."""

    is_single = True

    def __init__(self, act: InsertAct) -> None:
        self.table = act.table
        self._act = act

    async def run(self, connection: Any) -> Any:
        """Run the act."""
        return (await self._act.run(connection))[0]


def has_key(step: Insert[Any]) -> bool:
    """Tell whether another row's key may stand against a step that adds one."""
    return step.unless is not None and getattr(step.model, step.unless) is not None


def _first_value(rows: list[Any]) -> Any:
    return rows[0][0] if rows else None


def _as_tuples(rows: list[Any]) -> list[Any]:
    return [*map(tuple, rows)]
