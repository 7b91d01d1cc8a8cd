"""Iterates over the matching rows of a table in order of arrival, in short reads."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from swarm_persistence.engines.interface import Executor
from swarm_persistence.engines.reads import Values
from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.schema.tables import SEQUENCE, Table
from swarm_persistence.schema.values import LARGEST_INTEGER
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.readable import readable_values

BATCH = 500
"""Rows per read, and so per write."""
SPAN = 20_000
"""Sequence numbers scanned per read."""
UNBOUNDED = LARGEST_INTEGER
"""The span for conditions that an index serves."""


async def batches_of_ids(
    core: StorageCore,
    table: Table[Any],
    conditions: tuple[Condition, ...],
    *,
    from_last: bool = False,
    span: int = SPAN,
) -> AsyncIterator[list[str]]:
    """Yield the ids of matching rows in batches, in order of arrival or in reverse.

    A pass by sequence needs no other index. Rows that arrive later are left out; on a busy swarm, the pass would
    otherwise never end.
    """
    end = await _nearest(core._executor(), table, LARGEST_INTEGER, from_last=True)
    place = end + 1 if from_last else 0
    while place > 0 if from_last else place < end:
        # A bounded range, so that no read takes long, however few of its rows match.
        border = max(place - span, 0) if from_last else min(place + span, end)
        low, high = (border, place - 1) if from_last else (place, border)
        within = (Condition(SEQUENCE, ">", low), Condition(SEQUENCE, "<=", high))
        query = Query(table, (*conditions, *within), (Order(SEQUENCE, from_last),), BATCH)
        rows, _ = await readable_values(core._executor(), query, (SEQUENCE, "id"))
        if rows:
            yield [row[1] for row in rows]
        if len(rows) == BATCH:
            place = rows[-1][0]
        elif from_last:
            place = await _nearest(core._executor(), table, border, from_last=True) + 1 if border else 0
            place = place if place > 1 else 0
        else:
            # Skip a range that was deleted earlier in one step.
            following = await _nearest(core._executor(), table, border, from_last=False) if border < end else 0
            place = following - 1 if following else end
        await asyncio.sleep(0)  # in memory, nothing else yields to other tasks


async def _nearest(executor: Executor, table: Table[Any], border: int, *, from_last: bool) -> int:
    """Return the sequence of the last row up to a border, or of the first one after it; 0 without one."""
    beyond = Condition(SEQUENCE, "<=" if from_last else ">", border)
    query = Query(table, (beyond,), (Order(SEQUENCE, from_last),), 1)
    rows: list[Any] = await executor.read(Values(query, (SEQUENCE,)))
    return int(rows[0][0]) if rows else 0
