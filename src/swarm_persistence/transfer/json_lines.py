"""A file of JSON lines: a line that names the format, then one line for each record, in the order of their arrival."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import msgspec

from swarm_persistence.errors import OtherError, SerializationError
from swarm_persistence.models import Model
from swarm_persistence.schema.tables import PUBLIC_TABLES, table_of
from swarm_persistence.transfer.places import BATCH, digest_of

_HEAD = b'{"format":"swarm-persistence","version":1}\n'
_MODELS: dict[str, type[Model]] = {table.label: table.model for table in PUBLIC_TABLES}


class _Line(msgspec.Struct):
    kind: str
    record: msgspec.Raw


class JsonLinesPlace:
    """The records of a file; to add to it, and to read from it. What follows the last whole line is cut off."""

    def __init__(self, path: Path, *, is_new_possible: bool) -> None:
        self._path = path
        self._is_new_possible = is_new_possible
        self._counts: Counter[type[Model]] = Counter()
        self._digests: dict[tuple[type[Model], str], bytes] = {}
        self._file: BinaryIO

    async def count(self, model: type[Model]) -> int:
        """Count the records of a model."""
        return self._counts[model]

    async def batches(self, model: type[Model]) -> AsyncIterator[Sequence[Any]]:
        """Yield all records of a model, in batches."""
        batch: list[Any] = []
        for record in self._records(model):
            batch.append(record)
            if len(batch) == BATCH:
                yield batch
                batch = []
                await asyncio.sleep(0)
        if batch:
            yield batch

    async def known(self, model: type[Model], ids: Sequence[str]) -> dict[str, bytes]:
        """Return the digests of the records that are there already."""
        wanted = {id for id in ids if (model, id) in self._digests}
        return {id: self._digests[model, id] for id in wanted}

    async def add(self, records: Sequence[Any]) -> None:
        """Write new records behind the others."""
        await asyncio.to_thread(self._write, records)

    async def flush(self) -> None:
        """Bring what was added to the disk."""
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
            # Records may hold secrets: a new file is for its owner only, as that of a database is.
            self._path.touch(mode=0o600)
        self._file = self._path.open("a+b" if self._is_new_possible else "rb")
        try:
            self._look_through()
        except BaseException:
            self._file.close()
            raise

    def _look_through(self) -> None:
        self._file.seek(0)
        head = self._file.readline()
        if not head and self._is_new_possible:
            self._file.write(_HEAD)
            return
        if head != _HEAD:
            raise OtherError(f"{str(self._path)!r} is no file of this package's JSON lines; it was left as it is")
        end = self._file.tell()
        for number, line in enumerate(self._file, 2):
            if not line.endswith(b"\n"):
                break  # the last writer was stopped in the middle of it
            model, record = self._record(line, number)
            self._counts[model] += 1
            if self._is_new_possible:
                self._digests[model, record.id] = digest_of(record)
            end += len(line)
        if self._is_new_possible:
            self._file.truncate(end)

    def _records(self, wanted: type[Model]) -> Iterator[Any]:
        with self._path.open("rb") as file:
            file.readline()
            for number, line in enumerate(file, 2):
                if not line.endswith(b"\n"):
                    return
                model, record = self._record(line, number)
                if model is wanted:
                    yield record

    def _record(self, line: bytes, number: int) -> tuple[type[Model], Any]:
        place = f"{str(self._path)!r}, line {number}"
        try:
            parsed = msgspec.json.decode(line, type=_Line)
            model = _MODELS.get(parsed.kind)
            if model is None:
                raise SerializationError(f"{place}: kind is {parsed.kind!r}, expected one of {', '.join(_MODELS)}")
            return model, model.from_json(bytes(parsed.record))
        except (msgspec.DecodeError, UnicodeError) as error:
            raise SerializationError(f"{place}: {error}") from error
        except SerializationError as error:
            raise SerializationError(f"{place}: {error.message}") from error

    def _write(self, records: Sequence[Any]) -> None:
        self._file.write(b"".join(map(_line_of, records)))
        for record in records:
            self._counts[type(record)] += 1
            self._digests[type(record), record.id] = digest_of(record)

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def _line_of(record: Model) -> bytes:
    line = _Line(table_of(type(record)).label, msgspec.Raw(record.to_json().encode()))
    return msgspec.json.encode(line) + b"\n"
