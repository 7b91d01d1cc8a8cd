"""The dialect of SQLite."""

from collections.abc import Sequence
from typing import Any

import msgspec

from swarm_persistence.query.query import FromNow
from swarm_persistence.query.text import Dialect, Marks, quoted
from swarm_persistence.schema.tables import CHANGE_NUMBER, Table
from swarm_persistence.schema.values import ColumnValue


class SqliteDialect(Dialect):
    """The SQL of SQLite, written for its query planner."""

    has_literals = True

    def contains(self, field: str, candidates: Sequence[ColumnValue], marks: Marks) -> str:
        """Return a condition with one placeholder for any number of candidates, so that all of them share one text."""
        return f"{quoted(field)} IN (SELECT value FROM json_each({marks.next()}))"

    def candidates(self, candidates: Sequence[ColumnValue]) -> Sequence[ColumnValue]:
        """Return the candidates as one JSON array."""
        return [msgspec.json.encode(candidates).decode()]

    def unindexed(self, field: str) -> str:
        return f"+{quoted(field)}"

    def candidates_shape(self, candidates: Sequence[ColumnValue]) -> object:
        """Return `None`: the text does not depend on the candidates."""
        return None

    def moment_values(self, moment: FromNow) -> Sequence[Any]:
        """Return the moment itself: the connection reads the clock when it binds the value.

        A write may wait long for another process's lock. A lease counted from the call would have partly or wholly
        expired by then.
        """
        return (moment,)

    def change_number(self, table: Table[Any]) -> str:
        """Return a number above that of every row, deleted ones included."""
        highest = f"(SELECT coalesce(max({CHANGE_NUMBER}), 0) FROM {table.name})"
        return f"max({highest}, (SELECT number FROM change_floor)) + 1"

    def limit(self, mark: str) -> str:
        # A sum, not a bare placeholder: SQLite would replan a claim for each value, at four times its cost.
        return f"LIMIT {mark} + 0"
