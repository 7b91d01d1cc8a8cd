"""Interprets reads over the rows of sources: first the part during which the rows must not change, then the rest."""

from collections.abc import Callable
from typing import Any

import msgspec

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
)
from swarm_persistence.engines.rows.aggregates import aggregate_rows
from swarm_persistence.engines.rows.evaluator import (
    count_of,
    has_expired,
    resolved,
    rows_of,
    size_of,
    steps_above,
)
from swarm_persistence.engines.rows.row_source import RowSource
from swarm_persistence.query.query import Condition
from swarm_persistence.schema.codec import Row, codec_of
from swarm_persistence.schema.tables import M, Table

SourceOf = Callable[[Table[Any]], RowSource]


def evaluate(read: Read[Any], source_of: SourceOf) -> Any:
    """Return the rows or the number that a read finds; `finish` turns them into its result."""
    # Looked up by class: `isinstance` of msgspec's structs takes half a microsecond for each that it is not.
    return _EVALUATE[type(read)](read, source_of)


def finish(read: Read[Any], found: Any) -> Any:
    """Return the result of a read. Rows do not change, so this needs no lock."""
    finish_read = _FINISH.get(type(read))
    return found if finish_read is None else finish_read(read, found)


def _get(read: Get[Any], source_of: SourceOf) -> Row | None:
    table = read.table
    source = source_of(table)
    row = source.get(read.id)
    if row is None or (table.expiry is not None and has_expired(table, row)):
        return None
    return source.completed([row], table.binary_places)[0] if table.binary_places else row


def _rows(read: Select[Any] | Page[Any], source_of: SourceOf) -> list[Row]:
    table = read.query.table
    source = source_of(table)
    return source.completed(rows_of(source, resolved(read.query, source_of)), table.binary_places)


def _rows_of_values(read: Values, source_of: SourceOf) -> list[Row]:
    table = read.query.table
    source = source_of(table)
    places = [place for place in table.binary_places if table.names[place] in read.fields]
    return source.completed(rows_of(source, resolved(read.query, source_of)), places)


def _first_of_each(read: FirstOfEach, source_of: SourceOf) -> list[Row]:
    query = resolved(read.query, source_of)
    field, source, after = query.order[0].field, source_of(query.table), read.after
    found: list[Row] = []
    first_above: Callable[[Any], Row | None] | None = None
    while query.limit is None or len(found) < query.limit:
        if first_above is not None:
            row = first_above(after)
        else:
            later = Condition(field, "IS NOT NULL") if after is None else Condition(field, ">", after)
            one = msgspec.structs.replace(query, conditions=(*query.conditions, later), limit=1)
            row = next(iter(rows_of(source, one)), None)
            if after is not None:
                first_above = steps_above(source, one, later)
        if row is None:
            break
        found.append(row)
        after = row[query.table.positions[field]]
    return found


def _is_any(read: IsAny, source_of: SourceOf) -> bool:
    firsts = (msgspec.structs.replace(query, limit=1) for query in read.queries)
    return any(rows_of(source_of(query.table), query) for query in firsts)


def _aggregate(read: Aggregate, source_of: SourceOf) -> Any:
    query = resolved(read.query, source_of)
    return aggregate_rows(
        source_of(query.table), read if query is read.query else msgspec.structs.replace(read, query=query)
    )


def _last_sequence(read: LastSequence, source_of: SourceOf) -> int:
    """Return the highest sequence that a row has or had, optionally below another one: sequences have no gaps."""
    return source_of(read.table).last_sequence if read.before is None else read.before - 1


def _records(read: Select[M] | Page[M], rows: list[Row]) -> list[M]:
    return [*map(codec_of(read.query.table.model).decode, rows)]


def _values(read: Values | FirstOfEach, rows: list[Row]) -> list[Row]:
    positions = [read.query.table.positions[field] for field in read.fields]
    return [tuple([row[position] for position in positions]) for row in rows]


_EVALUATE: dict[type[Read[Any]], Callable[[Any, SourceOf], Any]] = {
    Get: _get,
    Select: _rows,
    Page: _rows,
    Values: _rows_of_values,
    FirstOfEach: _first_of_each,
    IsAny: _is_any,
    Sizes: lambda read, source_of: rows_of(source_of(read.query.table), resolved(read.query, source_of)),
    Count: lambda read, source_of: count_of(source_of(read.query.table), resolved(read.query, source_of)),
    Aggregate: _aggregate,
    LastSequence: _last_sequence,
    WordIndexes: lambda read, source_of: [],
    NearestCandidates: lambda read, source_of: None,
}
_FINISH: dict[type[Read[Any]], Callable[[Any, Any], Any]] = {
    Get: lambda read, row: None if row is None else codec_of(read.table.model).decode(row),
    Select: _records,
    Page: lambda read, rows: (_records(read, rows), rows[-1][-1] if rows else 0),
    Values: _values,
    FirstOfEach: _values,
    Sizes: lambda read, rows: [(row[0], size_of(read.query.table, row, read.kinds)) for row in rows],
}
