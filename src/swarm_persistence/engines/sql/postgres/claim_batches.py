"""Claims the next rows, unless some upkeep is due first; compatible claims of one event loop share a statement."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from swarm_persistence.backoff import Backoff
from swarm_persistence.engines.delivery import OnAbandoned, delivered
from swarm_persistence.engines.sql.postgres.batches import Batch, Batches, refuse
from swarm_persistence.engines.sql.postgres.claim_statements import ClaimPlan
from swarm_persistence.engines.sql.postgres.comments import VERB
from swarm_persistence.engines.sql.postgres.failures import blames_a_row
from swarm_persistence.engines.sql.postgres.pending import PendingOperation, PendingOperations
from swarm_persistence.engines.sql.postgres.retry import Retrier
from swarm_persistence.engines.steps import Upkeep
from swarm_persistence.errors import StorageError

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


_MOST_ROWS = 512
"""How many rows one statement claims at most."""
_MOST_SHAPES = 100
"""How many kinds of claims are cached while none of them is in flight."""


class _Request:
    """A claim, and the callback for its results if its caller was cancelled."""

    __slots__ = ("is_reported", "on_abandoned", "plan", "verb")

    def __init__(self, plan: ClaimPlan, on_abandoned: OnAbandoned) -> None:
        self.plan = plan
        self.on_abandoned = on_abandoned
        self.verb = VERB.get()
        self.is_reported = False

    def report_abandoned(self, results: list[Any] | None) -> None:
        if not self.is_reported:
            self.is_reported = True
            self.on_abandoned(results)


class ClaimBatches:
    """The claims that are collected or in flight, grouped by what claims must have in common to share a statement."""

    def __init__(
        self,
        pending: PendingOperations,
        claims: Claims,
        under_write_lock: Callable[[PendingOperation, Callable[[], Any]], Any],
        committed: Callable[[set[str]], None],
    ) -> None:
        self._pending = pending
        self._claims = claims
        self._under_write_lock = under_write_lock
        self._committed = committed
        self._batches: dict[Hashable, Batches[_Request]] = {}

    @property
    def waiting(self) -> int:
        """Return how many are not in flight yet."""
        return sum(batches.waiting for batches in self._batches.values())

    def add(self, plan: ClaimPlan, shape: Hashable, on_abandoned: OnAbandoned) -> Awaitable[list[Any]]:
        """Make a claim of this shape; `on_abandoned` receives the results if the caller was cancelled."""
        batches = self._batches.get(shape)
        if batches is None:
            if len(self._batches) >= _MOST_SHAPES:
                self._batches = {key: each for key, each in self._batches.items() if not each.is_idle}
            batches = self._batches[shape] = Batches(self._pending, self._run, verb="claim", is_write=True)
        return delivered(batches.add(_Request(plan, on_abandoned)), on_abandoned)

    async def _run(self, operation: PendingOperation, batch: Batch[_Request]) -> None:
        """Claim, and answer each caller."""
        VERB.set(batch[0][0].verb)
        try:
            await self._under_write_lock(operation, lambda: self._claim(operation, batch))
        except StorageError as error:
            refuse(batch, error)
        except BaseException as error:
            if not isinstance(error, Exception):
                for _, caller in batch:
                    caller.cancel()
            raise
        finally:
            for request, caller in batch:
                if caller.cancelled():
                    request.report_abandoned(None)

    async def _claim(self, operation: PendingOperation, batch: Batch[_Request]) -> None:
        rest = batch
        while rest := [item for item in rest if not item[1].done()]:
            group, later = _split(rest)
            if len(group) == 1:
                await self._claim_alone(operation, *group[0])
                rest = later
            else:
                rest = [*await self._claim_together(operation, group), *later]

    async def _claim_alone(self, operation: PendingOperation, request: _Request, caller: "asyncio.Future[Any]") -> None:
        try:
            results = await self._claims.run(operation, request.plan)
        except StorageError as error:
            if not caller.done():
                caller.set_exception(error)
            return
        if any(results):
            self._committed(request.plan.tables)
        _answer(request, caller, results)

    async def _claim_together(self, operation: PendingOperation, group: Batch[_Request]) -> Batch[_Request]:
        """Claim for several callers; return the items that got nothing while others did, as there may be more rows."""
        plan = ClaimPlan.together([request.plan for request, _ in group])
        try:
            brought_up, found = await self._claims.run(operation, plan)
        except StorageError as error:
            if not blames_a_row(error):
                raise
            # One caller's fault, and the server has undone the statement.
            for request, caller in group:
                if not caller.done():
                    await self._claim_alone(operation, request, caller)
            return []
        if brought_up or found:
            self._committed(plan.tables)
        for place, records in found:
            request, caller = group[place]
            if not isinstance(records, StorageError):
                _answer(request, caller, [brought_up, records])
            elif not caller.done():
                caller.set_exception(records)
        served = {place for place, _ in found}
        rest = [item for place, item in enumerate(group) if place not in served]
        if found:
            return rest
        for request, caller in rest:
            _answer(request, caller, [brought_up, []])
        return []


def _split(items: Batch[_Request]) -> tuple[Batch[_Request], Batch[_Request]]:
    """Split off the first items, as many as one statement can claim for."""
    rows = 0
    for place, (request, _) in enumerate(items):
        rows += request.plan.most
        if rows > _MOST_ROWS:
            return items[:place], items[place:]
    return items, []


def _answer(request: _Request, caller: "asyncio.Future[Any]", results: list[Any]) -> None:
    if not caller.done():
        caller.set_result(results)
    elif caller.cancelled():
        request.report_abandoned(results)
