"""A file of JSON lines as the source or target of a copy; a target is appended to."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from swarm_persistence.engines.lines import (
    BATCH,
    Header,
    StoredRecord,
    header_line,
    read_header,
    read_line,
    read_lines,
)
from swarm_persistence.errors import OtherError
from swarm_persistence.schema.tables import Table
from swarm_persistence.transfer.endpoints import digest_of


class JsonLinesEndpoint:
    """The records of a file, to read and to append. An incomplete last line is truncated."""

    def __init__(self, path: Path, *, is_new_possible: bool) -> None:
        self._path = path
        self._is_new_possible = is_new_possible
        self._counts: Counter[str] = Counter()
        self._digests: dict[tuple[str, str], bytes] = {}
        self._file: BinaryIO

    async def count(self, table: Table[Any]) -> int:
        """Count the records of a table."""
        return self._counts[table.name]

    async def batches(self, table: Table[Any]) -> AsyncIterator[Sequence[StoredRecord]]:
        """Yield all records of a table, in batches."""
        batch: list[StoredRecord] = []
        for stored in self._records(table):
            batch.append(stored)
            if len(batch) == BATCH:
                yield batch
                batch = []
                await asyncio.sleep(0)
        if batch:
            yield batch

    async def known(self, table: Table[Any], ids: Sequence[str]) -> Mapping[str, bytes]:
        """Return the digests of the records that exist already."""
        wanted = {id for id in ids if (table.name, id) in self._digests}
        return {id: self._digests[table.name, id] for id in wanted}

    async def add(self, table: Table[Any], records: Sequence[StoredRecord]) -> None:
        """Append new records."""
        await asyncio.to_thread(self._write, table, records)

    async def flush(self) -> None:
        """Flush the added records to the disk."""
        await asyncio.to_thread(self._flush)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def _open(self) -> None:
        if not self._is_new_possible and not self._path.exists():
            raise OtherError(f"there is no file {str(self._path)!r}")
        if self._is_new_possible:
            # Records may contain secrets: as with a database, only the owner may read a new file.
            self._path.touch(mode=0o600)
        self._file = self._path.open("a+b" if self._is_new_possible else "rb")
        try:
            self._look_through()
        except BaseException:
            self._file.close()
            raise

    def _look_through(self) -> None:
        if self._is_new_possible and not self._path.stat().st_size:
            self._file.write(header_line(Header()))
            return
        self._file.seek(0)
        header = read_header(self._file, str(self._path))
        if header.counts is not None and self._is_new_possible:
            raise OtherError(f"{str(self._path)!r} is a backup, which takes no more records; name another file")
        end = self._file.tell()
        for number, line in enumerate(self._file, 2):
            if not line.endswith(b"\n"):
                break  # the last writer was interrupted here
            self._count([read_line(line, number, str(self._path))])
            end += len(line)
        if self._is_new_possible:
            self._file.truncate(end)

    def _records(self, wanted: Table[Any]) -> Iterator[StoredRecord]:
        path = str(self._path)
        return (stored for stored in read_lines(path, path) if stored.table is wanted)

    def _write(self, table: Table[Any], records: Sequence[StoredRecord]) -> None:
        self._file.write(b"".join([stored.line() for stored in records]))
        self._count(records)

    def _count(self, records: Sequence[StoredRecord]) -> None:
        for stored in records:
            self._counts[stored.table.name] += 1
            if self._is_new_possible:
                self._digests[stored.table.name, stored.record.id] = digest_of(stored.record)

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
