"""Interprets reads over the rows of sources: first the part during which the rows must not change, then the rest.

Aggregates of groups of rows are computed as SQL does.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, TypeVar

import msgspec

from swarm_persistence.engines.reads import (
    Aggregate,
    AggregateFunction,
    AggregateRow,
    Bucket,
    Count,
    Elapsed,
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
from swarm_persistence.engines.rows.evaluator import (
    count_of,
    has_expired,
    matching_rows,
    resolved,
    rows_of,
    size_of,
    steps_above,
)
from swarm_persistence.engines.rows.row_source import RowSource
from swarm_persistence.query.query import Condition, Order
from swarm_persistence.query.semantics import order_key, percentile_of
from swarm_persistence.schema.codec import Row, codec_of
from swarm_persistence.schema.tables import Kind, M, Table

T = TypeVar("T")
SourceOf = Callable[[Table[Any]], RowSource]


def evaluate(read: Read[Any], source_of: SourceOf) -> Any:
    """Return the rows or the number that a read finds; `finish` turns them into its result."""
    # Looked up by class: `isinstance` of msgspec's structs takes half a microsecond for each that it is not.
    return _EVALUATE[type(read)](read, source_of)


def finish(read: Read[T], found: Any) -> T:
    """Return the result of a read. Rows do not change, so this needs no lock."""
    finish_read = _FINISH.get(type(read))
    result: T = found if finish_read is None else finish_read(read, found)
    return result


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


def aggregate_rows(source: RowSource, aggregate: Aggregate) -> list[AggregateRow]:
    """Return one row per group, sorted by the group's key, null first; without `group_by`, one row."""
    table = source.table
    functions = [_function(table, function) for function in aggregate.functions]
    rows = matching_rows(source, aggregate.query)
    if not aggregate.group_by:
        return [tuple(compute(rows) for compute in functions)]
    key_parts = [_key_part(table, group) for group in aggregate.group_by]
    if len(key_parts) == 1 and all(function.field is None for function in aggregate.functions):
        return _counted(Counter(map(key_parts[0], rows)), len(functions))
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple([part(row) for part in key_parts]), []).append(row)
    sort_keys = [_sort_key(table, place, group) for place, group in enumerate(aggregate.group_by)]
    sorted_groups = sorted(groups.items(), key=lambda group: [sort_key(group) for sort_key in sort_keys])
    return [(*key, *(compute(group) for compute in functions)) for key, group in sorted_groups]


def _counted(counts: Counter[Any], functions: int) -> list[AggregateRow]:
    """Return the groups by one part of which each function counts the rows."""
    values = sorted(counts, key=lambda value: () if value is None else (value,))
    return [(value, *(counts[value],) * functions) for value in values]


def _key_part(table: Table[Any], group: str | Bucket) -> Callable[[Row], Any]:
    """Return the function that computes one part of a row's group key."""
    if not isinstance(group, Bucket):
        return itemgetter(table.positions[group])
    position, width = table.positions[group.field], group.width

    def rounded_down(row: Row) -> int | None:
        value: Any = row[position]
        return None if value is None else value // width * width

    return rounded_down


def _sort_key(table: Table[Any], place: int, group: str | Bucket) -> Callable[[tuple[Any, list[Row]]], Any]:
    """Return the function that computes a group's sort key for one part of the group key."""
    if isinstance(group, Bucket):
        return lambda found: () if found[0][place] is None else (found[0][place],)
    in_order = order_key(table, (Order(group),))
    return lambda found: in_order(found[1][0])


def _function(table: Table[Any], function: AggregateFunction) -> Callable[[Sequence[Row]], Any]:
    if function.field is None:
        return len
    compute = _computation(function)
    if isinstance(function.field, Elapsed):
        value_of = _elapsed(table, function.field)
    else:
        value_of = itemgetter(table.positions[function.field])
        is_real = table.column(function.field).kind is Kind.REAL
        if function.name == "sum" and not is_real:
            compute = sum
    has_empty_value = function.name == "count"

    def compute_field(rows: Sequence[Row]) -> Any:
        values = [value for row in rows if (value := value_of(row)) is not None]
        return compute(values) if values or has_empty_value else None

    return compute_field


def _elapsed(table: Table[Any], elapsed: Elapsed) -> Callable[[Row], int | None]:
    """Return the function that computes the time elapsed between fields of a row."""
    first, *others = [table.positions[field] for field in elapsed.since]
    end = table.positions[elapsed.until]

    def between(row: Row) -> int | None:
        since: Any = row[first]
        until: Any = row[end]
        if since is None or until is None:
            return None
        latest: int = max([since, *[row[other] for other in others if row[other] is not None]])
        return int(until - latest)

    return between


def _computation(function: AggregateFunction) -> Callable[[Sequence[Any]], Any]:
    if function.name != "percentile":
        return _FUNCTIONS[function.name]
    assert function.fraction is not None
    return partial(percentile_of, fraction=function.fraction)


def _sum(values: Sequence[Any]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:
        # fsum raises if the sum exceeds a double; SQL returns infinity.
        return float(sum(values))


def _average(values: Sequence[Any]) -> float:
    return _sum(values) / len(values)


_FUNCTIONS: dict[str, Callable[[Sequence[Any]], Any]] = {
    "count": len,
    "avg": _average,
    "min": min,
    "max": max,
    "sum": _sum,
}
