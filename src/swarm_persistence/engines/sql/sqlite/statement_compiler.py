"""Compiles the steps and reads that are specific to SQLite."""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

from swarm_persistence.engines.prepared import BoundSteps, PreparedWrite
from swarm_persistence.engines.reads import Get, NearestCandidates
from swarm_persistence.engines.sql.compiler import Compiler, restored_values
from swarm_persistence.engines.sql.sqlite.alike_changes import AlikeChangesStatement, alike_change
from swarm_persistence.engines.sql.sqlite.dialect import SqliteDialect
from swarm_persistence.engines.sql.sqlite.statements import (
    MANY,
    BulkInsert,
    BulkInsertStatement,
    DeleteDocumentsStatement,
    DeleteManyDocumentsStatement,
    LargeRecordStatement,
    NoStatement,
    ProbeThenInsertStatement,
    Puts,
    PutStatement,
    RaiseNumbersStatement,
    RestoreEachStatement,
    UnexpiredRecordStatement,
    UnlinkStatement,
    UpkeepStatement,
)
from swarm_persistence.engines.sql.sqlite.vectors import IS_INSTALLED, NearestCandidatesStatement, candidates_of
from swarm_persistence.engines.sql.sqlite.word_index import SqliteWordIndex
from swarm_persistence.engines.sql.statement_compiler import NewInsert, Row, StatementCompiler
from swarm_persistence.engines.sql.statements import (
    MOST_BYTES_IN_LOOP,
    ExistsStatement,
    RecordStatement,
    Statement,
)
from swarm_persistence.engines.steps import Delete, IndependentWrites, LockRows, Reserve, Restore, Step, Unlink, Upkeep
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.tables import DOCUMENTS, TABLES, Table

_NOTHING = NoStatement()
_TEMPLATES_KEPT = 256
_NAMED = ("=", "IN")


class SqliteStatementCompiler(StatementCompiler):
    """Compiles for any file."""

    def __init__(self) -> None:
        dialect = SqliteDialect()
        super().__init__(Compiler(dialect), SqliteWordIndex(dialect))
        # The condition of an expiry is left to `UnexpiredRecordStatement`.
        self._gets = {table.name: self.sql.select(Query(table, (Condition("id", "=", ""),)))[0] for table in TABLES}
        self._small_gets = {table.name: self._small_get(table) for table in TABLES if table.may_be_large}
        self._puts = cache(lambda table: Puts(table, self.sql))
        self._upkeep: dict[Upkeep[Any], UpkeepStatement] = {}
        self._alike_changes = lru_cache(_TEMPLATES_KEPT)(lambda prepared: alike_change(dialect, prepared.template()))
        # A relative time needs no text of its own: it is computed when the value is bound.
        self._templates: Callable[[PreparedWrite], Sequence[Statement]] = lru_cache(_TEMPLATES_KEPT)(self._template)

    def insert_into(self, table: Table[Any]) -> tuple[NewInsert, BulkInsert]:
        return BulkInsertStatement, BulkInsert(table, lambda rows: self.sql.insert(table, rows))

    def insert_unless(self, table: Table[Any], row: Row, field: str) -> Statement:
        key = row[table.positions[field]]
        exists = ExistsStatement(*self.sql.exists(Query(table, (Condition(field, "=", key),))), table)
        *_, new_insert, insertion = self._tables[table.model]
        return ProbeThenInsertStatement(exists, new_insert(table, [row], insertion))

    def put(self, table: Table[Any], rows: Sequence[Row], *, if_absent: bool) -> PutStatement:
        return PutStatement(table, rows, self._puts(table), if_absent)

    def upkeep(self, step: Upkeep[Any]) -> UpkeepStatement:
        statement = self._upkeep.get(step)
        if statement is None:
            text, values = self.sql.update(step.query, step.changes)
            statement = self._upkeep[step] = UpkeepStatement(text, values, step.query.table, step)
        return statement

    def lock_rows(self, step: LockRows) -> Statement:
        return _NOTHING

    def delete(self, step: Delete[Any]) -> Statement:
        query = step.query
        if query.table is DOCUMENTS and not any(
            each.field == "id" and each.operator in _NAMED for each in query.conditions
        ):
            return DeleteDocumentsStatement(*self.sql.delete(query), self.sql.exists(query)[0])
        return super().delete(step)

    def delete_counted(self, query: Query[Any], count: int) -> Statement:
        if query.table is DOCUMENTS and count >= MANY:
            return DeleteManyDocumentsStatement(*self.sql.delete(query))
        return super().delete_counted(query, count)

    def unlink(self, step: Unlink) -> UnlinkStatement:
        return UnlinkStatement(*self.sql.delete(step.links), step.links.table, step.table)

    def restore(self, step: Restore[Any]) -> Statement:
        rows = restored_values(step.table, step.rows, step.keeps_sequences)
        return RestoreEachStatement(step.table, rows, self.sql.restore(step.table, step.keeps_sequences))

    def reserve(self, step: Reserve) -> Statement:
        return RaiseNumbersStatement(step.table, step.number, step.floor)

    def independent_writes(self, step: IndependentWrites) -> Statement:
        if len(step.writes) > 1 and (prepared := _common_prepared(step.writes)) is not None:
            change = self._alike_changes(prepared)
            if change is not None:
                rows = [write.values for write in step.writes if isinstance(write, BoundSteps)]
                return AlikeChangesStatement(change, rows)
        return super().independent_writes(step)

    def _template(self, prepared: PreparedWrite) -> Sequence[Statement]:
        return self.write(prepared.template())

    def get(self, read: Get[Any]) -> RecordStatement:
        table = read.table
        text, values = self._gets[table.name], (read.id,)
        if table.may_be_large:
            return LargeRecordStatement(text, values, table, self._small_gets[table.name])
        return (RecordStatement if table.expiry is None else UnexpiredRecordStatement)(text, values, table)

    def nearest_candidates(self, read: NearestCandidates) -> Statement:
        candidates = candidates_of(read) if IS_INSTALLED else None
        if candidates is None:
            return super().nearest_candidates(read)
        text, values = self.sql.count(read.query)
        columns, new_values = candidates.columns(read.field)
        rest = text.partition("\n")[2]
        return NearestCandidatesStatement(
            f"SELECT {columns}\n{rest}", (*new_values, *values), read.query.table, candidates
        )

    def _small_get(self, table: Table[Any]) -> str:
        """Return the text that reads a row by its id, with null for the values of a large row."""
        text = self._gets[table.name]
        # SQLite takes an octet_length from the row's header, without reading the value.
        are_small = {
            "value": f"octet_length(value) <= {MOST_BYTES_IN_LOOP}"
            f" AND coalesce(octet_length(data), 0) <= {MOST_BYTES_IN_LOOP}",
            "data": f"octet_length(data) <= {MOST_BYTES_IN_LOOP}",
        }
        columns, _, rest = text.partition("\n")
        names = [
            # Named, so that the search for an unreadable row can refer to it.
            f"CASE WHEN {are_small[name]} THEN {name} END AS {name}" if name in are_small else name
            for name in columns.removeprefix("SELECT ").split(", ")
        ]
        return f"SELECT {', '.join(names)}\n{rest}"


def _common_prepared(writes: Sequence[Sequence[Step]]) -> PreparedWrite | None:
    """Return the prepared write that all writes share, if there is one."""
    first = writes[0] if writes else None
    if not isinstance(first, BoundSteps):
        return None
    are_alike = all(isinstance(write, BoundSteps) and write.prepared is first.prepared for write in writes)
    return first.prepared if are_alike else None
