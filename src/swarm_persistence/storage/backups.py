"""The verb that writes a backup, and the functions that store the records of one."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, islice
from operator import attrgetter
from typing import Any

from swarm_persistence.engines.interface import Progress
from swarm_persistence.engines.lines import BATCH, Header, StoredRecord
from swarm_persistence.engines.reads import Count
from swarm_persistence.engines.steps import CountOf, Delete, Reserve, Restore, Step, Update
from swarm_persistence.errors import OtherError, shown
from swarm_persistence.query.query import Query, one_of
from swarm_persistence.schema.tables import TABLES, TASK_LINKS, TASKS, UNMET_DEPENDENCIES, Table
from swarm_persistence.schema.values import text
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.storing import store_copies
from swarm_persistence.storage.transactions import TransactionBlock


class BackupVerbs(StorageCore):
    """Backups."""

    async def backup(
        self,
        path: str | os.PathLike[str],
        *,
        verify: bool = False,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Write a consistent copy of everything to a new file, without blocking writers; `restore` reads it.

        On SQLite the file is a database, checked page by page; elsewhere it is a file of JSON lines, read again to
        check it. `verify` also checks each index against its table, counts all rows and reads each of them back. The
        file is renamed into place once it is checked and synced to disk: a backup that fails, is cancelled or killed
        leaves no file. `progress` is called with the amount done and the total, in bytes on SQLite and in records
        elsewhere. SQLite's log grows while the pages are copied. Not possible within a transaction.

        Raises:
            OtherError: the file exists already, and `overwrite` is not set.
            DatabaseError: the file cannot be written, or fails its check.

        """
        self._require_no_transaction("backup")
        await self._engine.back_up(target_path(path), is_verified=verify, is_overwriting=overwrite, progress=progress)


async def restore_records(
    storage: StorageCore,
    records: Iterable[StoredRecord],
    header: Header,
    *,
    is_overwriting: bool,
    progress: Callable[[int], object],
) -> None:
    """Store the records of a backup in one transaction, and continue its sequences.

    Raises:
        OtherError: the storage holds records, and they are not to be replaced.

    """
    last = Counter(header.numbers)
    floors = header.floors or {}
    done = 0
    async with TransactionBlock(storage._begin):
        if is_overwriting:
            await storage._executor().write([Delete(Query(table)) for table in TABLES])
        elif any([await storage._executor().read(Count(Query(table))) for table in TABLES]):
            raise OtherError(f"{storage!r} holds records, and was left as it is; ask to overwrite them")
        for table, group in groupby(records, attrgetter("table")):
            while batch := [*islice(group, BATCH)]:
                await write_stored(storage, table, batch, keeps_sequences=True)
                last[table.label] = max(last[table.label], *(stored.sequence or 0 for stored in batch))
                done += len(batch)
                progress(done)
        await storage._executor().write(
            [Reserve(table, last[table.label], floors.get(table.label, 0)) for table in TABLES]
        )


async def write_stored(
    storage: StorageCore, table: Table[Any], records: Sequence[StoredRecord], *, keeps_sequences: bool
) -> None:
    """Store records with their hidden columns, if all are known; else compute those, as for new records."""
    if all(stored.hidden is not None for stored in records):
        steps: list[Step] = [Restore(table, [stored.row() for stored in records], keeps_sequences)]
        if table is TASK_LINKS:
            # Another engine may have left the counter above the number of links, and this one may decrement it.
            waiting = dict.fromkeys(stored.record.task_id for stored in records)
            counted = {UNMET_DEPENDENCIES: CountOf(TASK_LINKS, "task_id")}
            steps.append(Update(Query(TASKS, (one_of("id", [*waiting]),)), counted))
        await storage._executor().write(steps)
        return
    models = [stored.record for stored in records]
    if table.is_versioned:
        for model in models:
            model.version -= 1  # which the write increments
    await store_copies(storage, models)


def source_path(path: str | os.PathLike[str]) -> str:
    """Return the path of a file to read with symbolic links resolved, which SQLite's VFS does not follow."""
    return os.path.realpath(_name_of(path))


def target_path(path: str | os.PathLike[str]) -> str:
    """Return a path with symbolic links resolved, so that a new file replaces a link's target, not the link."""
    name = _name_of(path)
    if name == ":memory:":
        raise OtherError(
            "path is ':memory:', which ends with this call; give the path of a file, or open a MemoryStorage"
        )
    return os.path.realpath(name)


def _name_of(path: object) -> str:
    name = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(name, str) or not name:
        raise OtherError(f"path is {shown(name)}, expected the path of a file, as str or os.PathLike[str]")
    return text(name, "path")
