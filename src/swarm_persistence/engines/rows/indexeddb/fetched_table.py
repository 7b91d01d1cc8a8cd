"""The fetched part of a table's committed rows, and the requests for rows that were asked for and are missing."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from swarm_persistence.engines.rows.indexeddb.keys import Span, text_keys_of
from swarm_persistence.engines.rows.indexeddb.stored_bytes import PIECES, StoredBytes
from swarm_persistence.engines.rows.indexes import keys_of
from swarm_persistence.engines.rows.planner import AccessPath, indexes_of
from swarm_persistence.engines.rows.sorted_entries import Entry
from swarm_persistence.errors import DatabaseError
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import Table

FIRST_ROWS = 16
"""Rows of an access path to fetch first if it is unknown how many are needed."""
_GROWTH = 8
_MOST_ROWS = 2**32 - 1
"""IndexedDB's highest limit."""

Request = tuple[Any, ...]
"""A request to JavaScript: its kind, the store, and its arguments."""
Receiver = Callable[[Any], None]
"""Receives the answer to one request."""


class _FetchedRange:
    """The rows of an access path that were fetched so far."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.is_complete = False


class FetchedTable:
    """The `RowSource` of a table's committed rows, below a transaction's writes. A missing row counts as absent."""

    def __init__(self, table: Table[Any]) -> None:
        self.table = table
        self.last_sequence = 0
        self.last_change = 0
        self.rows: dict[int, Row] = {}
        self.first_rows: int | None = FIRST_ROWS
        """Rows of an access path to fetch first; `None` for all."""
        self._sequences: dict[str, int | None] = {}
        self._ranges: dict[tuple[str, Span, bool], _FetchedRange] = {}
        self._counts: dict[tuple[str, Span], int] = {}
        self._bytes: dict[StoredBytes, bytes] = {}
        self._wanted_bytes: dict[StoredBytes, None] = {}
        self._wanted_ids: dict[str, None] = {}
        self._wanted_ranges: dict[tuple[str, Span, bool], int | None] = {}
        self._wanted_counts: dict[tuple[str, Span], None] = {}

    def get(self, id: str) -> Row | None:
        try:
            sequence = self._sequences[id]
        except KeyError:
            self._wanted_ids[id] = None
            return None
        return None if sequence is None else self.rows[sequence]

    def want(self, id: str) -> None:
        """Ask for a row."""
        if id not in self._sequences:
            self._wanted_ids[id] = None

    def scan(self, path: AccessPath) -> Iterator[Row]:
        if path.ids is not None:
            return iter([row for row in map(self.get, path.ids) if row is not None])
        return self._fetched_rows(path)

    def entries(self, path: AccessPath) -> Iterator[Entry]:
        """Yield the index entries on the path, as an index in memory does."""
        entry_of = keys_of(self.table, path.index).entry_of
        return (entry for row in self._fetched_rows(path) if (entry := entry_of(row)) is not None)

    def count(self, path: AccessPath) -> int:
        if path.ids is not None:
            return sum(1 for _ in self.scan(path))
        name, span = path.index.name, text_keys_of(self.table, path.index).span(path)
        fetched = self._ranges.get((name, span, path.is_backward))
        if fetched is not None and fetched.is_complete:
            return len(fetched.rows)
        try:
            return self._counts[name, span]
        except KeyError:
            self._wanted_counts[name, span] = None
            return 0

    def completed(self, rows: list[Row], places: Sequence[int]) -> list[Row]:
        return [self._completed(row, places) for row in rows] if places else rows

    def forget_bytes(self) -> None:
        """Drop the bytes that were fetched for rows: they may be megabytes each."""
        self._bytes.clear()

    def add(self, row: Row) -> None:
        raise NotImplementedError("committed rows change by a commit only")

    def change(self, before: Row, after: Row) -> None:
        raise NotImplementedError("committed rows change by a commit only")

    def remove(self, row: Row) -> None:
        raise NotImplementedError("committed rows change by a commit only")

    @property
    def is_missing(self) -> bool:
        """Tell whether something was asked for that has not been fetched."""
        return bool(self._wanted_ids or self._wanted_ranges or self._wanted_counts or self._wanted_bytes)

    def requests(self) -> list[tuple[Request, Receiver]]:
        """Return the requests for all missing rows, each with its receiver, and clear the list of them."""
        requests: list[tuple[Request, Receiver]] = []
        if self._wanted_ids:
            ids = list(self._wanted_ids)
            requests.append((("get", self.table.name, ids), partial(self._receive_rows, ids)))
        for key, amount in self._wanted_ranges.items():
            offset = len(self._ranges[key].rows) if key in self._ranges else 0
            requests.append((self._request(key, amount), partial(self._receive_range, key, amount, offset)))
        for index, span in self._wanted_counts:
            request = ("count", self.table.name, index, *span)
            requests.append((request, partial(self._counts.__setitem__, (index, span))))
        requests += [
            (("pieces", PIECES, stored.id, stored.size), partial(self._receive_bytes, stored))
            for stored in self._wanted_bytes
        ]
        self._wanted_ids, self._wanted_ranges, self._wanted_counts, self._wanted_bytes = {}, {}, {}, {}
        return requests

    def _receive_rows(self, ids: list[str], rows: list[Row | None]) -> None:
        self._sequences.update(dict.fromkeys(ids))
        self._keep(row for row in rows if row is not None)

    def _receive_range(self, key: tuple[str, Span, bool], amount: int | None, offset: int, rows: list[Row]) -> None:
        fetched = self._ranges.setdefault(key, _FetchedRange())
        # Not appended: two operations of one transaction may have asked for the same rows.
        fetched.rows[offset:] = rows
        fetched.is_complete = amount is None or len(rows) < amount
        self._keep(rows)

    def _receive_bytes(self, stored: StoredBytes, answer: list[tuple[bytes] | None]) -> None:
        if answer[0] is None:
            raise DatabaseError(
                f"a piece of the bytes of a stored {self.table.label} is missing; was the database changed by another "
                "program?"
            )
        (self._bytes[stored],) = answer[0]

    def _completed(self, row: Row, places: Sequence[int]) -> Row:
        cells: list[Any] = [*row]
        for place in places:
            stored = cells[place]
            if type(stored) is not StoredBytes:
                continue
            if stored in self._bytes:
                cells[place] = self._bytes[stored]
            else:
                self._wanted_bytes[stored] = None
        return tuple(cells)

    def _keep(self, rows: Any) -> None:
        place = self.table.positions["id"]
        for row in rows:
            self.rows[row[-1]] = row
            self._sequences[row[place]] = row[-1]

    def _fetched_rows(self, path: AccessPath) -> Iterator[Row]:
        span = text_keys_of(self.table, path.index).span(path)
        key = path.index.name, span, path.is_backward
        fetched = self._ranges.get(key)
        if fetched is None:
            self._wanted_ranges[key] = self.first_rows
            return
        yield from fetched.rows
        if not fetched.is_complete:
            self._wanted_ranges[key] = _GROWTH * len(fetched.rows)

    def _request(self, key: tuple[str, Span, bool], amount: int | None) -> Request:
        index_name, (lower, upper), is_backward = key
        fetched = self._ranges.get(key)
        if fetched is not None and fetched.rows:
            last = self._key_of(index_name, fetched.rows[-1])
            # The next key is the text's successor; backwards, any key below it.
            lower, upper = (lower, last) if is_backward else (last + "\0", upper)
        if amount is not None and amount > _MOST_ROWS:
            amount = None
        return "range", self.table.name, index_name, lower, upper, is_backward, amount

    def _key_of(self, index_name: str, row: Row) -> str:
        for index in indexes_of(self.table):
            if index.name == index_name:
                return str(text_keys_of(self.table, index).key_of(row))
        raise KeyError(index_name)
