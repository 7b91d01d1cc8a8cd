"""Runs random task verbs on a storage; the reference model predicts every answer and every state."""

from copy import deepcopy
from datetime import timedelta
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from swarm_persistence import NotFoundError, Storage, TaskModel, TaskPriority
from swarm_persistence.testing import now
from swarm_persistence_conformance import actors
from swarm_persistence_conformance.fixtures import OpenStorage
from swarm_persistence_conformance.model_tests import ModelTest
from swarm_persistence_conformance.reference_limits import ReferenceLimit
from swarm_persistence_conformance.reference_model import ReferenceModel
from swarm_persistence_conformance.state_machines import run_state_machine
from swarm_persistence_conformance.task_choices import AGENTS, CHANGES, COPY, IDS, LEASES, LIMITS, TASKS, TYPES

_DEEPEST = 2


class RandomTaskVerbs(ModelTest):
    """The task verbs as rules, each beside the model's version of it."""

    @initialize(tasks=st.lists(TASKS, max_size=5, unique_by=lambda task: task.id))
    def open(self, tasks: list[TaskModel]) -> None:
        self.loop.run_until_complete(self.open_it())
        self.store_tasks(tasks)

    @rule(task=TASKS)
    def store_task(self, task: TaskModel) -> None:
        own = deepcopy(task)
        answer = self.do(lambda storage: storage.store_task(own), lambda: self.model.store([task])[0])
        if answer is not None:
            self.keep(answer, before=task if answer is own else None)

    @rule(tasks=st.lists(TASKS, min_size=2, max_size=4, unique_by=lambda task: task.id))
    def store_tasks(self, tasks: list[TaskModel]) -> None:
        own = deepcopy(tasks)
        answers = self.do(lambda storage: storage.store_tasks(own), lambda: self.model.store(tasks))
        for place, answer in enumerate(answers or ()):
            self.keep(answer, before=tasks[place] if answer is own[place] else None)

    @rule(
        agent=AGENTS,
        limit=st.integers(0, 3),
        task_types=TYPES,
        capabilities=TYPES,
        lease=LEASES,
    )
    def claim_next(
        self, agent: str, limit: int, task_types: list[str] | None, capabilities: list[str] | None, lease: float
    ) -> None:
        wanted: dict[str, Any] = {"task_types": task_types, "capabilities": capabilities, "lease": lease}
        tasks = self.do(
            lambda storage: storage.claim_next_tasks(agent, limit=limit, **wanted),
            lambda: self.model.claim_next(agent, limit, task_types, capabilities or (), lease),
        )
        for task in tasks:
            self.keep(task)

    @rule(id=IDS, agent=AGENTS, lease=st.none() | LEASES)
    def claim(self, id: str, agent: str, lease: float | None) -> None:
        self.do(lambda storage: storage.claim_task(id, agent, lease=lease), lambda: self.model.claim(id, agent, lease))

    @rule(task_type=st.sampled_from("xy"), limit=LIMITS)
    def set_limit(self, task_type: str, limit: ReferenceLimit) -> None:
        async def set_limit(storage: Storage) -> None:
            await storage.set_limit(
                task_type, running=limit.running, per_key=limit.per_key, starts=limit.starts, per=limit.per
            )

        self.do(set_limit, lambda: self.model.set_limit(task_type, limit))

    @rule(task_type=st.sampled_from("xy"))
    def delete_limit(self, task_type: str) -> None:
        self.do(lambda storage: storage.delete_limit(task_type), lambda: self.model.limits.delete(task_type))

    @rule(id=IDS)
    def retry(self, id: str) -> None:
        self.do(lambda storage: storage.retry_task(id), lambda: self.model.retry(id))

    @rule(id=IDS)
    def get(self, id: str) -> None:
        task = self.do(lambda storage: storage.get_task(id), lambda: self.model.tasks.get(id))
        if task is not None:
            self.keep(task)

    @rule(copy=COPY, lease=LEASES)
    def extend(self, copy: int, lease: float) -> None:
        self.use(copy, lambda storage, task: storage.extend_lease(task, lease=lease), ReferenceModel.extend, lease)

    @rule(copy=COPY, result=st.none() | st.integers(0, 3))
    def complete(self, copy: int, result: int | None) -> None:
        self.use(copy, lambda storage, task: storage.complete_task(task, result), ReferenceModel.complete, result)

    @rule(copy=COPY, retry_in=st.sampled_from([0.0, 50.0, 250.0]))
    def fail(self, copy: int, retry_in: float) -> None:
        run_at = now() + timedelta(seconds=retry_in) if retry_in else None
        self.use(
            copy,
            lambda storage, task: storage.fail_task(task, "bad", retry_in=retry_in),
            ReferenceModel.fail,
            "bad",
            run_at,
        )

    @rule(copy=COPY, retry_in=st.sampled_from([0.0, 0.0, 250.0]))
    def release(self, copy: int, retry_in: float) -> None:
        run_at = now() + timedelta(seconds=retry_in) if retry_in else None
        self.use(
            copy,
            lambda storage, task: storage.release_task(task, retry_in=retry_in),
            ReferenceModel.release,
            run_at,
        )

    @rule(id=IDS)
    def cancel(self, id: str) -> None:
        self.do(lambda storage: storage.cancel_task(id), lambda: self.model.cancel(id))

    @rule()
    def requeue(self) -> None:
        if self.is_any_outcome_open():
            return

        async def requeue(storage: Storage) -> Any:
            recovery = await storage.requeue_expired_tasks()
            return sorted(recovery.requeued), sorted(recovery.failed)

        self.do(requeue, lambda: tuple(sorted(ids) for ids in self.model.requeue()))

    @rule(copy=COPY, changes=CHANGES, how=st.sampled_from(["update", "update", "save", "force"]))
    def change(self, copy: int, changes: dict[str, Any], how: str) -> None:
        if not self.copies:
            return
        own = deepcopy(self.copies[copy % len(self.copies)])
        for field, value in changes.items():
            setattr(own, field, deepcopy(value))
        task = deepcopy(own)

        async def change(storage: Storage) -> TaskModel:
            if how == "save":
                await storage.repository(TaskModel).save(own)
            else:
                await storage.update_task(own, force=how == "force")
            return own

        def predict() -> TaskModel:
            return self.model.save(task) if how == "save" else self.model.update(task, force=how == "force")

        if self.do(change, predict) is not None:
            self.keep(own, before=task)

    @rule(id=IDS, priority=st.sampled_from(TaskPriority))
    def modify(self, id: str, priority: TaskPriority) -> None:
        def change(task: TaskModel) -> None:
            task.priority = priority

        def predict() -> TaskModel:
            if id not in self.model.tasks:
                raise NotFoundError(id)
            task = deepcopy(self.model.tasks[id])
            change(task)
            return self.model.update(task, force=False)

        self.do(lambda storage: storage.modify(TaskModel, id, change), predict)

    @rule(id=IDS)
    def delete(self, id: str) -> None:
        self.do(lambda storage: storage.repository(TaskModel).delete(id), lambda: self.model.delete(id))

    @rule(agent=AGENTS)
    def delete_agent(self, agent: str) -> None:
        self.do(lambda storage: storage.delete_agent(agent), lambda: self.model.delete_agent(agent))

    @rule(seconds=st.sampled_from([100, 100, 300]))
    def let_time_pass(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.compare()

    @rule()
    @precondition(lambda self: len(self.before) < _DEEPEST)
    def begin(self) -> None:
        self.run_operation(actors.begin)
        self.before.append((deepcopy(self.model), deepcopy(self.known)))

    @rule(how=st.sampled_from(["commit", "rollback"]))
    @precondition(lambda self: self.before)
    def end(self, how: Literal["commit", "rollback"]) -> None:
        assert self.run_operation(actors.end(how)) == ("returned", None)
        model, known = self.before.pop()
        if how == "rollback":
            self.model, self.known = model, known
        self.compare()


def assert_tasks_match_model(open_storage: OpenStorage, examples: int = 80, steps: int = 40) -> None:
    """Fail, with a minimal example, if a storage handles tasks differently from the reference model.

    Must not be called within a running event loop.
    """

    class VerbsOfThisStorage(RandomTaskVerbs):
        pass

    VerbsOfThisStorage.open_storage = staticmethod(open_storage)
    run_state_machine(VerbsOfThisStorage, examples, steps)
