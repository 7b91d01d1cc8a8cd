"""Compiles the steps and reads that are specific to PostgreSQL."""

import threading
from collections.abc import Sequence
from typing import Any, ClassVar

from swarm_persistence.engines.prepared import BoundSteps, PreparedWrite
from swarm_persistence.engines.reads import Get, LastSequence, NearestCandidates, Select
from swarm_persistence.engines.sql.compiler import restored_values
from swarm_persistence.engines.sql.postgres.arrivals import LastSequenceStatement, SettledRecordsStatement
from swarm_persistence.engines.sql.postgres.claim_statements import ClaimPlan
from swarm_persistence.engines.sql.postgres.compiler import PostgresCompiler
from swarm_persistence.engines.sql.postgres.dialect import PostgresDialect
from swarm_persistence.engines.sql.postgres.id_locks import LockRowsStatement
from swarm_persistence.engines.sql.postgres.insertion import (
    ArrayInsertStatement,
    ArrayPutStatement,
    InsertDependentsStatement,
    InsertUnlessHeldStatement,
    InsertUnlessStatement,
    RestoreStatement,
    SavePartitionedStatement,
    links_and_tasks,
)
from swarm_persistence.engines.sql.postgres.lower_bounds import LowerBounds
from swarm_persistence.engines.sql.postgres.notifications import channel_of
from swarm_persistence.engines.sql.postgres.periods import PARTITIONABLE
from swarm_persistence.engines.sql.postgres.row_sizes import first_part, sizes_at
from swarm_persistence.engines.sql.postgres.row_updates import RowUpdates
from swarm_persistence.engines.sql.postgres.sequences import ReserveStatement
from swarm_persistence.engines.sql.postgres.vectors import NearestOnServerStatement, may_use_functions
from swarm_persistence.engines.sql.postgres.word_index import PostgresWordIndex
from swarm_persistence.engines.sql.statement_compiler import NewInsert, Row, StatementCompiler, has_key
from swarm_persistence.engines.sql.statements import (
    CountStatement,
    Exchange,
    RecordStatement,
    Statement,
    ValueStatement,
)
from swarm_persistence.engines.steps import Increment, LockRows, Reserve, Restore, Save, Step, Unlink, Upkeep
from swarm_persistence.query.query import Condition, Query, Subquery
from swarm_persistence.schema.tables import TABLES, TASKS, Table


class DecrementStatement(Statement, eq=False, gc=False):
    """Decrements counters, then deletes the links; gives their number.

    A long list of dependencies is kept outside its row, so a new version of the row is small. Its lock makes the writes
    that delete the row's last links wait for each other.
    """

    decrement: CountStatement
    delete: CountStatement

    is_single: ClassVar[bool] = False

    def run(self) -> Exchange[int]:
        yield from self.decrement.run()
        deleted: int = yield from self.delete.run()
        return deleted

    def tables_changed(self) -> tuple[str, ...]:
        return (self.decrement.table.name, self.delete.table.name)


_MOST_CLAIMS = 256
"""How many claims are kept compiled."""


