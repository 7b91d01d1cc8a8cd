"""Follows the writes of a table where each leaves a number that is higher than all before it, in order of commit."""

from typing import Any

import msgspec

from swarm_persistence.engines.interface import Executor
from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.schema.tables import CHANGE_NUMBER, SEQUENCE, M


async def follow(
    executor: Executor, query: Query[M], after: int, limit: int, *, below: int | None = None
) -> tuple[list[M], int]:
    """Do what `Engine.follow` says. What is not `below` a number may not be complete yet, and is left for later.

    A row that is written between these reads gets a number above the last one that is looked at here, and is found by
    the next call.
    """
    number = CHANGE_NUMBER if query.table.is_followed else SEQUENCE
    last = await _last_number(executor, query, number, below)
    if last <= after:
        return [], after
    new = (*query.conditions, Condition(number, ">", after), Condition(number, "<=", last))
    upwards = (Order(number),)
    bounded = msgspec.structs.replace(query, conditions=new, order=upwards, limit=1, offset=limit)
    # Rows of one statement may share a number, so a page ends with a number, not with a row.
    beyond: list[Any] = await executor.values(bounded, (number,))
    if beyond:
        last = max(beyond[0][0] - 1, await _first_number(executor, query, new, number))
    page = (*query.conditions, Condition(number, ">", after), Condition(number, "<=", last))
    records = await executor.select(msgspec.structs.replace(query, conditions=page, order=upwards))
    return records, last


async def _last_number(executor: Executor, query: Query[Any], number: str, below: int | None) -> int:
    conditions = () if below is None else (Condition(number, "<", below),)
    rows: list[Any] = await executor.values(Query(query.table, conditions, (Order(number, True),), 1), (number,))
    return int(rows[0][0]) if rows else 0


async def _first_number(executor: Executor, query: Query[Any], conditions: tuple[Condition, ...], number: str) -> int:
    rows: list[Any] = await executor.values(Query(query.table, conditions, (Order(number),), 1), (number,))
    return int(rows[0][0]) if rows else 0
