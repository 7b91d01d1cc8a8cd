"""Copies all records from one place to another, goes on where it was stopped before, and compares both at the end."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from swarm_persistence.errors import ConflictError
from swarm_persistence.models import Model
from swarm_persistence.schema.tables import table_of
from swarm_persistence.transfer.places import MODELS, Place, digest_of

Progress = Callable[[int], object]
"""Is told how many records were dealt with so far."""


class Sum(msgspec.Struct, frozen=True):
    """What a place holds of one model."""

    count: int
    checksum: str
    """Of all records' contents, in any order, as hexadecimal digits."""


class Copied(msgspec.Struct, frozen=True):
    """What became of one model's records."""

    kind: str
    copied: int
    """Records that were written now; the others were there already."""
    source: Sum
    target: Sum

    @property
    def is_equal(self) -> bool:
        """Tell whether both places hold the same."""
        return self.source == self.target


async def copy(source: Place, target: Place, on_progress: Progress = lambda done: None) -> list[Copied]:
    """Copy every record, model by model, and return what became of each model; the same call again goes on.

    Records keep all their fields, versions included. What the target numbers itself, the places of events and messages
    in the order of their arrival, keeps its order. Nobody should write to the source meanwhile.

    Raises:
        ConflictError: the target holds another record of the same id.

    """
    copied = {}
    done = 0
    for model in MODELS:
        copied[model] = 0
        async for batch in source.batches(model):
            copied[model] += await _copy_batch(model, batch, target)
            done += len(batch)
            on_progress(done)
    await target.flush()
    outcomes = []
    for model in MODELS:
        sums = await sum_of(source, model), await sum_of(target, model)
        outcomes.append(Copied(table_of(model).label, copied[model], *sums))
    return outcomes


async def sum_of(place: Place, model: type[Model]) -> Sum:
    """Read all records of a model, count them, and add up their checksums."""
    count = total = 0
    async for batch in place.batches(model):
        count += len(batch)
        # A sum does not depend on the order, and, other than an exclusive or, sees a record that is there twice.
        total += sum(int.from_bytes(digest_of(record)) for record in batch)
    return Sum(count, f"{total % 2**256:064x}")


async def _copy_batch(model: type[Model], batch: Sequence[Any], target: Place) -> int:
    known = await target.known(model, [record.id for record in batch])
    for record in batch:
        if record.id in known and known[record.id] != digest_of(record):
            label = table_of(model).label
            raise ConflictError(
                f"the target holds another {label} {record.id!r} than the source; copy into an empty one, "
                "or into one that an earlier copy of this source has begun"
            )
    new = [record for record in batch if record.id not in known]
    if new:
        await target.add(new)
    return len(new)
