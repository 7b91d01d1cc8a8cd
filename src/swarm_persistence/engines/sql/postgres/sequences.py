"""The sequences of a schema's tables: the numbers that were given out."""

from collections.abc import Mapping
from typing import Any

from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.dialect import PostgresDialect
from swarm_persistence.engines.sql.statements import Exchange, Statement, TextStatement
from swarm_persistence.schema.tables import SEQUENCE, TABLES, Table

_NUMBERS = """
SELECT name, coalesce(pg_sequence_last_value(pg_get_serial_sequence(name, $2)::regclass), 0)
FROM unnest($1::text[]) AS name
"""
_RESERVE = """
SELECT setval(sequence, $3)
FROM (SELECT pg_get_serial_sequence($1, $2)::regclass AS sequence) AS found
WHERE coalesce(pg_sequence_last_value(sequence), 0) < $3
"""


async def numbers_of(connection: Connection, schema: str) -> Mapping[str, int]:
    """Return the highest number that each sequence has given out up to now."""
    tables = {f'"{schema}".{table.name}': table.name for table in TABLES}
    rows: list[Any] = await connection.run(_NUMBERS, ([*tables], SEQUENCE))
    return {tables[name]: int(number) for name, number in rows}


class ReserveStatement(Statement, eq=False, gc=False):
    """Lets a table number on from a given number, if it is behind, and sets its floor; gives nothing."""

    dialect: PostgresDialect
    table: Table[Any]
    number: int
    floor: int
    make_room: Statement | None
    """What makes room for the next number where the table is partitioned by them."""

    @property
    def is_single(self) -> bool:
        return False

    def run(self) -> Exchange[None]:
        """Raise the sequence: that is not undone with the transaction, and does no harm."""
        table = self.table
        if self.make_room is not None:
            yield from self.make_room.run()
        if self.number > 0:
            yield TextStatement(_RESERVE, (self.dialect.table(table), SEQUENCE, self.number), table)
        if table.floor is not None:
            yield TextStatement(f"UPDATE {self.dialect.floor(table)} SET number = $1", (self.floor,), table)
