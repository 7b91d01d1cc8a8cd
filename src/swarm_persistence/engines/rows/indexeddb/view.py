"""The committed rows of all tables, as far as one transaction has fetched them."""

from collections.abc import Iterable, Sequence
from typing import Any

from swarm_persistence.engines.rows.indexeddb import messages
from swarm_persistence.engines.rows.indexeddb.fetched_table import FetchedTable, Receiver, Request
from swarm_persistence.engines.steps import (
    DeleteFirst,
    IfChanged,
    IfNone,
    IndependentWrites,
    Insert,
    Replace,
    Save,
    Step,
)
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import Table


class Fetch:
    """Some requests, and the functions that receive the answers."""

    def __init__(self, requests: Sequence[tuple[Request, Receiver]]) -> None:
        self.requests = [request for request, _ in requests]
        self._receivers = [receiver for _, receiver in requests]

    def receive(self, answers: Sequence[Any]) -> None:
        """Take the answers, in the order of the requests."""
        for receive, answer in zip(self._receivers, answers, strict=True):
            receive(answer)


class DatabaseView:
    """The fetched rows of every table, and the state of the database, if it is wanted."""

    def __init__(self) -> None:
        self.state: messages.State | None = None
        self._is_state_wanted = False
        self._tables: dict[str, FetchedTable] = {}

    def table(self, table: Table[Any]) -> FetchedTable:
        """Return the rows of a table."""
        fetched = self._tables.get(table.name)
        if fetched is None:
            fetched = self._tables[table.name] = FetchedTable(table)
            if self.state is not None:
                self._set_counters(table.name, self.state)
        return fetched

    @property
    def is_missing(self) -> bool:
        """Tell whether something was asked for that has not been fetched."""
        is_state_missing = self._is_state_wanted and self.state is None
        return is_state_missing or any(fetched.is_missing for fetched in self._tables.values())

    def forget_bytes(self) -> None:
        """Drop the bytes that were fetched for rows; they are fetched again if a row needs them."""
        for fetched in self._tables.values():
            fetched.forget_bytes()

    def want_state(self) -> None:
        """Ask for the state, which holds the last sequence and change number of each table."""
        self._is_state_wanted = True

    def want(self, steps: Iterable[Step]) -> None:
        """Ask for the rows that steps name by id."""
        for step in steps:
            if isinstance(step, Insert | Save | Replace):
                self.table(codec_of(type(step.model)).table).want(str.__str__(step.model.id))
            elif isinstance(step, DeleteFirst):
                self.table(step.query.table).first_rows = step.query.limit
            elif isinstance(step, IfChanged):
                self.want((step.step, *step.then))
            elif isinstance(step, IfNone):
                self.want(step.then)
            elif isinstance(step, IndependentWrites):
                for write in step.writes:
                    self.want(write)

    def fetch(self) -> Fetch:
        """Return the fetch of the missing rows."""
        requests = [each for fetched in self._tables.values() if fetched.is_missing for each in fetched.requests()]
        if self._is_state_wanted and self.state is None:
            requests.append((messages.FETCH_STATE, self._receive_state))
        return Fetch(requests)

    def _receive_state(self, answer: Any) -> None:
        self.state = messages.state_of(answer)
        for name in self._tables:
            self._set_counters(name, self.state)

    def _set_counters(self, name: str, state: messages.State) -> None:
        fetched = self._tables[name]
        fetched.last_sequence, fetched.last_change = state[1].get(name, (0, 0))
