"""Recovers a damaged file into a new one: every readable row, and a list of the losses."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import apsw

from swarm_persistence.engines.sql.sqlite import numbers, schema_version, waits, word_index
from swarm_persistence.engines.sql.sqlite.log import Log
from swarm_persistence.engines.sql.sqlite.recovery.cells import Value
from swarm_persistence.engines.sql.sqlite.recovery.losses import (
    Loss,
    RecoveryOutcome,
    TableOutcome,
    loss_of,
    readable_values,
)
from swarm_persistence.engines.sql.sqlite.recovery.pages import Pages, pages_of
from swarm_persistence.engines.sql.sqlite.recovery.shapes import NUMBERS, SCHEMA, Shape, shapes
from swarm_persistence.engines.sql.sqlite.recovery.source import Evidence, FoundRow, RecoverySource
from swarm_persistence.errors import SerializationError
from swarm_persistence.query.text import listed
from swarm_persistence.schema.tables import EVENTS, TABLES, TASK_LINKS

MARGIN = 1_000_000
"""Added to the highest known number where higher ones may have been assigned, so that none is assigned twice."""


class Target:
    """A database that is being filled, in one transaction."""

    def __init__(self, path: Path) -> None:
        self.connection = apsw.Connection(str(path))
        for pragma in ("journal_mode = MEMORY", "synchronous = FULL"):
            self.connection.execute(f"PRAGMA {pragma}").fetchall()
        schema_version.migrate(self.connection)
        self.connection.execute("BEGIN IMMEDIATE").fetchall()
        self._misnumbered: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, shape: Shape, row: FoundRow, *, only_missing: bool = False) -> Loss | None:
        """Store a row; return the reason if it cannot be stored. A row that the target holds already is not lost.

        Of two rows with one id, the one of the higher version stays, else the first.
        """
        try:
            values = readable_values(shape, row)
            self._insert(shape, values, only_missing=only_missing)
            if row.is_misnumbered:
                self._misnumbered[shape.table].add(values["id"])
        except (SerializationError, ValueError) as error:
            return loss_of(shape, row, str(error))
        except apsw.Error as error:
            return loss_of(shape, row, f"it cannot be stored (SQLite: {error})")
        return None

    def ids(self, shape: Shape) -> dict[int, str]:
        """Return the ids of the stored rows by their rowids."""
        return dict(self._execute(f"SELECT {_rowid_of(shape)}, id FROM {shape.table}"))

    def give_id(self, shape: Shape, rowid: int, id: str) -> None:
        """Change the id of a row."""
        self._execute(f"UPDATE {shape.table} SET id = ? WHERE {_rowid_of(shape)} = ?", (id, rowid))

    def renumber(self, shape: Shape, rows: Mapping[int, str]) -> None:
        """Correct damaged rowids by those of an index, given as ids by rowid."""
        table, key, doubtful = shape.table, _rowid_of(shape), self._misnumbered[shape.table]
        right = {id: rowid for rowid, id in rows.items() if id in doubtful}
        for id, rowid in right.items():
            # Move them to free numbers first, as two rows may swap theirs.
            self._execute(f"UPDATE {table} SET {key} = ? WHERE id = ?", (-1 - rowid, id))
        for id, rowid in right.items():
            if not self._execute(f"SELECT 1 FROM {table} WHERE {key} = ?", (rowid,)):
                self._execute(f"UPDATE {table} SET {key} = ? WHERE id = ?", (rowid, id))
        highest: int = self.connection.execute(f"SELECT max({key}) FROM {table}").get
        for place, (id,) in enumerate(self._execute(f"SELECT id FROM {table} WHERE {key} < 0"), 1):
            self._execute(f"UPDATE {table} SET {key} = ? WHERE id = ?", (highest + place, id))

    def count(self, table: str) -> int:
        """Count the rows of a table."""
        number: int = self.connection.execute(f"SELECT count(*) FROM {table}").get
        return number

    def replace_all(self, shape: Shape, rows: Iterable[list[Value]]) -> None:
        """Replace all rows of a table of numbers by these."""
        self.connection.execute(f"DELETE FROM {shape.table}").fetchall()
        for row in rows:
            self.connection.execute(f"INSERT INTO {shape.table} VALUES ({', '.join('?' * len(row))})", row).fetchall()

    def raise_event_floor(self, number: int) -> None:
        """Record this as the position of the last event ever stored, unless a later one is known."""
        text = (
            "UPDATE event_floor SET number = max(number, ?) WHERE ? > (SELECT coalesce(max(sequence), 0) FROM events)"
        )
        self._execute(text, (number, number))

    def _execute(self, statement: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
        return self.connection.execute(statement, bindings).fetchall()

    def finish(self) -> None:
        """Check that the database is sound, and make it durable."""
        self.connection.execute("COMMIT").fetchall()
        problems = self.connection.execute("PRAGMA integrity_check").fetchall()
        if problems != [("ok",)]:
            raise apsw.CorruptError(f"the new database is not sound: {problems[:3]}")
        self.connection.execute("PRAGMA journal_mode = WAL").fetchall()  # as it is used from now on

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def _insert(self, shape: Shape, values: dict[str, Any], *, only_missing: bool) -> None:
        known = self.connection.execute(f"SELECT * FROM {shape.table} WHERE id = ?", (values["id"],)).fetchall()
        if known:
            stored = dict(zip((column.name for column in shape.columns), known[0], strict=True))
            if only_missing or values.get("version", 0) <= stored.get("version", 0):
                return
            self.connection.execute(f"DELETE FROM {shape.table} WHERE id = ?", (values["id"],)).fetchall()
        key = _rowid_of(shape)
        if self.connection.execute(f"SELECT 1 FROM {shape.table} WHERE {key} = ?", (values[key],)).fetchall():
            self._misnumbered[shape.table].add(values["id"])
            values = {**values, key: None}  # behind all others, until `renumber` corrects it
        marks = ", ".join("?" * len(values))
        text = f"INSERT INTO {shape.table} ({listed(values)}) VALUES ({marks})"
        self.connection.execute(text, tuple(values.values())).fetchall()


def _rowid_of(shape: Shape) -> str:
    return next(column.name for column in shape.columns if column.is_rowid)


_MOST_NAMED = 10
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OF_SQLITE_AND_MIGRATIONS = {SCHEMA, NUMBERS, schema_version.LOG, schema_version.LOG_BEFORE_VERSION_3}


def recover(path: Path, target: Path, *, with_log: bool = True) -> RecoveryOutcome:
    """Fill a new file with every readable row; the damaged file and its log are only read.

    No process should have the damaged file open.
    """
    with pages_of(path, with_log=with_log) as (states, log):
        filling = Target(target)
        try:
            outcome = _Recovery(filling).run(states, log)
            filling.finish()
        finally:
            filling.close()
    return outcome


class _Recovery:
    def __init__(self, target: Target) -> None:
        self._target = target
        self._shapes = shapes()
        self._records = {table.name: self._shapes[table.name] for table in TABLES}
        others = self._shapes.keys() - self._records.keys() - _OF_SQLITE_AND_MIGRATIONS - word_index.TABLES
        self._bookkeeping = [self._shapes[name] for name in sorted(others)]
        """Tables that hold no records, but numbers that must not be assigned again."""
        self._outcomes = {name: TableOutcome(name) for name in self._records}
        self._losses: list[Loss] = []
        self._unreadable: dict[str, list[tuple[FoundRow, Loss]]] = {name: [] for name in self._records}

    def run(self, states: list[Pages], log: Log | None) -> RecoveryOutcome:
        """Recover from all states, and return the losses."""
        notes = tuple(_notes(states[0], log))
        source = RecoverySource(states[0], self._shapes)
        for shape in self._records.values():
            for row in source.rows(shape):
                self._keep(shape, row)
        doubtful = {name: shape for name, shape in self._records.items() if source.gaps[name] or notes}
        evidence = {name: source.evidence(shape) for name, shape in self._records.items()}
        self._add_orphans(source, doubtful, evidence)
        for state in states[1:]:
            self._add_missing(RecoverySource(state, self._shapes), doubtful, evidence)
        for name, shape in self._records.items():
            self._complete_from_indexes(shape, source)
            self._target.renumber(shape, evidence[name].rows)
            self._account(shape, source, evidence[name])
        self._keep_numbers(source, doubtful, evidence)
        if source.lacks(TASK_LINKS.name):
            waits.derive(self._target.connection)
        elif {"tasks", "task_links"} & doubtful.keys() or self._losses:
            self._rebuild_links()
        for name, outcome in self._outcomes.items():
            outcome.recovered = self._target.count(name)
        wrong = tuple(_wrong_pages(states[0]))
        return RecoveryOutcome(tuple(self._outcomes.values()), tuple(self._losses), (*notes, *wrong))

    def _keep(self, shape: Shape, row: FoundRow) -> None:
        loss = self._target.add(shape, row)
        if loss is not None:
            self._unreadable[shape.table].append((row, loss))

    def _complete_from_indexes(self, shape: Shape, source: RecoverySource) -> None:
        """Complete from the indexes what cannot be read in the rows themselves."""
        unreadable, self._unreadable[shape.table] = self._unreadable[shape.table], []
        known = source.from_indexes(shape, {row.rowid for row, _ in unreadable})
        for row, loss in unreadable:
            if known[row.rowid]:
                self._keep(shape, row.with_values(shape, known[row.rowid]))
            else:
                self._unreadable[shape.table].append((row, loss))

    def _add_orphans(
        self, source: RecoverySource, doubtful: Mapping[str, Shape], evidence: Mapping[str, Evidence]
    ) -> None:
        """Keep the rows that no tree leads to, except those that an index shows to be deleted."""
        for shape, row in source.orphans(doubtful):
            if evidence[shape.table].denies(row.rowid):
                continue
            self._keep(shape, row)
            if not (evidence[shape.table].is_complete or source.knows_free_pages):
                self._outcomes[shape.table].uncertain += 1

    def _add_missing(
        self, source: RecoverySource, doubtful: Mapping[str, Shape], evidence: Mapping[str, Evidence]
    ) -> None:
        """Keep the rows that only an earlier state has, except those that an index shows to be deleted."""
        for name, shape in doubtful.items():
            before = self._target.count(name)
            for row in source.rows(shape):
                if row.reason is None and not evidence[name].denies(row.rowid):
                    self._target.add(shape, row, only_missing=True)
            if not evidence[name].is_complete:
                self._outcomes[name].uncertain += self._target.count(name) - before

    def _account(self, shape: Shape, source: RecoverySource, evidence: Evidence) -> None:
        """List the rows that are known to be lost, and the places where others may be lost."""
        outcome = self._outcomes[shape.table]
        unreadable = self._unreadable[shape.table]
        self._losses += [loss for _, loss in unreadable]
        rowids, stored = {row.rowid for row, _ in unreadable}, self._target.ids(shape)
        ids = set(stored.values())
        outcome.lost += len(unreadable)
        for rowid, id in evidence.rows.items():
            if id in ids or rowid in rowids:
                continue
            if rowid not in stored:
                self._losses.append(Loss(shape.table, "what held it is damaged", rowid, id))
                outcome.lost += 1
            elif _is_regular(id) and not _is_regular(stored[rowid]):
                self._target.give_id(shape, rowid, id)
            elif _is_regular(id):
                reason = f"its row has the id {stored[rowid]!r}, and its index this one: either may be damaged"
                self._losses.append(Loss(shape.table, reason, rowid, id))
                outcome.uncertain += 1
        if evidence.is_complete:
            return
        for gap in source.gaps[shape.table]:
            self._losses.append(Loss(shape.table, gap.reason, after_rowid=gap.after, last_rowid=gap.last))
            outcome.gaps += 1

    def _rebuild_links(self) -> None:
        """Derive the links anew, which also restores lost ones."""
        waits.repair_links(self._target.connection)
        self._losses = [loss for loss in self._losses if loss.table != TASK_LINKS.name]
        self._outcomes[TASK_LINKS.name] = TableOutcome(TASK_LINKS.name)

    def _keep_numbers(
        self, source: RecoverySource, doubtful: Mapping[str, Shape], evidence: Mapping[str, Evidence]
    ) -> None:
        """Advance the sequences past every number that may have been assigned."""
        for shape in self._bookkeeping:
            rows = [row.values for row in source.rows(shape) if row.reason is None]
            if rows:
                self._target.replace_all(shape, rows)
        # Include the numbers of lost rows.
        highest = {name: max([source.highest[name], *evidence[name].rows]) for name in self._records}
        stated = self._stated_sequences(source)
        is_unnumbered = source.lacks("event_floor") and not highest[EVENTS.name]
        self._target.raise_event_floor(stated.get(EVENTS.name, 0) if is_unnumbered else highest[EVENTS.name])
        for name, number in highest.items():
            is_lost = name not in stated and (number > 0 or bool(source.gaps[NUMBERS]))
            stated[name] = max(number, stated.get(name, 0)) + MARGIN * is_lost
        if source.gaps["change_floor"] or "tasks" in doubtful or self._unreadable["tasks"]:
            known = numbers.numbers_of(self._target.connection)
            stated[numbers.CHANGES] = known[numbers.CHANGES] + MARGIN
        numbers.raise_numbers(self._target.connection, stated)

    def _stated_sequences(self, source: RecoverySource) -> dict[str, int]:
        """Return the highest assigned sequences, as far as SQLite's own table of them can be read."""
        stated: dict[str, int] = {}
        for row in source.rows(self._shapes[NUMBERS]):
            match row.values:
                case [bytes() as name, int() as number]:
                    stated[name.decode(errors="replace")] = number
        return stated


def _is_regular(id: str) -> bool:
    """Tell whether an id has the form that this package generates."""
    return _UUID.fullmatch(id) is not None


def _notes(pages: Pages, log: Log | None) -> Iterator[str]:
    if log is None:
        return
    if log.page_size != pages.page_size:
        yield f"the log has pages of {log.page_size:,} bytes, the file of {pages.page_size:,}: the log was not read"
        return
    dropped = log.dropped()
    if not dropped:
        return
    for frame in dropped:
        if not frame.is_sound:
            where = f"page {frame.page}" if frame.page else "a page"
            yield f"frame {frame.number:,} of the log is damaged: rows of {where} may be older than they were"


def _wrong_pages(pages: Pages) -> Iterator[str]:
    if pages.wrong:
        numbers = sorted(pages.wrong)
        more = f" and {len(numbers) - _MOST_NAMED:,} more" if len(numbers) > _MOST_NAMED else ""
        shown = ", ".join(map(str, numbers[:_MOST_NAMED]))
        yield f"checksums of pages are wrong ({shown}{more}): the rows that were read from them may be wrong, too"
