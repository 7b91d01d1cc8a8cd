"""Compiles the steps of a write, and reads, into statements; knows no driver."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from swarm_persistence.engines.prepared import BoundSteps, PreparedWrite
from swarm_persistence.engines.reads import (
    Aggregate,
    Count,
    FirstOfEach,
    Get,
    IsAny,
    LastSequence,
    NearestCandidates,
    Page,
    Read,
    Select,
    Sizes,
    Values,
    WordIndexes,
    WordMatches,
)
from swarm_persistence.engines.sql.compiler import Compiler
from swarm_persistence.engines.sql.statements import (
    ChangedValuesStatement,
    ClaimStatement,
    CountStatement,
    DeleteFirstStatement,
    ExistsStatement,
    IfChangedStatement,
    IfNoneStatement,
    IndependentWritesStatement,
    InsertStatement,
    NothingStatement,
    PageStatement,
    RecordsStatement,
    ReplaceStatement,
    SaveStatement,
    Statement,
    TakeStatement,
    TextStatement,
    TruthStatement,
    TuplesStatement,
    ValueStatement,
)
from swarm_persistence.engines.sql.word_index import WordIndexCompiler
from swarm_persistence.engines.steps import (
    Claim,
    Delete,
    DeleteFirst,
    IfChanged,
    IfNone,
    IndependentWrites,
    IndexWords,
    Insert,
    KeepWordIndex,
    LockRows,
    Put,
    Replace,
    Reserve,
    Restore,
    Save,
    Step,
    Take,
    Unlink,
    Update,
    Upkeep,
)
from swarm_persistence.query.query import Query
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import TABLES, Table

Row = tuple[Any, ...]
NewInsert = Callable[[Table[Any], list[Any], Any], InsertStatement]


class StatementCompiler(ABC):
    """Compiles the steps and reads that are the same on all databases; a subclass compiles the others."""

    _templates: Callable[[PreparedWrite], Sequence[Statement]] | None = None
    """Returns the statements of a prepared write, with parameters; `None` if their texts depend on its values."""

    def __init__(self, compiler: Compiler, word_index: WordIndexCompiler) -> None:
        self.sql = compiler
        self._save_text = cache(compiler.save)
        self._replace_text = cache(compiler.replace)
        self._tables: dict[type[Any], tuple[Table[Any], Callable[[Any], Any], NewInsert, Any]] = {
            table.model: (table, codec_of(table.model).encode, *self.insert_into(table)) for table in TABLES
        }
        # Looked up by class: a chain of `isinstance` or `match` tries half of the classes for each step.
        self._by_class: Mapping[type[Any], Callable[[Any], Any]] = {
            Insert: self._insert_unless,
            Save: self.save,
            Replace: self._replace,
            Put: self._put,
            Take: self._take,
            Update: self._update,
            Upkeep: self.upkeep,
            Claim: self._claim,
            Delete: self.delete,
            DeleteFirst: self._delete_first,
            Unlink: self.unlink,
            LockRows: self.lock_rows,
            Restore: self.restore,
            Reserve: self.reserve,
            IfChanged: self._if_changed,
            IfNone: self._if_none,
            IndependentWrites: self.independent_writes,
            Get: self.get,
            Select: self.select,
            Page: self._page,
            Values: self._values,
            FirstOfEach: self._first_of_each,
            IsAny: self._is_any,
            Sizes: self._sizes,
            WordIndexes: word_index.read_indexes,
            WordMatches: word_index.read_matches,
            KeepWordIndex: word_index.keep,
            IndexWords: word_index.index,
            NearestCandidates: self.nearest_candidates,
            Count: self._count,
            Aggregate: self._aggregate,
            LastSequence: self.last_sequence,
        }

    def write(self, steps: Sequence[Step]) -> Sequence[Statement]:
        """Return the statements of a write; a value that no column can hold raises `SerializationError`.

        Adjacent inserts into one table share a statement.
        """
        if type(steps) is BoundSteps and self._templates is not None:
            return [statement.bound(steps.values) for statement in self._templates(steps.prepared)]
        if len(steps) == 1:
            # Hundreds may be in flight. The garbage collector counts new lists, but no tuples that Python reuses.
            step = steps[0]
            if type(step) is not Insert:
                return (self._by_class[type(step)](step),)
            if step.unless is None:
                table, encode, new_insert, insertion = self._tables[type(step.model)]
                return (new_insert(table, [encode(step.model)], insertion),)
        statements: list[Statement] = []
        last: InsertStatement | None = None
        for step in steps:
            if type(step) is Insert and (step.unless is None or not has_key(step)):
                table, encode, new_insert, insertion = self._tables[type(step.model)]
                row = encode(step.model)
                if last is None or last.table is not table:
                    last = new_insert(table, [row], insertion)
                    statements.append(last)
                else:
                    last.rows.append(row)
            else:
                last = None
                statements.append(self._by_class[type(step)](step))
        return statements

    def read(self, read: Read[Any]) -> Statement:
        """Return the statement of a read."""
        statement: Statement = self._by_class[type(read)](read)
        return statement

    def row_of(self, step: Insert[Any] | Save[Any] | Replace[Any]) -> tuple[Table[Any], Row]:
        """Return the table of a step's record, and its row."""
        table, encode, *_ = self._tables[type(step.model)]
        return table, encode(step.model)

    @abstractmethod
    def insert_into(self, table: Table[Any]) -> tuple[NewInsert, Any]:
        """Return the class of the statement that adds rows, and its arguments beside the table and the rows."""

    @abstractmethod
    def insert_unless(self, table: Table[Any], row: Row, field: str) -> Statement:
        """Return the statement that adds a row unless another one has its value in a field."""

    @abstractmethod
    def put(self, table: Table[Any], rows: Sequence[Row], *, if_absent: bool) -> Statement:
        """Return the statement that adds rows, or replaces those of their ids."""

    @abstractmethod
    def upkeep(self, step: Upkeep[Any]) -> Statement:
        """Return the statement of an upkeep."""

    @abstractmethod
    def lock_rows(self, step: LockRows) -> Statement:
        """Return the statement that locks rows by their ids."""

    @abstractmethod
    def unlink(self, step: Unlink) -> Statement:
        """Return the statement that deletes links."""

    @abstractmethod
    def restore(self, step: Restore[Any]) -> Statement:
        """Return the statement that adds rows with the sequences and hidden columns of another store."""

    @abstractmethod
    def reserve(self, step: Reserve) -> Statement:
        """Return the statement that advances a table's sequence."""

    @abstractmethod
    def get(self, read: Get[Any]) -> TextStatement:
        """Return the statement that reads the record of an id."""

    def save(self, step: Save[Any]) -> Statement:
        """Return the statement that replaces or adds a row."""
        table, row = self.row_of(step)
        return SaveStatement(self._save_text(table), self.sql.save_values(table, row), table)

    def select(self, read: Select[Any]) -> Statement:
        """Return the statement that reads a query's records."""
        return RecordsStatement(*self.sql.select(read.query), read.query.table)

    def delete(self, step: Delete[Any]) -> Statement:
        """Return the statement that deletes rows."""
        return CountStatement(*self.sql.delete(step.query), step.query.table)

    def _delete_first(self, step: DeleteFirst[Any]) -> DeleteFirstStatement:
        query = step.query
        extent = TextStatement(*self.sql.extent(query), query.table)
        return DeleteFirstStatement(extent, self._sizes(Sizes(query)), step, self.delete_counted)

    def delete_counted(self, query: Query[Any], count: int) -> Statement:
        """Return the statement that deletes rows, whose number is known."""
        return CountStatement(*self.sql.delete(query), query.table)

    def independent_writes(self, step: IndependentWrites) -> Statement:
        """Return the statement that runs several writes, each with results of its own."""
        return IndependentWritesStatement([*map(self.write, step.writes)])

    def last_sequence(self, read: LastSequence) -> Statement:
        """Return the statement that finds the highest sequence of a table, deleted rows included."""
        return self.last_shown(read)

    def last_shown(self, read: LastSequence) -> ValueStatement:
        """Return the statement that finds the highest sequence of what is committed now."""
        return ValueStatement(*self.sql.last_sequence(read.table, read.before), read.table)

    def _insert_unless(self, step: Insert[Any]) -> Statement:
        assert step.unless is not None
        return self.insert_unless(*self.row_of(step), step.unless)

    def _replace(self, step: Replace[Any]) -> Statement:
        table, row = self.row_of(step)
        kind = bool(step.is_forced), step.may_lose_sticky
        return ReplaceStatement(self._replace_text(table, *kind), self.sql.replace_values(table, row, *kind), table)

    def _put(self, step: Put[Any]) -> Statement:
        table, encode, *_ = self._tables[type(step.models[0])]
        return self.put(table, (*map(encode, step.models),), if_absent=step.if_absent)

    def _take(self, step: Take[Any]) -> Statement:
        return TakeStatement(*self.sql.take(step.query), step.query.table)

    def _update(self, step: Update[Any]) -> Statement:
        return CountStatement(*self.sql.update(step.query, step.changes), step.query.table)

    def _claim(self, step: Claim[Any]) -> Statement:
        text, values = self.sql.claim(step)
        if step.fields:
            return ChangedValuesStatement(text, values, step.query.table)
        return ClaimStatement(text, values, step.query.table, step.query)

    def _if_changed(self, step: IfChanged) -> Statement:
        return IfChangedStatement(self.write((step.step,)), self.write(step.then))

    def _if_none(self, step: IfNone) -> Statement:
        exists = ExistsStatement(*self.sql.exists(step.query), step.query.table)
        return IfNoneStatement(exists, self.write(step.then))

    def _page(self, read: Page[Any]) -> Statement:
        return PageStatement(*self.sql.select(read.query), read.query.table)

    def _values(self, read: Values) -> Statement:
        return TuplesStatement(*self.sql.values(read.query, read.fields), read.query.table)

    def _first_of_each(self, read: FirstOfEach) -> Statement:
        return TuplesStatement(*self.sql.first_of_each(read), read.query.table)

    def _is_any(self, read: IsAny) -> Statement:
        return TruthStatement(self.sql.is_any(read.queries), (), read.queries[0].table)

    def _sizes(self, read: Sizes) -> TuplesStatement:
        return TuplesStatement(*self.sql.sizes(read.query, read.kinds), read.query.table)

    def nearest_candidates(self, read: NearestCandidates) -> Statement:
        """Return the statement that gives the ids; by default, one that gives `None`."""
        return NothingStatement("SELECT 1 LIMIT 0", (), read.query.table)

    def _count(self, read: Count) -> Statement:
        return ValueStatement(*self.sql.count(read.query), read.query.table)

    def _aggregate(self, read: Aggregate) -> Statement:
        return TuplesStatement(*self.sql.aggregate(read), read.query.table)


def has_key(step: Insert[Any]) -> bool:
    """Tell whether a row with the same key may prevent an insert."""
    return step.unless is not None and getattr(step.model, step.unless) is not None
