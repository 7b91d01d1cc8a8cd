"""The verb of a worker's cycle: completes tasks and claims the next ones in one write."""

import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from swarm_persistence.clock import from_microseconds, microseconds
from swarm_persistence.engines.prepared import BoundSteps
from swarm_persistence.engines.steps import IndependentWrites
from swarm_persistence.errors import InvalidQueryError, UnreadableError, shown
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.query.builder import bound
from swarm_persistence.schema.values import decode_json, json_text
from swarm_persistence.storage.arguments import several
from swarm_persistence.storage.claim_requests import LEASE_SECONDS, MOST_MARKED, checked_request, claiming_ready
from swarm_persistence.storage.held_claims import claim_key
from swarm_persistence.storage.leases import LeaseVerbs, brief_completion

_PAIRS = "a list of pairs of a TaskModel and its result"


class CompletedAndClaimed(msgspec.Struct, frozen=True):
    """The result of `complete_and_claim`."""

    claimed: list[TaskModel]
    """The next tasks, in order."""
    lost: list[TaskModel]
    """The given copies whose claims were over; nothing was written for them."""


class CompletionVerbs(LeaseVerbs):
    """Completes and claims in one write."""

    async def complete_and_claim(
        self,
        completions: Iterable[tuple[TaskModel, Any]],
        agent_id: str,
        *,
        limit: int,
        task_types: Iterable[str] | None = None,
        capabilities: Iterable[str] | None = None,
        lease: float | timedelta = LEASE_SECONDS,
        is_running: bool = False,
        ageing: float | timedelta | None = None,
    ) -> CompletedAndClaimed:
        """Complete tasks, each with its result, and claim up to `limit` next ready tasks, in one write.

        Each task is completed as by `complete_task`, except that one whose claim is over does not affect the others: it
        is returned as lost. Tasks are claimed as by `claim_next_tasks`, and may be dependents of those that this call
        completes. On SQLite, all of it is one commit, unless limits, required capabilities or `ageing` choose the
        tasks: then the claims have a commit of their own. An engine may commit the completions separately from the
        claims, so if this raises a `DatabaseError`, any of the completions may be stored. A claim may be stored only if
        it is an `OutcomeUnknownError`; its task is then `assigned_to` the agent until the lease expires. If the call is
        repeated with the same copies, the tasks that the first call completed are returned as lost, and stay as they
        are: `get_task` tells whether this claim has completed them.

        In the copies, only what a completion changes is set. A copy that was older than its stored task still is: its
        `version` is below the stored one.

        Raises:
            InvalidQueryError: an argument is invalid; nothing was written.
            SerializationError: a result is not JSON; nothing was written. Or the only ready task cannot be read; the
                completions are stored.

        """
        pairs = _checked(completions)
        most = bound("limit", limit)
        request = checked_request(
            agent_id, task_types, capabilities, limit=most, lease=lease, ageing=ageing, is_running=is_running
        )
        held = [(task, result) for task, result in pairs if task.assigned_to is not None]
        if not held:
            return CompletedAndClaimed(await self._claim_ready(request), [task for task, _ in pairs])

        started_at = time.time_ns()
        writes = IndependentWrites(
            tuple([BoundSteps(brief_completion, *claim_key(task), result) for task, result in held])
        )
        if not request.limit or self._is_choosing or request.ageing is not None:
            (outcomes,) = await self._executor().write((writes,))
            lost = self._show_completed(pairs, held, outcomes, started_at)
            return CompletedAndClaimed(await self._claim_ready(request), lost)
        claim = BoundSteps(
            claiming_ready(request.types, request.limit, request.is_running), request.agent_id, request.lease
        )
        try:
            outcomes, marked, claimed = await self._write_claim([writes, *claim])
        except UnreadableError:
            outcomes = await self._complete_after_failure(writes, [task for task, _ in held])
            marked, claimed = MOST_MARKED, []
        lost = self._show_completed(pairs, held, outcomes, started_at)
        if not claimed and (marked == MOST_MARKED or await self._must_choose()):
            claimed = await self._claim_ready(request)
        return CompletedAndClaimed(claimed, lost)

    async def _complete_after_failure(self, writes: IndependentWrites, tasks: Sequence[TaskModel]) -> list[Any]:
        """Complete tasks without a claim; the failed write may have completed them."""
        outcomes: list[Any]
        (outcomes,) = await self._executor().write((writes,))
        for place, task in enumerate(tasks):
            if not outcomes[place][0] and (stored := await self.get_task(task.id)) is not None:
                is_same = (stored.assigned_to, stored.claim_count) == (task.assigned_to, task.claim_count)
                if is_same and stored.completed_at is not None and stored.status is TaskStatus.COMPLETED:
                    times = microseconds(stored.completed_at), microseconds(stored.updated_at)
                    outcomes[place] = [[(stored.version, *times)]]
        return outcomes

    def _show_completed(
        self,
        pairs: Sequence[tuple[TaskModel, Any]],
        held: Sequence[tuple[TaskModel, Any]],
        outcomes: Sequence[Any],
        started_at: int,
    ) -> list[TaskModel]:
        """Update the copies of the tasks that were completed, and return the others."""
        lost = [task for task, _ in pairs if task.assigned_to is None]
        completed: list[TaskModel] = []
        for (task, result), (found,) in zip(held, outcomes, strict=True):
            if found:
                self._show_completion(task, result, *found[0])
                completed.append(task)
            else:
                lost.append(task)
        if completed and self.instrumentation is not None:
            self.instrumentation.completed(completed, started_at)
        return lost

    def _show_completion(
        self, task: TaskModel, result: str | None, version: int, completed_at: int, updated_at: int
    ) -> None:
        """Set the fields that a completion has changed; a copy that was older than the stored task stays so."""
        self._set_fields(
            task,
            status=TaskStatus.COMPLETED,
            result=None if result is None else decode_json(result),
            error=None,
            lease_expires_at=None,
            completed_at=from_microseconds(completed_at),
            updated_at=from_microseconds(updated_at),
            version=version if task.version + 1 == version else task.version,
        )


def _checked(completions: Iterable[tuple[TaskModel, Any]]) -> list[tuple[TaskModel, str | None]]:
    """Return the copies with the texts of their results."""
    pairs: list[tuple[TaskModel, str | None]] = []
    for place, pair in enumerate(several(completions, "completions", _PAIRS)):
        if not isinstance(pair, tuple | list) or len(pair) != 2 or type(pair[0]) is not TaskModel:
            raise InvalidQueryError(f"completions[{place}] is {shown(pair)}, expected a TaskModel and its result")
        task, result = pair
        pairs.append((task, None if result is None else json_text(result, f"completions[{place}]: task.result")))
    return pairs
