"""Recovers a damaged file into a new one: every readable row, and a list of the losses."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from swarm_persistence.engines.sql.sqlite import numbers, schema_version, waits, word_index
from swarm_persistence.engines.sql.sqlite.log import Log
from swarm_persistence.engines.sql.sqlite.recovery.losses import Loss, RecoveryOutcome, TableOutcome
from swarm_persistence.engines.sql.sqlite.recovery.pages import Pages, pages_of
from swarm_persistence.engines.sql.sqlite.recovery.shapes import NUMBERS, SCHEMA, Shape, shapes
from swarm_persistence.engines.sql.sqlite.recovery.source import Evidence, FoundRow, RecoverySource
from swarm_persistence.engines.sql.sqlite.recovery.target import MARGIN, Target
from swarm_persistence.schema.tables import EVENTS, TABLES, TASK_LINKS

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
