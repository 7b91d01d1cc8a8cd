"""The sequences of a schema's tables: the numbers that were given out."""

from collections.abc import Mapping
from typing import Any

from swarm_persistence.engines.sql.postgres.acts import RowsAct
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.dialect import PostgresDialect
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


class ReserveAct:
    """Lets a table number on from a given number, if it is behind, and sets its floor; gives nothing."""

    is_single = False

    def __init__(
        self, dialect: PostgresDialect, table: Table[Any], number: int, floor: int, make_room: RowsAct | None
    ) -> None:
        """Take the number, and what makes room for the next one where the table is partitioned by them."""
        self._values = (dialect.table(table), SEQUENCE, number)
        self._set_floor = None if table.floor is None else f"UPDATE {dialect.floor(table)} SET number = $1"
        self._floor = floor
        self._make_room = make_room

    async def run(self, connection: Connection) -> None:
        """Raise the sequence: that is not undone with the transaction, and does no harm."""
        if self._make_room is not None:
            await self._make_room.run(connection)
        if self._values[2] > 0:
            await connection.run(_RESERVE, self._values)
        if self._set_floor is not None:
            await connection.run(self._set_floor, (self._floor,))
