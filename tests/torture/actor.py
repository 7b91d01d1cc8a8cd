"""An actor: writes to a storage with every verb, on records of its own, and keeps a history of what it was told."""

import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from swarm_persistence import (
    AgentModel,
    EventModel,
    MessageModel,
    MetricModel,
    Model,
    Storage,
    TaskModel,
    TaskStatus,
)
from torture.caller import Caller, discard
from torture.history import Expected, Key, RecordedWrite, absent, exactly, nearly, new

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
_OLD = datetime(2021, 1, 1, tzinfo=UTC)
_CLAIMED = ("lease_expires_at", "started_at", "updated_at", "claim_count")
_ENDED = ("completed_at", "updated_at", "lease_expires_at")


class _ChangeOfMindError(Exception):
    """Rolls a transaction back."""


class Actor(Caller):
    """Does one write after the other. What may or may not be stored after an error, it leaves alone from then on."""

    def __init__(
        self,
        name: str,
        storage: Storage,
        rng: random.Random,
        is_over: Callable[[], bool],
        *,
        prunes: bool = False,
        tell: Callable[[int, RecordedWrite], None] = discard,
    ) -> None:
        super().__init__(name, rng, is_over, tell)
        self._storage = storage
        self._verbs: list[Callable[[], Awaitable[None]]] = [
            self.store_task,
            self.store_tasks,
            self.store_many,
            self.store_history,
            self.append_events,
            self.claim,
            self.claim,
            self.finish,
            self.finish,
            self.cancel,
            self.update_task,
            self.delete_task,
            self.tell_agent,
            self.mark_message,
            self.transact,
            self.transact,
        ]
        if prunes:  # which takes what is old of all actors
            self._verbs.append(self.prune)

    async def run(self, writes: int) -> None:
        """Do so many writes, or fewer if it is over before: then no caller is left to be told anything."""
        for _ in range(writes):
            if self._is_over():
                return
            await self._rng.choice(self._verbs)()

    async def store_task(self) -> None:
        """Store one task by one of the ways that there are."""
        task = self._fresh.task()
        way = self._rng.choice((self._storage.store_task, self._storage.repository(TaskModel).save))
        if await self._do("store a task", [new(task)], lambda: way(task), lambda: exactly(task)):
            self._pending[task.id] = task

    async def store_tasks(self) -> None:
        """Store tasks that depend on each other."""
        tasks: list[TaskModel] = []
        for _ in range(self._rng.randint(2, 6)):
            needed = self._rng.sample(tasks, k=self._rng.randint(0, min(2, len(tasks))))
            tasks.append(self._fresh.task(dependencies=[each.id for each in needed]))
        after = _all(new(task) for task in tasks)
        given = self._rng.sample(tasks, k=len(tasks))
        if await self._do("store_tasks", [after], lambda: self._storage.store_tasks(given), lambda: exactly(*tasks)):
            self._pending |= {task.id: task for task in tasks}

    async def store_many(self) -> None:
        """Store records of any models at once."""
        records: list[Model] = [self._fresh.any_record() for _ in range(self._rng.randint(2, 12))]
        after = _all(new(record) for record in records)
        if await self._do("store_many", [after], lambda: self._storage.store_many(records), lambda: exactly(*records)):
            self._keep(records)

    async def store_history(self) -> None:
        """Store an event, a message or a metric."""
        record = self._rng.choice((self._fresh.event, self._fresh.message, self._fresh.metric))()
        if await self._do("store", [new(record)], lambda: _store(self._storage, record), lambda: exactly(record)):
            self._keep([record])

    async def append_events(self) -> None:
        """Append events as one."""
        events = [self._fresh.event() for _ in range(self._rng.randint(1, 5))]
        after = _all(new(event) for event in events)
        await self._do("append_events", [after], lambda: self._storage.append_events(events), lambda: exactly(*events))

    async def claim(self) -> None:
        """Claim the next task, or one by its id."""
        if self._pending and self._rng.random() < 0.3:
            await self._claim_by_id(self._rng.choice(list(self._pending.values())))
            return
        outcomes = [self._claimed(task) for task in self._ready()]
        claimed: list[TaskModel] = []

        async def claim() -> None:
            task = await self._storage.claim_next_task(self._name, task_types=[self._fresh.task_type], lease=3600)
            if task is not None:
                claimed.append(task)

        if await self._do("claim_next_task", outcomes, claim, lambda: exactly(*claimed)) and claimed:
            self._held[claimed[0].id] = claimed[0]
            self._pending.pop(claimed[0].id)

    async def _claim_by_id(self, task: TaskModel) -> None:
        async def claim() -> None:
            assert await self._storage.claim_task(task.id, self._name)

        after = self._claimed(task)
        if await self._do("claim_task", [after], claim, lambda: after):
            # Its times are the database's: so it is done with here.
            self._pending.pop(task.id)

    async def finish(self) -> None:
        """Complete, fail or release a task that is held."""
        if not self._held:
            return
        task = self._rng.choice(list(self._held.values()))
        kind = self._rng.choice(("complete", "complete", "fail", "release", "extend"))
        if kind == "complete":
            result = self._rng.randint(1, 1000)
            after = nearly(task, *_ENDED, status=TaskStatus.COMPLETED, result=result, error=None,
                           version=task.version + 1)  # fmt: skip
            complete = self._storage.complete_task
            done = await self._do("complete_task", [after], lambda: complete(task, result), lambda: exactly(task))
            if done:
                self._held.pop(task.id)
        elif kind == "fail":
            await self._fail(task)
        elif kind == "release":
            after = nearly(task, "assigned_to", "lease_expires_at", "started_at", "updated_at", "claim_count",
                           "past_claims", status=TaskStatus.PENDING, version=task.version + 1)  # fmt: skip
            if await self._do("release_task", [after], lambda: self._storage.release_task(task), lambda: exactly(task)):
                self._pending[task.id] = self._held.pop(task.id)
        else:
            after = nearly(task, "lease_expires_at", "updated_at", version=task.version + 1)
            await self._do("extend_lease", [after], lambda: self._storage.extend_lease(task), lambda: exactly(task))

    async def _fail(self, task: TaskModel) -> None:
        is_final = task.retry_count >= task.max_retries
        status = TaskStatus.FAILED if is_final else TaskStatus.PENDING
        after = nearly(task, *_ENDED, "assigned_to", "started_at", "run_at", "retry_count", "claim_count",
                       "past_claims", status=status, error="broken", version=task.version + 1)  # fmt: skip
        lost = self._dependents_of(task.id) if is_final else {}
        if lost.keys() & self._left_alone.keys():
            return
        whole = {**after, **_all(_failed(each) for each in lost.values())}
        done = await self._do(
            "fail_task",
            [whole],
            lambda: self._storage.fail_task(task, "broken", retry_in=0),
            lambda: {**exactly(task), **_all(_failed(each) for each in lost.values())},
        )
        if done:
            self._held.pop(task.id)
            self._forget(lost)
            if not is_final:
                self._pending[task.id] = task

    async def cancel(self) -> None:
        """Cancel a task, which fails those that wait for it."""
        if not self._pending:
            return
        task = self._rng.choice(list(self._pending.values()))
        lost = self._dependents_of(task.id)
        if lost.keys() & self._left_alone.keys():
            return
        after = nearly(task, *_ENDED, status=TaskStatus.CANCELLED, version=task.version + 1)
        after |= _all(_failed(each) for each in lost.values())
        if await self._do("cancel_task", [after], lambda: self._storage.cancel_task(task.id), lambda: after):
            self._forget({task.id: task, **lost})

    async def update_task(self) -> None:
        """Replace a task that is held."""
        if not self._held:
            return
        task = self._rng.choice(list(self._held.values()))
        task.payload = self._fresh.payload()
        after = nearly(task, version=task.version + 1)
        await self._do("update_task", [after], lambda: self._storage.update_task(task), lambda: exactly(task))

    async def delete_task(self) -> None:
        """Delete a task for which no other one waits."""
        free = [task for task in self._pending.values() if not self._dependents_of(task.id)]
        if free:
            task = self._rng.choice(free)
            delete = self._storage.repository(TaskModel).delete
            if await self._do("delete", [absent([task])], lambda: delete(task.id), lambda: absent([task])):
                self._pending.pop(task.id)

    async def tell_agent(self) -> None:
        """Store an agent, change it or delete it."""
        if not self._agents or self._rng.random() < 0.3:
            agent = self._fresh.agent()
            store = self._storage.store_agent
            if await self._do("store_agent", [new(agent)], lambda: store(agent), lambda: exactly(agent)):
                self._agents[agent.id] = agent
            return
        agent = self._rng.choice(list(self._agents.values()))
        if self._rng.random() < 0.3:
            delete = self._storage.delete_agent
            if await self._do("delete_agent", [absent([agent])], lambda: delete(agent.id), lambda: absent([agent])):
                self._agents.pop(agent.id)
            return
        agent.metadata = {"payload": self._fresh.payload()}
        after = nearly(agent, version=agent.version + 1)
        await self._do("update_agent", [after], lambda: self._storage.update_agent(agent), lambda: exactly(agent))

    async def mark_message(self) -> None:
        """Mark a message as read."""
        if self._unread:
            message = self._rng.choice(list(self._unread.values()))
            after = nearly(message, "read_at", read=True)
            mark = self._storage.mark_message_read
            if await self._do("mark_message_read", [after], lambda: mark(message.id), lambda: after):
                self._unread.pop(message.id)

    async def transact(self) -> None:
        """Store records in a transaction, some of them in nested ones; some of those, and some of these, roll back."""
        kept: list[Model] = []
        given_up: list[Model] = []
        finished = self._rng.sample(list(self._held.values()), k=min(len(self._held), self._rng.randint(0, 2)))
        commits = self._rng.random() < 0.7
        plan = [
            ([self._fresh.any_record() for _ in range(self._rng.randint(1, 4))], self._rng.random() < 0.5, nested)
            for nested in self._rng.choices((False, True), k=self._rng.randint(1, 4))
        ]
        for records, is_kept, is_nested in plan:
            (kept if is_kept or not is_nested else given_up).extend(records)

        async def work() -> None:
            async with self._storage.transaction():
                for records, is_kept, is_nested in plan:
                    if is_nested:
                        await _nested(self._storage, records, is_kept=is_kept)
                    else:
                        for record in records:
                            await _store(self._storage, record)
                for task in finished:
                    await self._storage.complete_task(task, "in a transaction")
                if not commits:
                    raise _ChangeOfMindError

        async def rolled_back() -> None:
            try:
                await work()
            except _ChangeOfMindError:
                return

        after = _all(new(record) for record in kept)
        for task in finished:
            after |= nearly(task, *_ENDED, status=TaskStatus.COMPLETED, result="in a transaction", error=None,
                            version=task.version + 1)  # fmt: skip
        before = {**absent(kept), **exactly(*finished)}
        done = await self._do(
            "a transaction" if commits else "a transaction that is rolled back",
            [after] if commits else [before],
            work if commits else rolled_back,
            lambda: {**exactly(*kept, *finished), **absent(given_up)} if commits else {**before, **absent(given_up)},
        )
        if done and commits:
            self._keep(kept)
            for task in finished:
                self._held.pop(task.id)

    async def prune(self) -> None:
        """Store what is old, and delete it; each batch of the deletion is a write of its own."""
        old: list[Model] = []
        for _ in range(self._rng.randint(1, 8)):
            event, message = self._fresh.event(), self._fresh.message()
            event.timestamp = message.timestamp = LONG_AGO
            message.read = True
            task = self._fresh.task(status=TaskStatus.COMPLETED, completed_at=LONG_AGO)
            old += [event, message, task]
        after = _all(new(record) for record in old)
        if not await self._do("store what is old", [after], lambda: self._storage.store_many(old), lambda: after):
            return
        gone = absent(old)
        await self._do("prune", [gone], lambda: self._storage.prune(_OLD), lambda: gone, is_atomic=False)

    def _ready(self) -> list[TaskModel]:
        """Return the tasks that the next claim may get."""
        unfinished = {*self._pending, *self._held}
        return [
            task
            for task in self._pending.values()
            if task.task_type == self._fresh.task_type and not unfinished & set(task.dependencies)
        ]

    def _dependents_of(self, id: str) -> dict[str, TaskModel]:
        found: dict[str, TaskModel] = {}
        waiting = {id}
        while waiting:
            dependents = {
                each.id: each
                for each in self._pending.values()
                if waiting & set(each.dependencies) and each.id not in found
            }
            found |= dependents
            waiting = set(dependents)
        return found

    def _claimed(self, task: TaskModel) -> dict[Key, Expected]:
        return nearly(task, *_CLAIMED, status=TaskStatus.ASSIGNED, assigned_to=self._name, version=task.version + 1)


def _failed(task: TaskModel) -> dict[Key, Expected]:
    return nearly(task, *_ENDED, "error", status=TaskStatus.FAILED, version=task.version + 1)


def _all(states: Any) -> dict[Key, Expected]:
    return {key: expected for state in states for key, expected in state.items()}


async def _store(storage: Storage, record: Model) -> None:
    if isinstance(record, TaskModel):
        await storage.store_task(record)
    elif isinstance(record, AgentModel):
        await storage.store_agent(record)
    elif isinstance(record, EventModel):
        await storage.store_event(record)
    elif isinstance(record, MessageModel):
        await storage.store_message(record)
    elif isinstance(record, MetricModel):
        await storage.store_metric(record)


async def _nested(storage: Storage, records: Sequence[Model], *, is_kept: bool) -> None:
    try:
        async with storage.transaction():
            for record in records:
                await _store(storage, record)
            if not is_kept:
                raise _ChangeOfMindError
    except _ChangeOfMindError:
        return
