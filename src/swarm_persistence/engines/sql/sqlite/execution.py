"""Runs compiled statements on a connection, in the calling thread."""

from typing import Any, TypeVar

import apsw

from swarm_persistence.engines.sql.sqlite.statements import UpkeepStatement
from swarm_persistence.engines.sql.statements import (
    ClaimStatement,
    CountStatement,
    Exchange,
    RecordsStatement,
    Statement,
    TextStatement,
)
from swarm_persistence.engines.steps import Upkeep
from swarm_persistence.errors import UnreadableError
from swarm_persistence.query.text import quoted
from swarm_persistence.schema.tables import CHANGE_NUMBER, SEQUENCE, Kind, Table

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


_TEXTS = (Kind.TEXT, Kind.CHOICE, Kind.JSON, Kind.OBJECT, Kind.TEXTS, Kind.TAGS, Kind.CLAIMS, Kind.PATH)


def unreadable(cursor: apsw.Cursor, statement: TextStatement, error: UnicodeDecodeError) -> UnreadableError:
    """Return the error for the first row of a result that Python cannot decode: its text is not UTF-8."""
    table = statement.table
    if isinstance(statement, RecordsStatement):
        return _unreadable(cursor, table, f"({statement.text})", statement.values, error)
    if isinstance(statement, ClaimStatement):
        # The statement has changed these rows last, in this transaction.
        latest = f"{table.name} WHERE {CHANGE_NUMBER} = (SELECT max({CHANGE_NUMBER}) FROM {table.name})"
        return _unreadable(cursor, table, latest, (), error)
    # The statement returns some columns only: search the whole table for the undecodable bytes.
    holds = f"{table.name} WHERE ? IN ({', '.join(_blobs(table))})"
    return _unreadable(cursor, table, holds, (bytes(error.object),), error)


def _unreadable(
    cursor: apsw.Cursor, table: Table[Any], source: str, parameters: Any, error: UnicodeDecodeError
) -> UnreadableError:
    columns = [SEQUENCE, *_blobs(table)]
    rows: Any = cursor.execute(f"SELECT {', '.join(columns)} FROM {source}", parameters).fetchall()
    for sequence, *blobs in rows:
        readable = dict(zip(_texts_of(table), map(_text, blobs), strict=True))
        damaged = [name for (name, value), blob in zip(readable.items(), blobs, strict=True) if value is None and blob]
        if not damaged:
            continue
        id = readable.get("id")
        row = f"of sequence {sequence}" if id is None else repr(id)
        reason = f"its {damaged[0]} is not UTF-8 text: {error}"
        return UnreadableError(f"the stored {table.label} {row} cannot be read back: {reason}", id, sequence)
    return UnreadableError(f"a stored {table.label} cannot be read back: {error}")


def _texts_of(table: Table[Any]) -> list[str]:
    return [column.name for column in table.columns if column.kind in _TEXTS]


def _blobs(table: Table[Any]) -> list[str]:
    return [f"CAST({quoted(name)} AS BLOB)" for name in _texts_of(table)]


def _text(blob: bytes | None) -> str | None:
    try:
        return None if blob is None else blob.decode()
    except UnicodeDecodeError:
        return None
