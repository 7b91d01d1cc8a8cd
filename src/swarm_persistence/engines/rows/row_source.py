"""What the evaluator needs of a table: to find rows by id or access path, count them, and change one at a time."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from swarm_persistence.engines.rows.planner import AccessPath
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import Table


class RowSource(Protocol):
    """The rows of one table, as one caller sees them."""

    table: Table[Any]
    last_sequence: int
    """The highest sequence that has been assigned to a row."""
    last_change: int
    """The highest change number that has been assigned to a row of a followed table."""

    def get(self, id: str) -> Row | None:
        """Return the row of this id."""
        ...

    def scan(self, path: AccessPath) -> Iterator[Row]:
        """Yield the rows on an access path, in its order; the rows must not change while the iterator is in use."""
        ...

    def count(self, path: AccessPath) -> int:
        """Count the rows on an access path."""
        ...

    def completed(self, rows: list[Row], places: Sequence[int]) -> list[Row]:
        """Return rows of this table that hold their bytes at these positions: a stored row may hold a reference."""
        ...

    def add(self, row: Row) -> None:
        """Add a row with a new id and sequence."""
        ...

    def change(self, before: Row, after: Row) -> None:
        """Replace a row by one with the same id and sequence."""
        ...

    def remove(self, row: Row) -> None:
        """Remove a row."""
        ...
