"""Claims the next rows in one statement, unless some upkeep is due first."""

import asyncio
from typing import Any

from swarm_persistence.backoff import Backoff
from swarm_persistence.engines.sql.postgres.claim_statements import ClaimPlan
from swarm_persistence.engines.sql.postgres.pending import PendingOperation
from swarm_persistence.engines.sql.postgres.retry import Retrier
from swarm_persistence.engines.steps import Upkeep

_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.1
_MOST_RETRIES = 6
"""After that, a claim returns what it has: a caller's transaction may hold rows that the upkeep needs."""
_LONGEST_LEAD_SECONDS = 0.5
"""How long claims go on without upkeep after one that has left more to do."""


class Claims:
    """The claims of one event loop; of those that find the same upkeep due, one does it for all.

    An upkeep that stopped at its limit has made more rows ready than these claims take. So half as many claims as the
    limit go on without another upkeep; the limit withheld the rest from the claims before them as well.
    """

    def __init__(self, retrier: Retrier) -> None:
        self._retrier = retrier
        self._under_way: dict[Upkeep[Any], asyncio.Future[int | None]] = {}
        self._leads: dict[Upkeep[Any], tuple[int, float]] = {}
        """How many claims go on without an upkeep, and until when."""

    async def run(self, operation: PendingOperation, plan: ClaimPlan) -> list[Any]:
        """Run the upkeep, if due, and the claim; return their results."""
        if self._takes_from_lead(plan):
            (records,) = await self._retrier.write(operation, plan.claim)
            if records:
                return [0, records]
        brought_up = 0
        backoff = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        while True:
            (records,) = await self._retrier.write(operation, plan.unless_due)
            if records is not None:
                return [brought_up, records]
            count = await self._bring_up_to_date(operation, plan)
            if count is not None:
                brought_up += count
                (records,) = await self._retrier.write(operation, plan.claim)
                if records:
                    return [brought_up, records]
                if count == plan.kind.query.limit:
                    continue  # there may be more
                if backoff.retries == _MOST_RETRIES:
                    return [brought_up, records]
                # Another process is about to bring up to date what is due; or a caller's transaction has, and takes
                # its time.
                await asyncio.sleep(backoff.next())

    def _takes_from_lead(self, plan: ClaimPlan) -> bool:
        rows, end = self._leads.get(plan.kind, (0, 0.0))
        if rows >= plan.most and asyncio.get_running_loop().time() < end:
            self._leads[plan.kind] = rows - plan.most, end
            return True
        return False

    async def _bring_up_to_date(self, operation: PendingOperation, plan: ClaimPlan) -> int | None:
        """Return how many rows the upkeep changed, by this claim or a concurrent equal one; `None` if it failed."""
        under_way = self._under_way.get(plan.kind)
        if under_way is not None:
            return await asyncio.shield(under_way)
        done = self._under_way[plan.kind] = asyncio.get_running_loop().create_future()
        try:
            (count,) = await self._retrier.write(operation, plan.upkeep)
            done.set_result(count)
            if count == plan.kind.query.limit:
                end = asyncio.get_running_loop().time() + _LONGEST_LEAD_SECONDS
                self._leads[plan.kind] = count // 2, end
            return int(count)
        finally:
            del self._under_way[plan.kind]
            if not done.done():
                done.set_result(None)
