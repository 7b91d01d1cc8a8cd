"""Runs the same verbs on a storage and on the reference model, and compares answers, states and copies."""

import asyncio
from collections.abc import Awaitable, Callable
from copy import deepcopy
from datetime import timedelta
from typing import Any, ClassVar

import msgspec

from swarm_persistence import PastClaim, Storage, StorageError, TaskModel
from swarm_persistence_conformance.actors import Actor, Answer, Operation
from swarm_persistence_conformance.fixtures import OpenStorage
from swarm_persistence_conformance.reference_model import ReferenceModel
from swarm_persistence_conformance.state_machines import TIMEOUT_SECONDS, LoopStateMachine
from swarm_persistence_conformance.task_choices import MOST_COPIES

_SET_BY_THE_DATABASE = ("lease_expires_at", "run_at")
_CLOCKS_DIFFER_BY = timedelta(seconds=30)
"""A server's clock keeps running; no random lease or delay ends so close to a comparison."""

Call = Callable[[Storage], Awaitable[Any]]


class ModelTest(LoopStateMachine):
    """A caller that keeps copies of tasks, stale ones included, and uses any of them."""

    open_storage: ClassVar[OpenStorage]

    def __init__(self) -> None:
        super().__init__()
        self.actor: Actor
        self.model = ReferenceModel()
        self.copies: list[TaskModel] = []
        """The tasks that were passed to the storage or returned by it; the storage keeps them up to date."""
        self.known: list[TaskModel] = []
        """What each of the copies must equal."""
        self.before: list[tuple[ReferenceModel, list[TaskModel]]] = []
        """The model and the copies as they were before each open transaction."""

    def do(self, call: Call, predict: Callable[[], Any]) -> Any:
        """Run a call on the storage, compare its outcome with the predicted one, and return its result."""
        try:
            expected, error = predict(), None
        except StorageError as failure:
            expected, error = None, type(failure).__name__
        got: list[Any] = []

        async def operation(actor: Actor) -> None:
            if error is None or not self.before:
                got.append(await call(actor.storage))
                return
            # A database error dooms the transaction around it, but not one outside of a nested transaction.
            async with actor.storage.transaction():
                got.append(await call(actor.storage))

        outcome = self.run_operation(operation)
        self.compare()
        assert outcome == (("returned", None) if error is None else ("raised", error)), (outcome, error, expected)
        if error is None:
            assert _plain(got[0]) == _plain(expected)
        return got[0] if got else None

    def use(
        self,
        place: int,
        call: Callable[[Storage, TaskModel], Awaitable[Any]],
        predict: Callable[..., TaskModel],
        *arguments: Any,
    ) -> None:
        """Run a call that takes one of the copies, and compare the copy afterwards."""
        if not self.copies:
            return
        place %= len(self.copies)
        copy, seen = self.copies[place], self.known[place]

        def expect() -> None:
            stored = predict(self.model, seen, *arguments)
            self.known[place] = stored

        self.do(lambda storage: call(storage, copy), expect)
        self.known[place] = deepcopy(self.known[place])

    def keep(self, copy: TaskModel, before: TaskModel | None = None) -> None:
        """Keep a copy, dropping the oldest if there are too many; a rollback restores its state from `before`."""
        self.copies.append(copy)
        self.known.append(deepcopy(copy))
        for _, known in self.before:
            known.append(deepcopy(copy if before is None else before))
        if len(self.copies) > MOST_COPIES:
            for each in (self.copies, self.known, *(known for _, known in self.before)):
                del each[0]

    def is_any_outcome_open(self) -> bool:
        """Return whether the outcome of a recovery depends on the order in which it handles tasks."""
        expired = self.model.expired()
        final = [task for task in expired if task.retry_count >= task.max_retries]
        doomed = [task for task in final if self.model.dependents_of(task.id)]
        return bool(doomed) and len(expired) > 1

    def compare(self) -> None:
        """Compare all stored tasks, the listing verbs' results, and the caller's copies."""

        async def read_all(actor: Actor) -> None:
            storage = actor.storage
            seen.append(await storage.repository(TaskModel).find_all())
            seen.extend((await storage.get_ready_tasks(), await storage.get_blocked_tasks()))
            seen.extend((await storage.get_pending_tasks(), await storage.get_ready_tasks(limit=2)))

        seen: list[list[TaskModel]] = []
        assert self.run_operation(read_all) == ("returned", None)
        for stored, expected in zip(seen[0], self.model.tasks.values(), strict=False):
            self._adopt_times(stored, expected)
        assert _plain(seen[0]) == _plain([*self.model.tasks.values()])
        ready, blocked, pending = self.model.ready(), self.model.blocked(), self.model.pending()
        assert [_ids(tasks) for tasks in seen[1:]] == [_ids(each) for each in (ready, blocked, pending, ready[:2])]
        assert _plain(self.copies) == _plain(self.known)

    def _adopt_times(self, stored: TaskModel, expected: TaskModel) -> None:
        """Adopt the times that a server has set by its own clock, if they are plausible."""
        if self.has_clock_of_its_own:
            for field in _SET_BY_THE_DATABASE:
                there, here = getattr(stored, field), getattr(expected, field)
                if there is not None and here is not None and abs(there - here) < _CLOCKS_DIFFER_BY:
                    setattr(expected, field, there)
            claims = expected.past_claims
            pairs = zip(stored.past_claims, claims, strict=False)
            expected.past_claims = (*(_with_times_of(*pair) for pair in pairs), *claims[len(stored.past_claims) :])

    def run_operation(self, operation: Operation) -> Answer:
        async def run() -> Answer:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self.actor.start(operation)

        return self.loop.run_until_complete(run())

    async def open_it(self) -> None:
        storage = await self.closing.enter_async_context(type(self).open_storage())
        first, second = await storage.engine.time(), await storage.engine.time()
        self.has_clock_of_its_own = first != second
        self.actor = Actor(storage)
        self.closing.push_async_callback(self.actor.stop)


def _plain(value: Any) -> Any:
    """Return a value with tasks as JSON, to be compared and printed."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.to_json() if isinstance(value, TaskModel) else value


def _ids(tasks: list[TaskModel]) -> list[str]:
    return [task.id for task in tasks]


def _with_times_of(stored: PastClaim, expected: PastClaim) -> PastClaim:
    """Return the expected claim with the times of the stored one, if they are plausible."""
    if abs(stored.ended_at - expected.ended_at) >= _CLOCKS_DIFFER_BY:
        return expected
    return msgspec.structs.replace(expected, started_at=stored.started_at, ended_at=stored.ended_at)
