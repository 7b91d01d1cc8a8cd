"""Runs compiled statements on a connection, in its event loop."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import asyncpg

from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.failures import refused
from swarm_persistence.engines.sql.statements import (
    CountStatement,
    Exchange,
    RecordsStatement,
    RecordStatement,
    ReplaceStatement,
    Statement,
    TextStatement,
)

T = TypeVar("T")

_LONGEST_STAY_SECONDS = 0.005
"""How long rows are decoded before control returns to the event loop."""


class ConnectionStatement(Statement, eq=False, gc=False):
    """A statement that needs the connection: it yields itself, and the driver awaits `run_on`."""

    def run(self) -> Exchange[Any]:
        return (yield self)

    async def run_on(self, connection: Connection) -> Any:
        """Run it, and return its result."""
        raise NotImplementedError


async def read(connection: Connection, statement: Statement) -> Any:
    """Run the statement of a read, and return its result; other tasks run while many rows are decoded."""
    if not isinstance(statement, RecordsStatement) or isinstance(statement, RecordStatement):
        return await execute(connection, statement.run())
    rows = await connection.run(statement.text, statement.values)
    return statement.result_of(rows, await _decode_in_slices(statement.decode, rows))


async def _decode_in_slices(decode: Callable[[Any], T], rows: Iterable[Any]) -> list[T]:
    records: list[T] = []
    end = time.monotonic() + _LONGEST_STAY_SECONDS
    for row in rows:
        if time.monotonic() >= end:
            await asyncio.sleep(0)
            end = time.monotonic() + _LONGEST_STAY_SECONDS
        records.append(decode(row))
    return records


async def execute(connection: Connection, exchange: Exchange[T]) -> T:
    """Run what statements yield, and return their result."""
    try:
        statement = next(exchange)
        while True:
            try:
                answer = await _answer(connection, statement)
            except Exception as error:
                statement = exchange.throw(error)
            else:
                statement = exchange.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


async def _answer(connection: Connection, statement: Any) -> Any:
    if not isinstance(statement, TextStatement):
        return await statement.run_on(connection)
    if not isinstance(statement, CountStatement | ReplaceStatement):
        return await connection.run(statement.text, statement.values)
    run = connection.count if isinstance(statement, CountStatement) else connection.run
    try:
        return await run(statement.text, statement.values)
    except asyncpg.UniqueViolationError as error:
        raise refused(statement.table, error, []) from error