class PostgresStatementCompiler(StatementCompiler):
    """Compiles for one schema."""

    sql: PostgresCompiler

    def __init__(self, schema: str) -> None:
        compiler = PostgresCompiler(PostgresDialect(schema))
        self.inserts = {table.name: compiler.insert_rows(table) for table in TABLES}
        self.channel = channel_of(schema)
        self.row_inserts = {table.name: compiler.insert_row(table, self.channel) for table in TABLES}
        super().__init__(compiler, PostgresWordIndex(compiler.dialect))
        self.gets = {table.name: compiler.read_by_ids(table) for table in TABLES}
        self._dependents = compiler.insert_dependents()
        self.row_updates = RowUpdates(compiler.dialect)
        self._bounds = LowerBounds()
        self._last_claims: dict[PreparedWrite, tuple[tuple[Any, ...], ClaimPlan]] = {}
        self._copying = threading.Lock()

    def whole_write(self, steps: Sequence[Step]) -> Sequence[Statement]:
        """Return the statements of a caller's write: one, if it adds tasks that wait for others; else as `write`."""
        parts = links_and_tasks(steps, has_key)
        if parts is None:
            return self.write(steps)
        locks, links, tasks = parts
        rows_of_links = [self.row_of(step)[-1] for step in links]
        rows_of_tasks = [self.row_of(step)[-1] for step in tasks]
        if first_part(rows_of_tasks, len(tasks), sizes_at(TASKS.large_places)) < len(tasks):
            return self.write(steps)
        return [InsertDependentsStatement.of(self._dependents, locks, rows_of_links, rows_of_tasks)]

    def claim(self, steps: Sequence[Step]) -> ClaimPlan | None:
        """Return the plan of a write that runs an upkeep and then claims; `None` for other writes."""
        if type(steps) is not BoundSteps:
            return ClaimPlan.of(self.sql, self._bounds, steps)
        # A worker repeats its claim.
        values, plan = self._last_claims.get(steps.prepared, ((), None))
        if plan is None or values != steps.values:
            plan = ClaimPlan.of(self.sql, self._bounds, steps)
            if plan is not None:
                if len(self._last_claims) >= _MOST_CLAIMS:
                    self._last_claims.clear()
                self._last_claims[steps.prepared] = steps.values, plan
        return plan

    def insert_into(self, table: Table[Any]) -> tuple[NewInsert, str]:
        return ArrayInsertStatement, self.inserts[table.name]

    def insert_unless(self, table: Table[Any], row: Row, field: str) -> Statement:
        if table.name not in PARTITIONABLE:
            return InsertUnlessStatement(self.sql.insert_one_unless(table, field), row, table)
        text, check_text = self.sql.insert_one_unless_held(table, field)
        return InsertUnlessHeldStatement(text, row, table, check_text, field)

    def put(self, table: Table[Any], rows: Sequence[Row], *, if_absent: bool) -> ArrayPutStatement:
        return ArrayPutStatement(table, rows, self.sql, if_absent)

    def upkeep(self, step: Upkeep[Any]) -> Statement:
        return CountStatement(*self.sql.upkeep(step.query, step.changes), step.query.table)

    def lock_rows(self, step: LockRows) -> Statement:
        return LockRowsStatement(*self.sql.lock_rows(step), step.table)

    def unlink(self, step: Unlink) -> DecrementStatement:
        counted = Query(step.table, (Condition("id", "IN SUBQUERY", Subquery(step.links, step.field)),))
        decrement = CountStatement(*self.sql.update(counted, {step.counter: Increment(-1)}), step.table)
        return DecrementStatement(decrement, CountStatement(*self.sql.delete(step.links), step.links.table))

    def restore(self, step: Restore[Any]) -> Statement:
        rows = restored_values(step.table, step.rows, step.keeps_sequences)
        text = self.sql.restore(step.table, step.keeps_sequences)
        highest: Any = max((row[-1] for row in step.rows), default=0)  # type: ignore[type-var]
        room = self._room_for(step.table, highest) if step.keeps_sequences else None
        return RestoreStatement(step.table, rows, text, room)

    def reserve(self, step: Reserve) -> Statement:
        room = self._room_for(step.table, step.number + 1)
        return ReserveStatement(self.sql.dialect, step.table, step.number, step.floor, room)

    def get(self, read: Get[Any]) -> RecordStatement:
        values = self.sql.ids_values(read.table, [read.id])
        return RecordStatement(self.gets[read.table.name], values, read.table)

    def save(self, step: Save[Any]) -> Statement:
        if self._tables[type(step.model)][0].name not in PARTITIONABLE:
            return super().save(step)
        table, row = self.row_of(step)
        return SavePartitionedStatement(self.sql.save_by_id(table), row, table)

    def select(self, read: Select[Any]) -> Statement:
        if read.query.settled_only:
            return SettledRecordsStatement(self.sql, read.query)
        return super().select(read)

    def last_sequence(self, read: LastSequence) -> LastSequenceStatement:
        relation = self.sql.dialect.table(read.table)
        return LastSequenceStatement(self.last_shown(read), relation, read.before)

    def nearest_candidates(self, read: NearestCandidates) -> Statement:
        if not may_use_functions(read):
            return super().nearest_candidates(read)
        return NearestOnServerStatement(self.sql.dialect, read, self._copying)

    def _room_for(self, table: Table[Any], number: int) -> ValueStatement | None:
        if table.name not in PARTITIONABLE:
            return None
        return ValueStatement(self.sql.make_room(), (table.name, number), table)
