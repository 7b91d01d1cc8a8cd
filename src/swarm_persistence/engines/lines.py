"""The JSON lines format: a header line, then one line for each row, table by table in order of arrival.

A line holds the public form of the record, and what no record shows: its sequence and hidden columns.
"""

import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, BinaryIO, Protocol

import msgspec

from swarm_persistence.engines.interface import Progress, Reader, Snapshot
from swarm_persistence.engines.partial_files import partial_file, require_no_file, require_target
from swarm_persistence.engines.reads import Count, LastSequence, Values
from swarm_persistence.engines.stepping import run_beside
from swarm_persistence.errors import DatabaseError, OtherError, SerializationError
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.codec import Row, codec_of
from swarm_persistence.schema.tables import CHANGE_NUMBER, SEQUENCE, TABLES, Table

FORMAT = "swarm-persistence"
_LATEST = 2
BATCH = 500
"""Rows in one read, and in one write."""
_TABLES: Mapping[str, Table[Any]] = {table.label: table for table in TABLES}


class Header(msgspec.Struct, omit_defaults=True):
    """The first line. Version 1 has only the first two fields, and lines with only the record."""

    format: str = FORMAT
    version: int = _LATEST
    counts: dict[str, int] | None = None
    """The number of lines of each table; `None` if the file may grow."""
    numbers: dict[str, int] | None = None
    """The highest sequence number that each table had assigned."""
    floors: dict[str, int] | None = None
    """The highest sequence that a row of each table with a floor had."""


class Line(msgspec.Struct, omit_defaults=True):
    """A line of one record."""

    kind: str
    record: msgspec.Raw
    sequence: int | None = None
    hidden: dict[str, int] | None = None


class StoredRecord(msgspec.Struct, frozen=True):
    """A record, with the sequence and hidden columns of its row."""

    table: Table[Any]
    record: Any
    sequence: int | None
    hidden: dict[str, int] | None
    """`None` if unknown."""

    @classmethod
    def of(cls, table: Table[Any], row: Row) -> "StoredRecord":
        """Return the stored record of a row."""
        hidden: Any = {
            column.name: row[table.positions[column.name]] for column in table.hidden if column.name != CHANGE_NUMBER
        }
        sequence: Any = row[-1]
        record = codec_of(table.model).decode(row)
        return cls(table, record, sequence, {name: int(value) for name, value in hidden.items()})

    def row(self) -> Row:
        """Return its row; unknown values are 0."""
        hidden = self.hidden or {}
        values: list[Any] = [*codec_of(self.table.model).encode(self.record)]
        if self.table.is_versioned:
            values[self.table.positions["version"]] -= 1  # encoding would have raised, as for a write
        return (*values, *(hidden.get(column.name, 0) for column in self.table.hidden), self.sequence or 0)

    def line(self) -> bytes:
        """Return its line."""
        record = msgspec.Raw(self.record.to_json().encode())
        return msgspec.json.encode(Line(self.table.label, record, self.sequence, self.hidden)) + b"\n"


def header_line(header: Header) -> bytes:
    """Return the text of a header."""
    return msgspec.json.encode(header, order="deterministic") + b"\n"


def read_header(file: BinaryIO, name: str) -> Header:
    """Read the header; raise `OtherError` if the file has another format or a newer version."""
    try:
        header = msgspec.json.decode(file.readline(), type=Header)
    except (msgspec.DecodeError, UnicodeError):
        header = Header(format="")
    if header.format != FORMAT:
        raise OtherError(f"{name!r} is not a JSON lines file of this package; it was left as it is")
    if not 1 <= header.version <= _LATEST:
        raise OtherError(
            f"{name!r} has version {header.version} of this package's JSON lines, and this code knows {_LATEST} at "
            "most; upgrade swarm-persistence"
        )
    return header


