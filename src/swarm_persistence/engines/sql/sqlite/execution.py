"""Runs compiled statements on a connection, in the calling thread."""

from typing import Any, TypeVar

import apsw

from swarm_persistence.engines.sql.sqlite.statements import UpkeepStatement
from swarm_persistence.engines.sql.sqlite.unreadable import unreadable
from swarm_persistence.engines.sql.statements import CountStatement, Exchange, Statement, TextStatement
from swarm_persistence.engines.steps import Upkeep

T = TypeVar("T")

UpkeepResults = dict[Upkeep[Any], int]
"""The results of the upkeep that a transaction has run."""


def execute(cursor: apsw.Cursor, exchange: Exchange[T], done: UpkeepResults | None = None) -> T:
    """Run what statements yield, and return their result. Upkeep already done is not repeated."""
    done = {} if done is None else done
    try:
        statement: Any = next(exchange)
        while True:
            try:
                if isinstance(statement, UpkeepStatement) and statement.step in done:
                    answer: Any = done[statement.step]
                elif isinstance(statement, CountStatement):
                    cursor.execute(statement.text, statement.values)
                    answer = cursor.connection.changes()
                    if isinstance(statement, UpkeepStatement):
                        done[statement.step] = answer
                elif isinstance(statement, TextStatement):
                    try:
                        answer = cursor.execute(statement.text, statement.values).fetchall()
                    except UnicodeDecodeError as error:
                        raise unreadable(cursor, statement, error) from error
                else:
                    answer = statement.run_on(cursor)
            except Exception as error:
                statement = exchange.throw(error)
            else:
                statement = exchange.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


def fetch(cursor: apsw.Cursor, statement: Statement) -> Any:
    """Run a statement that reads, and return its result: a read is one text, and needs no exchange."""
    assert isinstance(statement, TextStatement)
    try:
        rows = cursor.execute(statement.text, statement.values).fetchall()
    except UnicodeDecodeError as error:
        raise unreadable(cursor, statement, error) from error
    return statement.result(rows)
