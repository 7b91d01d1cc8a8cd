"""Runs the steps of writes on rows, with an undo log and savepoints."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from swarm_persistence.clock import now_in_microseconds
from swarm_persistence.engines.reads import leading
from swarm_persistence.engines.rows.evaluator import count_of, has_expired, matching_rows, resolved, rows_of, size_of
from swarm_persistence.engines.rows.row_source import RowSource
from swarm_persistence.engines.steps import (
    MOST_COUNTED,
    Change,
    Claim,
    CountOf,
    DeleteFirst,
    EndClaim,
    Increment,
    Unlink,
)
from swarm_persistence.errors import ConflictError, DatabaseError
from swarm_persistence.models import ClaimOutcome, TaskStatus
from swarm_persistence.models.past_claims import LONGEST_ERROR, MOST_PAST_CLAIMS
from swarm_persistence.plain_json import encode_json
from swarm_persistence.query.query import Condition, FromNow, Query
from swarm_persistence.query.task_statuses import HELD
from swarm_persistence.schema.codec import Row, codec_of
from swarm_persistence.schema.tables import PAST_CLAIMS, SEQUENCE, Table
from swarm_persistence.schema.values import ColumnValue, decode_json

Values = Sequence[ColumnValue]
"""The columns of a table in order, without hidden columns and the sequence."""


class Changes:
    """Changes rows, and keeps the undo log of the changes until `forget`."""

    def __init__(self, source_of: Callable[[Table[Any]], RowSource]) -> None:
        self._source_of = source_of
        self._undo: list[tuple[RowSource, Callable[[], None]]] = []
        self._savepoints: list[tuple[str, int]] = []

    def run(self, steps: Sequence["CompiledStep"]) -> list[Any]:
        """Run all of the steps or none of them, and return the result of each."""
        mark = self.mark()
        try:
            return [step(self) for step in steps]
        except BaseException:
            self.undo(mark)
            raise

    def mark(self) -> int:
        """Return the current position in the undo log."""
        return len(self._undo)

    def undo(self, mark: int) -> None:
        """Undo the changes since a mark."""
        while len(self._undo) > mark:
            _, undo = self._undo.pop()
            undo()

    def changed_tables(self) -> set[str]:
        """Return the names of the tables that were changed since the undo log was last dropped."""
        return {source.table.name for source, _ in self._undo}

    def forget(self) -> None:
        """Drop the undo log and all savepoints."""
        self._undo.clear()
        self._savepoints.clear()

    def settle(self) -> None:
        """Drop the undo log unless a savepoint needs it."""
        if not self._savepoints:
            self._undo.clear()

    def savepoint(self, name: str) -> None:
        """Set a savepoint."""
        self._savepoints.append((name, self.mark()))

    def release(self, name: str) -> None:
        """Drop a savepoint and all later ones, and keep the changes."""
        self._pop(name)
        self.settle()

    def roll_back_to(self, name: str) -> None:
        """Undo the changes since a savepoint, and drop it and all later ones."""
        self.undo(self._pop(name))

    def _pop(self, name: str) -> int:
        """Drop the latest savepoint of this name and all later ones, and return its mark."""
        for place in range(len(self._savepoints) - 1, -1, -1):
            if self._savepoints[place][0] == name:
                mark = self._savepoints[place][1]
                del self._savepoints[place:]
                return mark
        raise DatabaseError(f"the transaction has no savepoint {name!r}")

    def insert(self, table: Table[Any], values: Values, unless: str | None = None) -> int:
        source = self._source_of(table)
        id: Any = values[0]
        if unless is not None and _holder(source, unless, values) is not None:
            return 0
        if source.get(id) is not None:
            remedy = f"update_{table.label} replaces it" if table.is_versioned else "the stored one is unchanged"
            raise ConflictError(f"{table.label} {id!r} exists already; {remedy}")
        _require_unique(source, values)
        return self._add(source, values)

    def restore(self, table: Table[Any], rows: Sequence[Row], keeps_sequences: bool) -> int:
        source = self._source_of(table)
        for row in rows:
            id: Any = row[0]
            if source.get(id) is not None:
                raise ConflictError(f"{table.label} {id!r} cannot be restored: it exists already")
            values = row[: len(table.names)]
            _require_unique(source, values)
            sequence: Any = row[-1] if keeps_sequences else source.last_sequence + 1
            if keeps_sequences and rows_of(source, Query(table, (Condition(SEQUENCE, "=", sequence),))):
                raise ConflictError(f"{table.label} {id!r} cannot be restored: its sequence {sequence} is taken")
            self._put(source, (*values, *row[len(values) : -1], sequence))
        return len(rows)

    def reserve(self, table: Table[Any], number: int) -> None:
        source = self._source_of(table)
        self._undo.append((source, partial(setattr, source, "last_sequence", source.last_sequence)))
        source.last_sequence = max(source.last_sequence, number)

    def save(self, table: Table[Any], values: Values) -> int:
        source = self._source_of(table)
        id: Any = values[0]
        stored = source.get(id)
        if stored is not None and not has_expired(table, stored) and not _is_next_version(table, stored, values):
            return 0
        if stored is not None and not _keeps_sticky(table, stored, values):
            return 0
        _require_unique(source, values)
        if stored is None:
            self._add(source, values)
        else:
            self._change(source, stored, _replaced(table, stored, values))
        return 1

    def replace(self, table: Table[Any], values: Values, is_forced: bool, may_lose_sticky: bool) -> int | None:
        source = self._source_of(table)
        id: Any = values[0]
        stored = source.get(id)
        if stored is None or has_expired(table, stored):
            return None
        if not (is_forced or _is_next_version(table, stored, values)):
            return None
        if not (may_lose_sticky or _keeps_sticky(table, stored, values)):
            return None
        _require_unique(source, values)
        row = _replaced(table, stored, values)
        if not table.is_versioned:
            self._change(source, stored, row)
            return 0
        place = table.positions["version"]
        version: Any = stored[place]
        row[place] = version + 1
        self._change(source, stored, row)
        return int(version) + 1

    def put(self, table: Table[Any], rows: Sequence[Values], if_absent: bool) -> list[tuple[int, int] | None]:
        return [self._put_one(self._source_of(table), values, if_absent) for values in rows]

    def _put_one(self, source: RowSource, values: Values, if_absent: bool) -> tuple[int, int] | None:
        table = source.table
        id: Any = values[0]
        version_place, created_place = table.positions["version"], table.positions["created_at"]
        new: list[Any] = [*values]
        new[version_place] = 1
        stored = source.get(id)
        if stored is None:
            self._add(source, new)
        else:
            is_absent = has_expired(table, stored)
            if if_absent and not is_absent:
                return None
            if not is_absent:
                version: Any = stored[version_place]
                new[version_place], new[created_place] = version + 1, stored[created_place]
            self._change(source, stored, _replaced(table, stored, new))
        return new[version_place], new[created_place]

    def take(self, query: Query[Any]) -> list[Any]:
        decode = codec_of(query.table.model).decode
        rows = self._source_of(query.table).completed(self._delete(query), query.table.binary_places)
        return [decode(row) for row in rows]

    def update(self, query: Query[Any], changes: Mapping[str, Change]) -> int:
        source = self._source_of(query.table)
        found = resolved(query, self._source_of)
        rows = matching_rows(source, found) if query.limit is None else rows_of(source, found)
        is_marked = _is_marked(query.table, changes)
        for row in rows:
            self._change(source, row, self._changed(query.table, row, changes), is_marked)
        return len(rows)

    def claim(self, step: Claim[Any]) -> list[Any]:
        query, changes, fields = step.query, step.changes, step.fields
        if any(rows_of(self._source_of(each.table), each) for each in step.unless):
            return []
        source = self._source_of(query.table)
        is_marked = _is_marked(query.table, changes)
        claimed = [
            self._change(source, row, self._changed(query.table, row, changes), is_marked)
            for row in rows_of(source, resolved(query, self._source_of))
        ]
        if fields:
            places = [query.table.positions[name] for name in fields]
            return [tuple([row[place] for place in places]) for row in claimed]
        return [*map(codec_of(query.table.model).decode, source.completed(claimed, query.table.binary_places))]

    def delete(self, query: Query[Any]) -> int:
        return len(self._delete(query))

    def delete_first(self, step: DeleteFirst[Any]) -> tuple[int, str | None]:
        table = step.query.table
        source = self._source_of(table)
        found = rows_of(source, resolved(step.query, self._source_of))
        rows = found[: leading((size_of(table, row) for row in found), step.bytes)]
        lasting = sum(not has_expired(table, row) for row in rows)
        self._remove(source, rows)
        is_rest = len(rows) == len(found) and (step.query.limit is None or len(found) < step.query.limit)
        return lasting, None if is_rest else str(rows[-1][0])

    def unlink(self, step: Unlink) -> int:
        table = step.links.table
        links = matching_rows(self._source_of(table), resolved(step.links, self._source_of))
        named, counter = table.positions[step.field], step.table.positions[step.counter]
        source = self._source_of(step.table)
        for id in dict.fromkeys(str(link[named]) for link in links):
            # Counted before the deletion: rows that an engine has yet to fetch must not be taken for absent links.
            of_row = Query(table, (Condition(step.field, "=", id),), limit=MOST_COUNTED + 2)
            left = len(rows_of(self._source_of(table), of_row)) - 1
            # A row with many links may be wide, as it lists what it waits for: it is neither read nor written.
            row = source.get(id) if 0 <= left <= MOST_COUNTED else None
            if row is not None:
                self._change(source, row, [*row[:counter], left, *row[counter + 1 :]], is_marked=False)
        return len(self._delete(step.links))

    def if_changed(self, step: "CompiledStep", then: Sequence["CompiledStep"]) -> Any:
        result = step(self)
        if result:
            for follower in then:
                follower(self)
        return result

    def if_none(self, query: Query[Any], then: Sequence["CompiledStep"]) -> list[Any] | None:
        if count_of(self._source_of(query.table), resolved(query, self._source_of)):
            return None
        return [step(self) for step in then]

    def _delete(self, query: Query[Any]) -> list[Row]:
        source = self._source_of(query.table)
        rows = matching_rows(source, resolved(query, self._source_of))
        self._remove(source, rows)
        return rows

    def _remove(self, source: RowSource, rows: Sequence[Row]) -> None:
        for row in rows:
            source.remove(row)
            self._undo.append((source, partial(source.add, row)))

    def _add(self, source: RowSource, values: Values) -> int:
        sequence = source.last_sequence + 1
        table = source.table
        self._put(source, (*values, *((0,) * len(table.hidden)), sequence))
        return sequence

    def _put(self, source: RowSource, row: Row) -> None:
        sequence: Any = row[-1]
        if source.table.is_followed:
            source.last_change += 1
            row = (*row[:-2], source.last_change, sequence)
        source.add(row)
        self._undo.append((source, partial(_undo_insert, source, row, source.last_sequence)))
        source.last_sequence = max(source.last_sequence, sequence)

    def _change(self, source: RowSource, before: Row, values: list[ColumnValue], is_marked: bool = True) -> Row:
        if is_marked and source.table.is_followed:
            source.last_change += 1
            values[-2] = source.last_change
        after = tuple(values)
        source.change(before, after)
        self._undo.append((source, partial(source.change, after, before)))
        return after

    def _changed(self, table: Table[Any], row: Row, changes: Mapping[str, Change]) -> list[ColumnValue]:
        values: list[Any] = list(row)
        present = now_in_microseconds()
        for field, change in changes.items():
            place = table.positions[field]
            if isinstance(change, FromNow):
                values[place] = change.after(present)
            elif isinstance(change, CountOf):
                counted = Query(change.table, (Condition(change.field, "=", row[0]),))
                values[place] = count_of(self._source_of(change.table), counted)
            elif isinstance(change, EndClaim):
                values[place] = _with_claim(table, row, present, change.outcome, change.error)
            elif not isinstance(change, Increment):
                values[place] = change
            elif values[place] is not None:
                values[place] += change.by
        return values


CompiledStep = Callable[[Changes], Any]
"""A step with checked and encoded values, ready to run."""


def _undo_insert(source: RowSource, row: Row, last_sequence: int) -> None:
    source.remove(row)
    source.last_sequence = last_sequence


def _is_next_version(table: Table[Any], stored: Row, values: Values) -> bool:
    if not table.is_versioned:
        return True
    place = table.positions["version"]
    old: Any = stored[place]
    new: Any = values[place]
    return bool(old == new - 1)


def _replaced(table: Table[Any], stored: Row, values: Values) -> list[Any]:
    """Return the values that replace a row: hidden columns are kept, and monotonic ones do not decrease."""
    row: list[Any] = [*values, *stored[len(values) :]]
    if table.has_claims:
        row[table.positions[PAST_CLAIMS]] = _claims_after_replacing(table, stored, values)
    for field in table.monotonic:
        place = table.positions[field]
        row[place] = max(row[place], stored[place])
    return row


def _keeps_sticky(table: Table[Any], stored: Row, values: Values) -> bool:
    if table.sticky is None:
        return True
    field, value = table.sticky
    place = table.positions[field]
    return stored[place] != value or values[place] == value


def _is_marked(table: Table[Any], changes: Mapping[str, Change]) -> bool:
    # Followers are not notified of changes to hidden columns.
    return any(name in table.names for name in changes)


def _require_unique(source: RowSource, values: Values) -> None:
    for field in source.table.unique_fields:
        holder = _holder(source, field, values)
        if holder is not None and holder[0] != values[0]:
            label = source.table.label
            raise ConflictError(f"{label} {values[0]!r} cannot be written: {label} {holder[0]!r} has the same {field}")


def _holder(source: RowSource, field: str, values: Values) -> Row | None:
    """Return the stored row with the same value in a field, unless the value is null."""
    value = values[source.table.positions[field]]
    if value is None:
        return None
    rows = rows_of(source, Query(source.table, (Condition(field, "=", value),), limit=1))
    return rows[0] if rows else None


def _with_claim(table: Table[Any], row: Row, ended_at: int, outcome: str, error: str | None) -> str:
    """Return the past claims of a row, its own claim included if an agent holds it."""
    past: Any = row[table.positions[PAST_CLAIMS]]
    number, agent_id, started_at = (row[table.positions[name]] for name in ("claim_count", "assigned_to", "started_at"))
    if agent_id is None:
        return str(past)
    claims = [*decode_json(past), [number, agent_id, started_at, ended_at, outcome, error]]
    return encode_json(claims[-MOST_PAST_CLAIMS:]).decode()


def _claims_after_replacing(table: Table[Any], stored: Row, values: Row) -> str:
    """Return the past claims of a row that these values replace."""
    agent = table.positions["assigned_to"]
    past, status, completed_at, error = (
        stored[table.positions[name]] for name in (PAST_CLAIMS, "status", "completed_at", "error")
    )
    is_kept = stored[agent] == values[agent] and values[table.positions["status"]] != TaskStatus.PENDING
    if is_kept or status == TaskStatus.PENDING:
        return str(past)
    outcome: Any = ClaimOutcome.RELEASED if status in HELD else status
    ended_at: Any = now_in_microseconds() if completed_at is None else completed_at
    failure = str(error)[:LONGEST_ERROR] if status == TaskStatus.FAILED and error is not None else None
    return _with_claim(table, stored, ended_at, outcome, failure)
