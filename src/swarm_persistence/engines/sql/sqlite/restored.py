"""The statements that bring rows and numbers of another store."""

from typing import Any

import apsw

from swarm_persistence.engines.sql.sqlite.numbers import raise_numbers
from swarm_persistence.errors import ConflictError
from swarm_persistence.schema.tables import Table


class RestoreStatement:
    """Adds rows with their hidden columns; gives how many."""

    can_fail_after_change = True
    is_short = False

    def __init__(self, text: str, table: Table[Any]) -> None:
        self.table_name = table.name
        self._text = text
        self._label = table.label

    def run(self, cursor: apsw.Cursor, parameters: Any) -> int:
        """Add the rows, one for each of the parameters."""
        for row in parameters:
            try:
                cursor.execute(self._text, row)
            except apsw.ConstraintError as error:
                raise ConflictError(f"{self._label} {row[0]!r} cannot be restored (SQLite: {error})") from error
        return len(parameters)


class ReserveStatement:
    """Lets a table number on from a given number, and sets its floor; gives nothing."""

    table_name = ""
    can_fail_after_change = True
    is_short = False

    def __init__(self, table: Table[Any]) -> None:
        self._table = table

    def run(self, cursor: apsw.Cursor, parameters: Any) -> None:
        """Raise the number."""
        number, floor = parameters
        raise_numbers(cursor.connection, {self._table.name: number})
        if self._table.floor is not None:
            cursor.execute(f"UPDATE {self._table.floor} SET number = ?", (floor,))
