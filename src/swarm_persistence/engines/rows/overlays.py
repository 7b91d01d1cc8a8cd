"""A table as a transaction sees it: its own writes over the committed rows, which stay as they are until it commits."""

import heapq
from collections.abc import Iterator

from swarm_persistence.engines.rows.plans import Plan
from swarm_persistence.engines.rows.tables import RowTable
from swarm_persistence.schema.codec import Row


class OverlayTable:
    """A `Source` of committed rows, some of which are hidden, and of rows of its own."""

    def __init__(self, base: RowTable) -> None:
        self.table = base.table
        self.last_sequence = base.last_sequence
        self._base = base
        self._own = RowTable(base.table)
        self._hidden: set[int] = set()
        """The sequences of the committed rows that the transaction has changed or deleted."""

    def get(self, id: str) -> Row | None:
        row = self._own.get(id)
        if row is None:
            row = self._base.get(id)
            if row is not None and row[-1] in self._hidden:
                return None
        return row

    def scan(self, plan: Plan) -> Iterator[Row]:
        if plan.ids is not None:
            return (row for row in map(self.get, plan.ids) if row is not None)  # type: ignore[arg-type]
        hidden, own, base = self._hidden, self._own.rows, self._base.rows
        committed = self._base.entries(plan)
        if hidden:
            committed = (entry for entry in committed if entry[-1] not in hidden)
        if not own:
            return (base[entry[-1]] for entry in committed)
        merged = heapq.merge(committed, self._own.entries(plan), reverse=plan.is_backward)
        return (own.get(entry[-1]) or base[entry[-1]] for entry in merged)

    def count(self, plan: Plan) -> int:
        if plan.ids is not None or self._hidden:
            return sum(1 for _ in self.scan(plan))
        return self._base.count(plan) + self._own.count(plan)

    def change(self, before: Row | None, after: Row | None) -> None:
        if before is not None and before[-1] in self._own.rows:
            self._own.change(before, after)
            return
        if before is not None:
            sequence: int = before[-1]  # type: ignore[assignment]
            self._hidden.add(sequence)
        if after is not None:
            self._own.change(None, after)

    def commit(self) -> None:
        """Put the transaction's writes into the committed rows."""
        own, base = self._own.rows, self._base.rows
        # What is hidden first: a new row may have the id of a deleted one.
        for sequence in self._hidden:
            self._base.change(base[sequence], own.get(sequence))
        for sequence, row in own.items():
            if sequence not in self._hidden:
                self._base.change(None, row)
        self._base.last_sequence = self.last_sequence
