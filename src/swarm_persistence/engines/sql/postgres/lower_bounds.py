"""Remembers where ready tasks begin, so that claims need not walk over the dead index entries of earlier claims.

An index keeps the entries of claimed tasks until VACUUM removes them, which another program's open snapshot prevents.
So after a claim that walked over many entries, the claims of the next second or so begin where it ended. Then one
begins at the front again: it finds tasks that were stored in a transaction that was still open before, or that a
rolled-back claim has returned. Meanwhile, such a task waits only if there are others to claim.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from swarm_persistence.engines.sql.postgres.claim_branches import PRIORITIES
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.tables import SEQUENCE, TASKS

_MANY_ENTRIES = 2000
"""Walking over so many entries, at a microsecond each, takes longer than searching two indexes for each priority."""
_WALKED_FOR_A_ROW = 2
"""The most entries of rows that are ready, of the next type in turn included, or where all are read."""
_SHORTEST_SECONDS = 1.0
_SECONDS_FOR_AN_ENTRY = 20e-6
"""The use of bounds, per entry that a claim from the front walks over: that walk then takes a twentieth of the time."""
_MOST_KINDS = 100

_PRIORITY, _SEQUENCE = TASKS.positions["priority"], TASKS.positions[SEQUENCE]


class _Known:
    """The bounds of claims of one kind, one per priority, and until when they are used."""

    __slots__ = ("lowest", "until")

    def __init__(self) -> None:
        self.lowest = dict.fromkeys(PRIORITIES, 0)
        self.until = 0.0


class LowerBounds:
    """The bounds of one schema, by the types that are claimed."""

    def __init__(self) -> None:
        self._known: dict[tuple[Condition, ...], _Known] = {}

    def of(self, query: Query[Any]) -> Sequence[int] | None:
        """Return the bound of each priority, the most urgent first; `None` if the claim must begin at the front."""
        known = self._known.get(query.conditions)
        if known is None or time.monotonic() >= known.until:
            return None
        return [*known.lowest.values()]

    def advance(self, query: Query[Any], rows: Iterable[Any]) -> None:
        """Take note of what a bounded claim took: nothing is left before its last row."""
        known = self._known.get(query.conditions)
        if known is not None:
            priority, sequence = _last_of(rows)
            known.lowest[priority] = max(known.lowest[priority], sequence + 1)

    def learn(self, query: Query[Any], rows: Sequence[Any], walked: int) -> None:
        """Take note of what a claim from the front took, and how many entries it walked over."""
        if not rows or walked < _MANY_ENTRIES + _WALKED_FOR_A_ROW * len(rows):
            self._known.pop(query.conditions, None)
            return
        if len(self._known) >= _MOST_KINDS:
            self._known.clear()
        known = self._known.setdefault(query.conditions, _Known())
        last, sequence = _last_of(rows)
        known.lowest[last] = sequence + 1
        for priority in PRIORITIES:
            if priority > last:
                known.lowest[priority] = max(known.lowest[priority], sequence)
        known.until = time.monotonic() + max(_SHORTEST_SECONDS, walked * _SECONDS_FOR_AN_ENTRY)


def _last_of(rows: Iterable[Any]) -> tuple[int, int]:
    """Return the priority and the sequence of the row that is the last one in the order of claims."""
    return max(((row[_PRIORITY], row[_SEQUENCE]) for row in rows), key=lambda each: (-each[0], each[1]))
