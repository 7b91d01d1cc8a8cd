"""The database as one transaction sees it: fetched rows of every table, and its own writes over them."""

from collections.abc import Iterable, Sequence
from typing import Any

from swarm_persistence.engines.interface import Insert, Replace, Save, Step, Unless, When
from swarm_persistence.engines.rows.indexeddb.fetched_table import FetchedTable, Receiver, Request
from swarm_persistence.engines.rows.indexeddb.messages import Difference, State
from swarm_persistence.engines.rows.overlays import OverlayTable
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import Table


class Fetch:
    """What is asked for at once. It takes the answers itself: another fetch may be under way that nobody awaits."""

    def __init__(self, requests: Sequence[tuple[Request, Receiver]]) -> None:
        self.requests = [request for request, _ in requests]
        self._receivers = [receiver for _, receiver in requests]

    def receive(self, answers: Sequence[Any]) -> None:
        """Take the answers, in the order of the requests."""
        for receive, answer in zip(self._receivers, answers, strict=True):
            receive(answer)


class DatabaseView:
    """Committed rows as far as they were fetched."""

    def __init__(self) -> None:
        self._counters: dict[str, list[int]] = {}
        self._tables: dict[str, FetchedTable] = {}

    def table(self, table: Table[Any]) -> FetchedTable:
        """Return the rows of a table."""
        fetched = self._tables.get(table.name)
        if fetched is None:
            fetched = self._tables[table.name] = FetchedTable(table, *self._counters.get(table.name, ()))
        return fetched

    @property
    def missing(self) -> int:
        """Return how many things were asked for that are not here."""
        return sum(fetched.missing for fetched in self._tables.values())

    def want(self, steps: Iterable[Step]) -> None:
        """Note the rows that steps name."""
        for step in steps:
            if isinstance(step, Insert | Save | Replace):
                self.table(codec_of(type(step.model)).table).want(str.__str__(step.model.id))
            elif isinstance(step, When):
                self.want((step.step, *step.then))
            elif isinstance(step, Unless):
                self.want(step.then)

    def fetch(self) -> "Fetch":
        """Return the fetch of what is missing."""
        return Fetch([each for fetched in self._tables.values() if fetched.missing for each in fetched.requests()])

    def start_from(self, state: State) -> None:
        """Learn which sequences and change numbers are taken."""
        self._counters = state[1]
        for name, fetched in self._tables.items():
            fetched.last_sequence, fetched.last_change = self._counters.get(name, (0, 0))


class Overlays:
    """A transaction's own writes over a view."""

    def __init__(self, view: DatabaseView) -> None:
        self._view = view
        self._tables: dict[str, OverlayTable] = {}

    def table(self, table: Table[Any]) -> OverlayTable:
        """Return the rows of a table as the transaction sees them."""
        overlay = self._tables.get(table.name)
        if overlay is None:
            overlay = self._tables[table.name] = OverlayTable(self._view.table(table))
        return overlay

    def differences(self) -> list[Difference]:
        """Return what the writes change, table by table."""
        differences = []
        for overlay in self._tables.values():
            removed, put = overlay.differences()
            if removed or put:
                differences.append(Difference(overlay.table, removed, put))
        return differences

    def next_meta(self, state: State) -> dict[str, State]:
        """Return what the engine has to remember after a commit of the writes: that it was, and what it has taken."""
        commits, counters = state
        taken = {name: [overlay.last_sequence, overlay.last_change] for name, overlay in self._tables.items()}
        return {"state": (commits + 1, {**counters, **taken})}