def read_line(line: bytes, number: int, name: str) -> StoredRecord:
    """Parse a line; raise `SerializationError`, which names file and line, if that fails."""
    place = f"{name!r}, line {number}"
    try:
        parsed = msgspec.json.decode(line, type=Line)
        table = _TABLES.get(parsed.kind)
        if table is None:
            raise SerializationError(f"{place}: kind is {parsed.kind!r}, expected one of {', '.join(_TABLES)}")
        record = table.model.from_json(bytes(parsed.record))
    except (msgspec.DecodeError, UnicodeError) as error:
        raise SerializationError(f"{place}: {error}") from error
    except SerializationError as error:
        raise SerializationError(f"{place}: {error.message}") from error
    return StoredRecord(table, record, parsed.sequence, parsed.hidden)


def read_lines(path: str, name: str) -> Iterator[StoredRecord]:
    """Yield the records of a file, up to the last complete line."""
    with open(path, "rb") as file:
        file.readline()
        for number, line in enumerate(file, 2):
            if not line.endswith(b"\n"):
                return
            yield read_line(line, number, name)


async def batches_of(reader: Reader, table: Table[Any]) -> AsyncIterator[Sequence[StoredRecord]]:
    """Yield all rows of a table in the order of their arrival."""
    last: Any = 0
    while True:
        page = Query(table, (Condition(SEQUENCE, ">", last),), limit=BATCH)
        rows = await reader.read(Values(page, (*table.stored_names, SEQUENCE)))
        if rows:
            yield [StoredRecord.of(table, row) for row in rows]
            last = rows[-1][-1]
        if len(rows) < BATCH:
            return


class Snapshotting(Protocol):
    """What gives snapshots of itself."""

    def snapshot(self) -> Awaitable[Snapshot]:
        """Return a snapshot."""
        ...


class LineBackupEngine:
    """An engine whose backups are files of lines."""

    async def back_up(
        self: Snapshotting, target: str, *, is_verified: bool, is_overwriting: bool, progress: Progress | None
    ) -> None:
        """Write all rows of a snapshot to a new file, and read it once more: implements `Engine.back_up`."""
        snapshot = await self.snapshot()
        try:
            _require_free(target, is_overwriting)
            with partial_file(target) as file:
                counts = {table.label: await snapshot.read(Count(Query(table))) for table in TABLES}
                numbers = {table.label: (await snapshot.numbers())[table.name] for table in TABLES}
                floors = {
                    table.label: await snapshot.read(LastSequence(table)) for table in TABLES if table.floor is not None
                }
                header = Header(counts=counts, numbers=numbers, floors=floors)
                total, done = sum(counts.values()), 0
                await run_beside(partial(file.write, header_line(header)))
                for table in TABLES:
                    async for records in batches_of(snapshot, table):
                        text = b"".join([record.line() for record in records])
                        await run_beside(partial(file.write, text))
                        done += len(records)
                        if progress is not None:
                            progress(done, total)
                await run_beside(file.close)
                await run_beside(partial(check_lines, file.path, target, is_thorough=is_verified))
                await run_beside(file.replace if is_overwriting else file.publish)
        finally:
            await snapshot.close()


def check_lines(path: str, name: str, *, is_thorough: bool) -> Header:
    """Check that a file has the lines that its header counts and, if `is_thorough`, parse each line.

    Raises:
        OtherError: the file has another format.
        DatabaseError: lines are missing.
        SerializationError: a line cannot be read.

    """
    found: Counter[str] = Counter()
    with open(path, "rb") as file:
        header = read_header(file, name)
        for number, line in enumerate(file, 2):
            if not line.endswith(b"\n"):
                raise DatabaseError(f"{name!r} is incomplete: its last line is truncated")
            stored = read_line(line, number, name) if is_thorough else None
            found[stored.table.label if stored else msgspec.json.decode(line, type=Line).kind] += 1
    expected = Counter(found if header.counts is None else header.counts)
    if +found != +expected:
        raise DatabaseError(f"{name!r} is incomplete: it should hold {dict(expected)} records, and holds {dict(found)}")
    return header


def _require_free(target: str, is_overwriting: bool) -> None:
    require_target(target)
    if not is_overwriting:
        require_no_file(target)
    elif any(os.path.lexists(f"{target}{suffix}") for suffix in ("-wal", "-journal")):
        raise OtherError(f"{target!r} is a database that is open, and was left as it is; name another file")
