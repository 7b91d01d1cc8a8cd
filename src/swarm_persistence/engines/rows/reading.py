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
    columns_of_rows,
    count_of,
    has_expired,
    last_sequence_of,
    page_of,
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


def _rows_of_sizes(read: Sizes, source_of: SourceOf) -> list[Row]:
    return rows_of(source_of(read.query.table), resolved(read.query, source_of))


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


def _count(read: Count, source_of: SourceOf) -> int:
    return count_of(source_of(read.query.table), resolved(read.query, source_of))


def _aggregate(read: Aggregate, source_of: SourceOf) -> Any:
    query = resolved(read.query, source_of)
    return aggregate_rows(
        source_of(query.table), read if query is read.query else msgspec.structs.replace(read, query=query)
    )


def _last_sequence(read: LastSequence, source_of: SourceOf) -> int:
    return last_sequence_of(source_of(read.table), read.before)


def _record(read: Get[M], row: Row | None) -> M | None:
    return None if row is None else codec_of(read.table.model).decode(row)


def _records(read: Select[M], rows: list[Row]) -> list[M]:
    return [*map(codec_of(read.query.table.model).decode, rows)]


def _page(read: Page[M], rows: list[Row]) -> tuple[list[M], int]:
    return page_of(read.query.table, rows)


def _values(read: Values | FirstOfEach, rows: list[Row]) -> list[Row]:
    return columns_of_rows(read.query.table, rows, read.fields)


def _sizes(read: Sizes, rows: list[Row]) -> list[tuple[str, int]]:
    return [(str(row[0]), size_of(read.query.table, row, read.kinds)) for row in rows]


_EVALUATE: dict[type[Read[Any]], Callable[[Any, SourceOf], Any]] = {
    Get: _get,
    Select: _rows,
    Page: _rows,
    Values: _rows_of_values,
    FirstOfEach: _first_of_each,
    IsAny: _is_any,
    Sizes: _rows_of_sizes,
    Count: _count,
    Aggregate: _aggregate,
    LastSequence: _last_sequence,
    WordIndexes: lambda read, source_of: [],
    NearestCandidates: lambda read, source_of: None,
}
_FINISH: dict[type[Read[Any]], Callable[[Any, Any], Any]] = {
    Get: _record,
    Select: _records,
    Page: _page,
    Values: _values,
    FirstOfEach: _values,
    Sizes: _sizes,
}
