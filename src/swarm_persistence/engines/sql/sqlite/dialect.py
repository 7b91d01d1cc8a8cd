"""How SQLite writes what databases write differently."""

from collections.abc import Sequence

import msgspec

from swarm_persistence.query.text import Dialect, Marks
from swarm_persistence.schema.tables import Kind
from swarm_persistence.schema.values import ColumnValue


class SqliteDialect(Dialect):
    """SQLite's way, made for its planner."""

    # Few values, and ours: in the text they let SQLite see that a partial index holds the rows.
    literal_kinds = frozenset({Kind.CHOICE, Kind.FLAG})

    def contains(self, field: str, candidates: Sequence[ColumnValue], marks: Marks) -> str:
        """Return a condition with one value for any number of candidates: one text, and no limit on their number."""
        return f"{field} IN (SELECT value FROM json_each({marks.next()}))"

    def candidates(self, candidates: Sequence[ColumnValue]) -> Sequence[ColumnValue]:
        """Return the candidates as one JSON array."""
        return [msgspec.json.encode(candidates).decode()]
