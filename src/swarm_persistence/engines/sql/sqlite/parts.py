"""Compiles steps and queries into statements, each made once, with their parameters."""

from collections.abc import Callable
from typing import Any

from swarm_persistence.engines.interface import (
    Claim,
    Delete,
    Hold,
    Insert,
    Replace,
    Reserve,
    Restore,
    Save,
    Step,
    Unless,
    Update,
    Upkeep,
    When,
)
from swarm_persistence.engines.reads import Aggregate, Count, Get, LastSequence, Page, Read, Select, Values
from swarm_persistence.engines.sql.compiler import Compiler, restored_values
from swarm_persistence.engines.sql.sqlite.conditional import NOTHING, UNLESS, WHEN
from swarm_persistence.engines.sql.sqlite.dialect import SqliteDialect
from swarm_persistence.engines.sql.sqlite.operations import Part
from swarm_persistence.engines.sql.sqlite.restored import ReserveStatement, RestoreStatement
from swarm_persistence.engines.sql.sqlite.statements import (
    CountStatement,
    InsertStatement,
    InsertUnlessStatement,
    PageStatement,
    RecordStatement,
    RowsStatement,
    Statement,
    UpkeepStatement,
    ValueStatement,
)
from swarm_persistence.engines.sql.sqlite.unreadable import unreadable_claimed
from swarm_persistence.models import Model
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.query.semantics import sorted_rows
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import TABLES, Table, table_of


