"""Copies all records from a source to a target, resumes an interrupted copy, and compares both at the end."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from swarm_persistence.engines.lines import StoredRecord
from swarm_persistence.errors import ConflictError
from swarm_persistence.schema.tables import PUBLIC_TABLES, TABLES, Table
from swarm_persistence.transfer.endpoints import Endpoint, digest_of

Progress = Callable[[int], object]
"""Called with the number of records processed so far."""


class Sum(msgspec.Struct, frozen=True):
    """The number and checksum of the records of one model."""

    count: int
    checksum: str
    """Over the contents of all records, independent of their order, in hexadecimal."""


class Copied(msgspec.Struct, frozen=True):
    """The result for one model."""

    kind: str
    copied: int
    """The records that were written now; the others existed already."""
    source: Sum
    target: Sum

    @property
    def is_equal(self) -> bool:
        """Return whether source and target hold the same records."""
        return self.source == self.target


async def copy(source: Endpoint, target: Endpoint, on_progress: Progress = lambda done: None) -> list[Copied]:
    """Copy every record, model by model, and return the result for each model; repeat the call to resume.

    Records keep all fields, including versions and unmet dependencies. The target assigns new sequences to events and
    messages, in the same order.

    Raises:
        ConflictError: the target holds another record of the same id.

    """
    copied = {}
    done = 0
    for table in TABLES:
        copied[table] = 0
        async for batch in source.batches(table):
            copied[table] += await _copy_batch(table, batch, target)
            done += len(batch)
            on_progress(done)
    await target.flush()
    outcomes = []
    for table in PUBLIC_TABLES:
        sums = await sum_of(source, table), await sum_of(target, table)
        outcomes.append(Copied(table.label, copied[table], *sums))
    return outcomes


async def sum_of(endpoint: Endpoint, table: Table[Any]) -> Sum:
    """Read all records of a table, count them, and add up their checksums."""
    count = total = 0
    async for batch in endpoint.batches(table):
        count += len(batch)
        # A sum does not depend on the order and, unlike XOR, detects a duplicate record.
        total += sum(int.from_bytes(digest_of(stored.record)) for stored in batch)
    return Sum(count, f"{total % 2**256:064x}")


async def _copy_batch(table: Table[Any], batch: Sequence[StoredRecord], target: Endpoint) -> int:
    known = await target.known(table, [stored.record.id for stored in batch])
    for stored in batch:
        id = stored.record.id
        if id in known and known[id] != digest_of(stored.record):
            raise ConflictError(
                f"the target holds another {table.label} {id!r} than the source; copy into an empty one, "
                "or into one that an earlier copy of this source has begun"
            )
    new = [stored for stored in batch if stored.record.id not in known]
    if new:
        await target.add(table, new)
    return len(new)
