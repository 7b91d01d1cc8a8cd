"""Follows the writes of a table where each leaves a number that is higher than all before it, in order of commit."""

from typing import Any

import msgspec

from swarm_persistence.engines.interface import FeedPage, FeedPosition, Reader
from swarm_persistence.engines.reads import Values
from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.schema.tables import CHANGE_NUMBER, SEQUENCE, Table
from swarm_persistence.schema.values import LARGEST_INTEGER


def end_of(number: int) -> FeedPosition:
    """Return the place behind all rows of a number and before those of the next one."""
    return FeedPosition(number, LARGEST_INTEGER)


BEFORE_ALL = end_of(-1)


async def follow(
    reader: Reader, query: Query[Any], after: FeedPosition, limit: int, upto: FeedPosition | None = None
) -> FeedPage:
    """Do what `Engine.follow` says, of numbers that become visible in their order, or did so up to a place.

    A row that is written between these reads gets a number above the last one that is looked at here, and is found by
    the next call.
    """
    table = query.table
    if upto is None and query.conditions:
        # The rows that do not fulfil the conditions are passed over once, not by each call again.
        upto = end_of(await _last_number(reader, table))
    rows: list[Any] = []
    for span in _spans(table, after, upto):
        conditions = (*query.conditions, *span)
        rest = msgspec.structs.replace(
            query, conditions=conditions, order=(Order(_number(table)),), limit=limit - len(rows)
        )
        rows += await reader.read(Values(rest, (*table.stored_names, SEQUENCE)))
        if len(rows) == limit:
            return FeedPage(rows, position_of(table, rows[-1]), is_full=True)
    if query.conditions and upto is not None:
        return FeedPage(rows, upto)
    if rows:
        # What has a number became visible at once, and this page was not cut: nothing more comes of its last number.
        return FeedPage(rows, end_of(position_of(table, rows[-1]).number))
    if table.is_followed:
        return FeedPage(rows, end_of(after.number))
    # A caller's own place may lie ahead of all rows: some may still come before it.
    return FeedPage(rows, end_of(min(after.number, await _last_number(reader, table))))


def position_of(table: Table[Any], row: Any) -> FeedPosition:
    """Return the place of a row of `FeedPage.rows`."""
    if not table.is_followed:
        return end_of(row[table.positions[SEQUENCE]])
    return FeedPosition(row[table.positions[CHANGE_NUMBER]], row[table.positions[SEQUENCE]])


def _number(table: Table[Any]) -> str:
    return CHANGE_NUMBER if table.is_followed else SEQUENCE


def _spans(table: Table[Any], after: FeedPosition, upto: FeedPosition | None) -> list[tuple[Condition, ...]]:
    """Return conditions for the rows behind one place and up to another, each of which one range of an index serves."""
    number = _number(table)
    if upto is not None and upto <= after:
        return []
    spans: list[tuple[Condition, ...]] = []
    if upto is not None and upto.number == after.number:
        return [_within(number, after.number, after.sequence, upto.sequence)]
    if after.sequence < LARGEST_INTEGER:
        # One statement may have written more rows than a page holds, all with the same number.
        spans.append(_within(number, after.number, after.sequence, LARGEST_INTEGER))
    above = Condition(number, ">", after.number)
    if upto is None:
        return [*spans, (above,)]
    if upto.sequence == LARGEST_INTEGER:
        return [*spans, (above, Condition(number, "<=", upto.number))]
    last = _within(number, upto.number, -1, upto.sequence)
    return [*spans, (above, Condition(number, "<", upto.number)), last]


def _within(number: str, value: int, above: int, upto: int) -> tuple[Condition, ...]:
    return (
        Condition(number, "=", value),
        Condition(SEQUENCE, ">", above),
        Condition(SEQUENCE, "<=", upto),
    )


async def _last_number(reader: Reader, table: Table[Any]) -> int:
    number = _number(table)
    rows: list[Any] = await reader.read(Values(Query(table, (), (Order(number, True),), 1), (number,)))
    return int(rows[0][0]) if rows else 0
