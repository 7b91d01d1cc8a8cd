"""The verbs for decisions by people: tasks of a type that no worker handles, which others depend on."""

from collections.abc import Awaitable, Callable

from swarm_persistence.engines.reads import Count
from swarm_persistence.engines.steps import Claim
from swarm_persistence.errors import ConflictError
from swarm_persistence.models import TaskModel
from swarm_persistence.query.query import Query
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.schema.values import identifier, text
from swarm_persistence.storage.claim_requests import claimed_by
from swarm_persistence.storage.core import by_id
from swarm_persistence.storage.leases import LeaseVerbs
from swarm_persistence.storage.tasks import IS_MET, IS_PENDING


class ApprovalVerbs(LeaseVerbs):
    """Decisions on pending tasks, each in one transaction."""

    async def approve_task(self, id: str, by: str, comment: str | None = None) -> TaskModel:
        """Complete a pending task that waits for a decision, and return it; its dependents no longer wait for it.

        Its result is `{"approved": True, "by": by, "comment": comment}`, and it is assigned to `by`. If there are
        several decisions, only the first one counts.

        Raises:
            NotFoundError: no task has this id.
            ConflictError: the task is not pending, or waits for its own dependencies.

        """

        async def complete(task: TaskModel, by: str, comment: str | None) -> None:
            await self.complete_task(task, {"approved": True, "by": by, "comment": comment})

        return await self._decide(id, by, comment, complete)

    async def reject_task(self, id: str, by: str, comment: str | None = None) -> TaskModel:
        """Fail a pending task that waits for a decision, and return it; its error names the person and the reason.

        Its dependents fail, too, unless their `fails_with_dependencies` is false.

        Raises:
            NotFoundError: no task has this id.
            ConflictError: the task is not pending, or waits for its own dependencies.

        """

        async def fail(task: TaskModel, by: str, comment: str | None) -> None:
            await self.fail_task(task, f"rejected by {by}" + (f": {comment}" if comment else ""), max_retries=0)

        return await self._decide(id, by, comment, fail)

    async def _decide(
        self, id: str, by: str, comment: str | None, end: Callable[[TaskModel, str, str | None], Awaitable[None]]
    ) -> TaskModel:
        decider = identifier(by, "by")
        remark = None if comment is None else text(comment, "comment")

        async def decide() -> TaskModel:
            query = by_id(TASKS, id)
            # A limit of its type does not matter: a decision is not work that runs.
            pending = Query(TASKS, (*query.conditions, IS_PENDING), limit=1)
            claimed = await self._claim_in_transaction([Claim(pending, claimed_by(decider, None))])
            if not claimed:
                stored = await self._existing(TASKS, id)
                raise ConflictError(f"task {id!r} is {stored.status}; only a pending task can be approved or rejected")
            (task,) = claimed
            if not await self._executor().read(Count(Query(TASKS, (*query.conditions, IS_MET)))):
                raise ConflictError(f"task {id!r} waits for its dependencies; approve or reject it after them")
            await end(task, decider, remark)
            return task

        return await self._as_one(decide)
