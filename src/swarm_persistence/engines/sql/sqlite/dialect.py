"""How SQLite writes what databases write differently."""

from collections.abc import Sequence
from typing import Any

import msgspec

from swarm_persistence.query.query import FromNow
from swarm_persistence.query.text import Dialect, Marks, quoted
from swarm_persistence.schema.tables import CHANGE_NUMBER, Table
from swarm_persistence.schema.values import ColumnValue


class SqliteDialect(Dialect):
    """SQLite's way, made for its planner."""

    has_literals = True

    def contains(self, field: str, candidates: Sequence[ColumnValue], marks: Marks) -> str:
        """Return a condition with one value for any number of candidates: one text, and no limit on their number."""
        return f"{quoted(field)} IN (SELECT value FROM json_each({marks.next()}))"

    def candidates(self, candidates: Sequence[ColumnValue]) -> Sequence[ColumnValue]:
        """Return the candidates as one JSON array."""
        return [msgspec.json.encode(candidates).decode()]

    def unindexed(self, field: str) -> str:
        """Return a field in a form that no index serves."""
        return f"+{quoted(field)}"

    def candidates_shape(self, candidates: Sequence[ColumnValue]) -> object:
        """Return the same for all: the text does not depend on the candidates."""
        return None

    def moment_values(self, moment: FromNow) -> Sequence[Any]:
        """Return the moment itself: the connection asks the clock when it binds it.

        A write may wait for its turn as long as another process holds the file: a lease that was counted from the call
        on would come back with a part of it gone, or all.
        """
        return (moment,)

    def change_number(self, table: Table[Any]) -> str:
        """Return a number above that of every row, those included that were deleted."""
        highest = f"(SELECT coalesce(max({CHANGE_NUMBER}), 0) FROM {table.name})"
        return f"max({highest}, (SELECT number FROM change_floor)) + 1"

    def limit(self, mark: str) -> str:
        """Return the clause that bounds the rows."""
        # A sum, not the mark alone: SQLite would plan a claim anew for every value, at four times its cost.
        return f"LIMIT {mark} + 0"
