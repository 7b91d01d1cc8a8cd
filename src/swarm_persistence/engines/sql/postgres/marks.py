"""Detects commits to a schema by high-water marks, which the server's other commits do not move.

Every insert, and every change of a followed table, takes a number above all earlier ones; an index gives the highest
committed one. A commit that others with higher numbers have overtaken moves no mark: so the transactions that are open
when a mark moves count as well, until they end.
"""

from collections.abc import Sequence

from swarm_persistence.engines.watches import Watches
from swarm_persistence.schema.tables import CHANGE_NUMBER, SEQUENCE, TABLES

_NUMBERS = {table.name: CHANGE_NUMBER if table.is_followed else SEQUENCE for table in TABLES}

SNAPSHOT = "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text"
"""Changes with every commit on the server."""


class WriteMarks:
    """The high-water marks of all watched schemas, as they were last read."""

    def __init__(self) -> None:
        self._seen: dict[Watches, str] = {}
        self._schemas: dict[Watches, str] = {}
        self._overtaken: dict[Watches, frozenset[str]] = {}
        """The transactions that have been open since the marks moved: they may have lower numbers."""

    def add(self, watches: Watches, schema: str) -> None:
        """Watch a schema."""
        self._schemas[watches] = schema

    def discard(self, watches: Watches) -> None:
        """Stop watching for these watches."""
        self._schemas.pop(watches, None)
        self._seen.pop(watches, None)
        self._overtaken.pop(watches, None)

    def query(self) -> tuple[str, list[Watches]]:
        """Return a query of the snapshot and the marks, and the watches to which the marks belong, in order."""
        watched = [watches for watches in self._schemas if not watches.is_empty]
        # No search_path is set for it, and no operator is used in it.
        marks = [_mark(self._schemas[watches], watches.names) for watches in watched]
        return ", ".join((SNAPSHOT, *marks)), watched

    def changed_watches(self, watched: Sequence[Watches], marks: Sequence[str], snapshot: str) -> list[Watches]:
        """Return the watches to whose schemas something may have been committed since the last call."""
        _, _, listed = snapshot.split(":")
        still_open = frozenset(listed.split(",")) if listed else frozenset[str]()
        seen, overtaken = self._seen, self._overtaken
        self._seen = dict(zip(watched, marks, strict=True))
        self._overtaken = {}
        changed_watches = []
        for watches, mark in self._seen.items():
            before = overtaken.get(watches, frozenset())
            has_new_mark = seen.get(watches) != mark
            self._overtaken[watches] = still_open if has_new_mark else before & still_open
            if has_new_mark or not before <= still_open:
                changed_watches.append(watches)
        return changed_watches


def _mark(schema: str, names: frozenset[str]) -> str:
    quoted = '"' + schema.replace('"', '""') + '"'
    numbers = [f"(SELECT pg_catalog.max({_NUMBERS[name]}) FROM {quoted}.{name})" for name in sorted(names)]
    return f"ARRAY[{', '.join(numbers)}]::pg_catalog.text"
