"""Reads the changes of a table whose writes leave increasing numbers, in order of commit."""

from collections.abc import Awaitable
from typing import Any, ClassVar, Protocol

import msgspec

from swarm_persistence.engines.interface import FeedPage, FeedPosition, Reader
from swarm_persistence.engines.reads import Sizes, Values, leading
from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.schema.tables import CHANGE_NUMBER, LARGE_KINDS, SEQUENCE, Kind, Table
from swarm_persistence.schema.values import LARGEST_INTEGER

PAGE_BYTES = 256 * 1024
"""The most that a page of an engine holds that can measure rows without reading them; a larger row is a page."""
_MEASURED = LARGE_KINDS | {Kind.TEXT}


def end_of(number: int) -> FeedPosition:
    """Return the position after all rows of a number, and before those of the next."""
    return FeedPosition(number, LARGEST_INTEGER)


BEFORE_ALL = end_of(-1)


class FollowingEngine:
    """An engine of numbers that become visible in their order."""

    measures_rows: ClassVar[bool] = False
    """Whether it tells the size of rows without reading them."""

    def follow(
        self: "_Measuring", query: Query[Any], after: FeedPosition, limit: int, upto: FeedPosition | None = None
    ) -> Awaitable[FeedPage]:
        """Implement `Engine.follow`."""
        return follow(self, query, after, limit, upto, PAGE_BYTES if self.measures_rows else None)


class _Measuring(Reader, Protocol):
    @property
    def measures_rows(self) -> bool: ...


async def follow(  # noqa: PLR0917
    reader: Reader,
    query: Query[Any],
    after: FeedPosition,
    limit: int,
    upto: FeedPosition | None = None,
    most_bytes: int | None = None,
) -> FeedPage:
    """Implement `Engine.follow` for numbers that become visible in their order, or have up to `upto`.

    With `most_bytes`, rows are measured before they are read, and no more are read than have so many bytes together,
    except for a single one.

    A row that is written between these reads gets a number above all that are read here; the next call finds it.
    """
    table = query.table
    if upto is None and query.conditions:
        # Rows that do not match the conditions are skipped once, not by each call again.
        upto = end_of(await _last_number(reader, table))
    rows: list[Any] = []
    read_bytes = 0
    for span in spans_of(table, after, upto):
        conditions = (*query.conditions, *span)
        rest = msgspec.structs.replace(
            query, conditions=conditions, order=(Order(_number(table)),), limit=limit - len(rows)
        )
        is_cut = False
        if most_bytes is not None:
            sizes = [size for _, size in await reader.read(Sizes(rest, _MEASURED))]
            fitting = leading((read_bytes, *sizes), most_bytes) - 1 if rows else leading(sizes, most_bytes)
            is_cut = fitting < len(sizes)
            read_bytes += sum(sizes[:fitting])
            if is_cut:
                # Limit only then: a limit by the measured rows would split a number to which rows were added since.
                rest = msgspec.structs.replace(rest, limit=fitting)
        if rest.limit:
            rows += await reader.read(Values(rest, (*table.stored_names, SEQUENCE)))
        if is_cut or len(rows) == limit:
            return FeedPage(rows, position_of(table, rows[-1]) if rows else after, is_full=True)
    if query.conditions and upto is not None:
        return FeedPage(rows, upto)
    if rows:
        # The rows of a number become visible at once, and this page was not cut: no more rows of its last number come.
        return FeedPage(rows, end_of(position_of(table, rows[-1]).number))
    if table.is_followed:
        return FeedPage(rows, end_of(after.number))
    # The caller's position may lie ahead of all rows: later ones may still come before it.
    return FeedPage(rows, end_of(min(after.number, await _last_number(reader, table))))


def position_of(table: Table[Any], row: Any) -> FeedPosition:
    """Return the position of a row of `FeedPage.rows`."""
    if not table.is_followed:
        return end_of(row[table.positions[SEQUENCE]])
    return FeedPosition(row[table.positions[CHANGE_NUMBER]], row[table.positions[SEQUENCE]])


def _number(table: Table[Any]) -> str:
    return CHANGE_NUMBER if table.is_followed else SEQUENCE


def spans_of(table: Table[Any], after: FeedPosition, upto: FeedPosition | None) -> list[tuple[Condition, ...]]:
    """Return conditions for the rows after one position and up to another, each a single range of an index."""
    number = _number(table)
    if upto is not None and upto <= after:
        return []
    spans: list[tuple[Condition, ...]] = []
    if upto is not None and upto.number == after.number:
        return [_within(number, after.number, after.sequence, upto.sequence)]
    if after.sequence < LARGEST_INTEGER:
        # One statement may have written more rows with one number than a page holds.
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