class Parts:
    """Knows the statement of every step."""

    def __init__(self) -> None:
        self._compiler = Compiler(SqliteDialect())
        self._statements: dict[object, Statement] = {}
        self._gets = {table.model: self._get_by_id(table) for table in TABLES}
        self._reads: dict[type[Read[Any]], Callable[[Any], Part]] = {
            Get: self._get,
            Select: self._select,
            Page: self._page,
            Values: self._values,
            Count: self._count,
            Aggregate: self._aggregate,
            LastSequence: self._last_sequence,
        }
        self._upkeep: dict[Upkeep[Any], Part] = {}
        self._inserts = {table.model: self._insert(table) for table in TABLES}

    def of_step(self, step: Step) -> Part:
        """Return the statement of a step; a value that no column can hold raises `SerializationError`."""
        if isinstance(step, Insert):
            statement, encode = self._inserts[type(step.model)]
            if step.unless is not None and getattr(step.model, step.unless) is not None:
                return self._insert_unless(statement, step.unless), encode(step.model)
            return statement, encode(step.model)
        match step:
            case When():
                return WHEN, self._of_steps(step.step, *step.then)
            case Restore() | Reserve():
                return self._restoring(step)
            case Unless():
                text, values = self._compiler.exists(step.query)
                return UNLESS, [(self._valued(text, step.query.table), values), *self._of_steps(*step.then)]
            case Hold():
                return NOTHING, ()
            case Upkeep():
                return self._upkeep.get(step) or self._upkeep_of(step)
            case Update():
                text, values = self._compiler.update(step.query, step.changes)
                return self._counted(text, step.query.table), values
            case Claim():
                text, values = self._compiler.claim(step.query, step.changes)
                return self._claimed(text, step.query), values
            case Delete():
                text, values = self._compiler.delete(step.query)
                return self._counted(text, step.query.table), values
            case Replace():
                return self._replace(step.model, step.is_forced)
            case Save():
                table = table_of(type(step.model))
                text = self._compiler.save(table)
                return self._counted(text, table, is_short=True), codec_of(table.model).encode(step.model)

    def _restoring(self, step: Restore[Any] | Reserve) -> Part:
        if isinstance(step, Reserve):
            return ReserveStatement(step.table), (step.number, step.floor)
        rows: Any = restored_values(step.table, step.rows, step.keeps_sequences)
        return self._restored(step.table, step.keeps_sequences), rows

    def _restored(self, table: Table[Any], keeps_sequences: bool) -> Statement:
        key = ("restore", table.name, keeps_sequences)
        statement = self._statements.get(key)
        if statement is None:
            text = self._compiler.restore(table, keeps_sequences)
            statement = self._statements[key] = RestoreStatement(text, table)
        return statement

    def _of_steps(self, *steps: Step) -> list[Any]:
        return [self.of_step(step) for step in steps]

    def of_read(self, read: Read[Any]) -> Part:
        """Return the statement of a read."""
        # Looked up by class: `isinstance` of msgspec's structs takes half a microsecond for each that it is not.
        return self._reads[type(read)](read)

    def _get(self, read: Get[Any]) -> Part:
        return self._gets[read.table.model], (read.id,)

    def _select(self, read: Select[Any]) -> Part:
        text, values = self._compiler.select(read.query)
        return self._statements.get(text) or self._selected(text, read.query.table), values

    def _page(self, read: Page[Any]) -> Part:
        text, values = self._compiler.select(read.query)
        return self._paged(text, read.query.table), values

    def _values(self, read: Values) -> Part:
        text, values = self._compiler.values(read.query, read.fields)
        return self._columns(text, read.query.table), values

    def _count(self, read: Count) -> Part:
        text, values = self._compiler.count(read.query)
        return self._valued(text, read.query.table), values

    def _aggregate(self, read: Aggregate) -> Part:
        text, values = self._compiler.aggregate(read)
        return self._columns(text, read.query.table), values

    def _last_sequence(self, read: LastSequence) -> Part:
        text, values = self._compiler.last_sequence(read.table, read.before)
        return self._valued(text, read.table), values

    def _selected(self, text: str, table: Table[Any]) -> Statement:
        statement = self._statements[text] = RowsStatement(text, table.name, codec_of(table.model).decode)
        return statement

    def _paged(self, text: str, table: Table[Any]) -> Statement:
        key = ("page", text)
        statement = self._statements.get(key)
        if statement is None:
            statement = self._statements[key] = PageStatement(text, table.name, codec_of(table.model).decode)
        return statement

    def _columns(self, text: str, table: Table[Any]) -> Statement:
        key = ("values", text)
        statement = self._statements.get(key)
        if statement is None:
            statement = self._statements[key] = RowsStatement(text, table.name, None)
        return statement

    def _get_by_id(self, table: Table[Any]) -> Statement:
        text, _ = self._compiler.select(Query(table, (Condition("id", "=", ""),)))
        return RecordStatement(text, table.name, codec_of(table.model).decode)

    def _insert(self, table: Table[Any]) -> tuple[InsertStatement, Any]:
        statement = InsertStatement(table, lambda rows: self._compiler.insert(table, rows))
        return statement, codec_of(table.model).encode

    def _replace(self, model: Model, is_forced: bool) -> Part:
        table = table_of(type(model))
        values = codec_of(table.model).encode(model)
        text = self._compiler.replace(table, is_forced)
        replaced = self._valued(text, table, is_short=True)
        return replaced, self._compiler.replace_values(table, values, is_forced)

    def _upkeep_of(self, step: Upkeep[Any]) -> Part:
        text, values = self._compiler.update(step.query, step.changes)
        part = self._upkeep[step] = UpkeepStatement(text, step.query.table.name), values
        return part

    def _claimed(self, text: str, query: Query[Any]) -> Statement:
        statement = self._statements.get(text)
        if statement is None:
            decode = codec_of(query.table.model).decode
            statement = self._statements[text] = ClaimStatement(text, query, decode)
        return statement

    def _insert_unless(self, insert: InsertStatement, field: str) -> Statement:
        table = insert.table
        key = ("insert unless", table.name, field)
        statement = self._statements.get(key)
        if statement is None:
            text, _ = self._compiler.exists(Query(table, (Condition(field, "=", ""),)))
            statement = self._statements[key] = InsertUnlessStatement(insert, text, table.positions[field])
        return statement

    def _counted(self, text: str, table: Table[Any], *, is_short: bool = False) -> Statement:
        statement = self._statements.get(text)
        if statement is None:
            statement = self._statements[text] = CountStatement(text, table.name, is_short=is_short)
        return statement

    def _valued(self, text: str, table: Table[Any], *, is_short: bool = False) -> Statement:
        statement = self._statements.get(text)
        if statement is None:
            statement = self._statements[text] = ValueStatement(text, table.name, is_short=is_short)
        return statement


class ClaimStatement(RowsStatement):
    """Gives the claimed rows in the query's order: RETURNING has none."""

    can_fail_after_change = True  # a claimed row may be unreadable

    def __init__(self, text: str, query: Query[Any], decode: Any) -> None:
        super().__init__(text, query.table.name, None)
        self._query = query
        self._decode = decode

    def run(self, cursor: Any, parameters: Any) -> list[Any]:
        """Run it and return the records."""
        try:
            rows: list[Any] = cursor.execute(self.text, parameters).fetchall()
        except UnicodeDecodeError as error:
            raise unreadable_claimed(cursor, self.table_name, error) from error
        if len(rows) > 1:
            rows = sorted_rows(self._query, rows)
        return [self._decode(row) for row in rows]
