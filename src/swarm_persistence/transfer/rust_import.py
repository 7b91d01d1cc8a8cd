"""Imports a database of the Rust crate `ruv-swarm-persistence` into a storage of ours, all or nothing."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from graphlib import CycleError, TopologicalSorter
from itertools import islice

import msgspec

from swarm_persistence.engines.lines import BATCH
from swarm_persistence.engines.stepping import run_beside
from swarm_persistence.errors import OtherError, SerializationError
from swarm_persistence.models import Model, TaskModel
from swarm_persistence.schema.tables import PUBLIC_TABLES
from swarm_persistence.storage import Storage
from swarm_persistence.transfer.restoring import fill_target
from swarm_persistence.transfer.rust_records import Row, RustRecords, UndecodableError
from swarm_persistence.transfer.rust_source import TABLES, RustSource, open_source

Progress = Callable[[int, int], object]
"""Called with the number of rows read so far, and the total."""


class SkippedRow(msgspec.Struct, frozen=True):
    """A row that was not imported."""

    table: str
    row: int
    """Its rowid in the source."""
    id: str
    reason: str


class ImportedTable(msgspec.Struct, frozen=True):
    """The outcome for the rows of one table."""

    table: str
    found: int
    imported: int


class RustImport(msgspec.Struct, frozen=True):
    """The outcome of an import."""

    tables: tuple[ImportedTable, ...]
    mapped: tuple[str, ...]
    """The conversions made, each with the number of records."""
    warnings: tuple[str, ...]
    skipped: tuple[SkippedRow, ...]

    @property
    def is_complete(self) -> bool:
        """Return whether every row was imported."""
        return not self.skipped


async def import_rust(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | Storage,
    *,
    add: bool = False,
    progress: Progress | None = None,
) -> RustImport:
    """Import all records of a database of the crate, and return what was imported, mapped and skipped.

    The source is not changed, and may be read-only; a log beside it is read as well. The target is the path of a
    file, the URL of a PostgreSQL schema, or an open storage. It is written in one transaction, or as a new file that
    appears once it is complete. Rows that cannot be converted are skipped, and listed in the result.

    Raises:
        OtherError: the target holds records, and `add` is not set.
        ConflictError: with `add`, the target holds a record of the same id; nothing was imported.
        DatabaseError: the source is not a database of the crate, is damaged, or is being written to; or the target
            cannot be written.

    """
    with ExitStack() as stack:
        rows = await run_beside(partial(stack.enter_context, open_source(source)))
        importing = _Import(rows, progress)
        await fill_target(target, partial(importing.fill, is_adding=add), takes_existing_file=True)
        return importing.outcome()


class _Import:
    def __init__(self, source: RustSource, progress: Progress | None) -> None:
        self._source = source
        self._progress = progress
        self._records = RustRecords()
        self._skipped: list[SkippedRow] = []
        self._found: Counter[str] = Counter()
        self._imported: Counter[str] = Counter()

    async def fill(self, storage: Storage, *, is_adding: bool) -> None:
        total = sum([await run_beside(partial(self._source.count, table)) for table in TABLES])
        in_cycles = await run_beside(self._tasks_in_cycles)
        async with storage.transaction():
            if not is_adding and any([await storage.repository(table.model).count() for table in PUBLIC_TABLES]):
                raise OtherError(f"{storage!r} holds records, and was left as it is; ask to add to them")
            for table in TABLES:
                rows = self._source.rows(table)
                while batch := await run_beside(partial(_next_batch, rows)):
                    await self._add(storage, table, batch, in_cycles)
                    self._found[table] += len(batch)
                    if self._progress is not None:
                        self._progress(self._found.total(), total)

    async def _add(
        self, storage: Storage, table: str, batch: Sequence[tuple[int, Row]], in_cycles: frozenset[str]
    ) -> None:
        """Store the rows of a batch; skip those that this storage refuses, as PostgreSQL does very long ids."""
        mapped, unknown, skipped = self._records.mapped.copy(), self._records.unknown.copy(), len(self._skipped)
        records = [*self._decoded(table, batch, in_cycles)]
        try:
            async with storage.transaction():
                await storage.store_many(records)
        except SerializationError as error:
            self._records.mapped, self._records.unknown = mapped, unknown
            del self._skipped[skipped:]
            if len(batch) == 1:
                ((number, row),) = batch
                self._skipped.append(SkippedRow(table, number, _shown_id(row), error.message))
                return
            for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                await self._add(storage, table, half, in_cycles)
        else:
            self._imported[table] += len(records)

    def _decoded(self, table: str, batch: Sequence[tuple[int, Row]], in_cycles: frozenset[str]) -> Iterator[Model]:
        for number, row in batch:
            try:
                if table == "tasks" and _shown_id(row) in in_cycles:
                    raise UndecodableError("its dependencies lead back to itself, so it could never become ready")
                record = self._records.decode(table, row)
            except UndecodableError as error:
                self._skipped.append(SkippedRow(table, number, _shown_id(row), str(error)))
            else:
                yield record

    def _tasks_in_cycles(self) -> frozenset[str]:
        """Return the tasks of every cycle of dependencies, so that the others can be stored."""
        records, graph = RustRecords(), dict[str, list[str]]()
        for _, row in self._source.rows("tasks"):
            try:
                task = records.decode("tasks", row)
            except UndecodableError:
                continue
            if isinstance(task, TaskModel) and task.dependencies:
                graph[task.id] = task.dependencies
        found: set[str] = set()
        while True:
            try:
                TopologicalSorter(graph).prepare()
            except CycleError as error:
                cycle = set(error.args[1])
                found |= cycle
                graph = {id: needs for id, needs in graph.items() if id not in cycle}
            else:
                return frozenset(found)

    def outcome(self) -> RustImport:
        warnings = [
            f"the field {name} of {count:,} records is unknown here, and was left out"
            for name, count in sorted(self._records.unknown.items())
        ]
        warnings += [
            f"the table {name} holds {count:,} rows, which no code of the crate writes; they were left out"
            for name, count in self._source.unused_rows().items()
        ]
        return RustImport(
            tuple(ImportedTable(table, self._found[table], self._imported[table]) for table in TABLES),
            tuple(f"{count:,} {text}" for text, count in self._records.mapped.items()),
            tuple(warnings),
            tuple(self._skipped),
        )


def _next_batch(rows: Iterator[tuple[int, Row]]) -> list[tuple[int, Row]]:
    return [*islice(rows, BATCH)]


def _shown_id(row: Row) -> str:
    id = row["id"]
    return id.decode(errors="backslashreplace") if isinstance(id, bytes) else repr(id)
