"""The sequences of a schema's tables."""

from collections.abc import Mapping
from typing import Any, ClassVar

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
    """Return the highest number that each sequence has assigned."""
    tables = {f'"{schema}".{table.name}': table.name for table in TABLES}
    rows: list[Any] = await connection.run(_NUMBERS, ([*tables], SEQUENCE))
    return {tables[name]: int(number) for name, number in rows}


class ReserveStatement(Statement, eq=False, gc=False):
    """Advances the sequence of a table to a number, if it is behind, and sets its floor; has no result."""

    dialect: PostgresDialect
    table: Table[Any]
    number: int
    floor: int
    make_room: Statement | None
    """The statement that adds a partition for the next number if the table is partitioned."""

    is_single: ClassVar[bool] = False

    def run(self) -> Exchange[None]:
        """Advance the sequence; a rollback does not undo that, which is harmless."""
        table = self.table
        if self.make_room is not None:
            yield from self.make_room.run()
        if self.number > 0:
            yield TextStatement(_RESERVE, (self.dialect.table(table), SEQUENCE, self.number), table)
        if table.floor is not None:
            yield TextStatement(f"UPDATE {self.dialect.floor(table)} SET number = $1", (self.floor,), table)
