"""What the evaluator needs of rows: found by id or by plan, counted, and changed one at a time."""

from collections.abc import Iterator
from typing import Any, Protocol

from swarm_persistence.engines.rows.planner import AccessPath
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import Table


class RowSource(Protocol):
    """The rows of one table, as one caller sees them."""

    table: Table[Any]
    last_sequence: int
    """The highest sequence that was ever given to a row."""
    last_change: int
    """The highest number that a write of a followed row has left."""

    def get(self, id: str) -> Row | None:
        """Return the row of this id."""
        ...

    def scan(self, path: AccessPath) -> Iterator[Row]:
        """Yield the rows that lie on the plan's way, in its order. Nothing may change before the iterator is used up
        or dropped."""
        ...

    def count(self, path: AccessPath) -> int:
        """Count the rows that lie on the plan's way."""
        ...

    def add(self, row: Row) -> None:
        """Take a row whose id and sequence are new."""
        ...

    def change(self, before: Row, after: Row) -> None:
        """Put a row in the place of another one of the same id and sequence."""
        ...

    def remove(self, row: Row) -> None:
        """Let go of a row."""
        ...
