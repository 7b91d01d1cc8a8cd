"""Runs the same random operations on two storages, and compares every answer and every state."""

import asyncio
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from swarm_persistence import EventModel, Model
from swarm_persistence.schema.tables import table_of
from swarm_persistence_conformance import actors
from swarm_persistence_conformance.actors import Actor, Answer, Operation
from swarm_persistence_conformance.fixtures import OpenStorage
from swarm_persistence_conformance.state_machines import TIMEOUT_SECONDS, LoopStateMachine, run_state_machine
from swarm_persistence_conformance.strategies import IDS, TEXTS, TIMES, any_records, models, records, values

DEEPEST = 4

READS = st.one_of(
    st.tuples(st.sampled_from(["get_agent", "get_task"]), IDS),
    st.tuples(st.sampled_from(["get_tasks_by_agent", "get_unread_messages"]), TEXTS),
    st.tuples(st.sampled_from(["list_agents", "get_pending_tasks"])),
    st.tuples(st.just("list_agents_by_status"), st.sampled_from(["active", "idle", "sleepy"])),
    st.tuples(st.sampled_from(["get_events_by_agent", "get_events_by_type"]), TEXTS, st.integers(-1, 3)),
    st.tuples(st.just("get_events_since"), TIMES),
    st.tuples(st.just("read_events"), st.just(0), st.integers(-1, 3)),
    st.tuples(st.just("get_messages_between"), TEXTS, TEXTS, st.integers(0, 3)),
    st.tuples(st.just("get_metrics_by_agent"), TEXTS, TEXTS),
    st.tuples(st.just("get_aggregated_metrics"), TEXTS, TIMES, TIMES),
)


def changes(model: type[Model]) -> st.SearchStrategy[tuple[type[Model], dict[str, Any]]]:
    """Return a strategy of changes to some fields of a model."""
    columns = [column for column in table_of(model).columns if column.name not in ("id", "version")]
    fields = st.fixed_dictionaries({}, optional={column.name: values(column) for column in columns})
    return st.tuples(st.just(model), fields)


class Comparison(LoopStateMachine):
    """Two actors on each of two storages: one may hold a transaction, while the other reads or waits to write."""

    storages: ClassVar[tuple[OpenStorage, OpenStorage]]

    def __init__(self) -> None:
        super().__init__()
        self.sides: list[list[Actor]] = []
        self.holder = 0
        self.depth = 0
        self.waiting: list[asyncio.Future[Answer]] = []

    @initialize(records=st.lists(any_records(), min_size=1, max_size=10, unique_by=lambda each: (type(each), each.id)))
    def open_both_storages(self, records: list[Model]) -> None:
        self.loop.run_until_complete(self._open())
        self._write(0, actors.store(records))

    @rule(actor=st.integers(0, 1), record=any_records())
    def store(self, actor: int, record: Model) -> None:
        self._write(actor, actors.store([record]))

    @rule(actor=st.integers(0, 1), records=st.lists(any_records(), min_size=2, max_size=3))
    def store_many(self, actor: int, records: list[Model]) -> None:
        self._write(actor, actors.store(records))

    @rule(actor=st.integers(0, 1), record=any_records(), age=st.integers(0, 2))
    def save(self, actor: int, record: Model, age: int) -> None:
        if hasattr(record, "version"):
            record.version = age
        self._write(actor, actors.save(record))

    @rule(
        actor=st.integers(0, 1),
        change=models().flatmap(changes),
        id=IDS,
        age=st.sampled_from([0, 0, -1, 1]),
        how=st.sampled_from(["update", "save", "force"]),
    )
    def change(self, actor: int, change: tuple[type[Model], dict[str, Any]], id: str, age: int, how: str) -> None:
        # Reading and writing are two calls: an actor that waits to write would find another record than it read.
        self._run(self._actor_without_wait(actor), actors.change(change[0], id, change[1], age, how))

    @rule(actor=st.integers(0, 1), model=models(), id=IDS)
    def delete(self, actor: int, model: type[Model], id: str) -> None:
        self._write(actor, actors.delete(model, id))

    @rule(actor=st.integers(0, 1), id=IDS)
    def delete_agent(self, actor: int, id: str) -> None:
        self._write(actor, actors.call("delete_agent", id))

    @rule(actor=st.integers(0, 1), id=IDS, agent_id=TEXTS)
    def claim(self, actor: int, id: str, agent_id: str) -> None:
        self._write(actor, actors.call("claim_task", id, agent_id))

    @rule(actor=st.integers(0, 1), agent_id=TEXTS, task_type=st.none() | TEXTS)
    def claim_next(self, actor: int, agent_id: str, task_type: str | None) -> None:
        types = None if task_type is None else [task_type]
        self._write(actor, actors.call("claim_next_tasks", agent_id, limit=2, task_types=types))

    @rule(actor=st.integers(0, 1), task_type=TEXTS, running=st.none() | st.integers(0, 2))
    def set_limit(self, actor: int, task_type: str, running: int | None) -> None:
        self._write(actor, actors.call("set_limit", task_type, running=running, per_key=1))

    @rule(actor=st.integers(0, 1), group=TEXTS)
    def erase(self, actor: int, group: str) -> None:
        self._write(actor, actors.call("erase", group))

    @rule(actor=st.integers(0, 1), id=IDS)
    def mark_read(self, actor: int, id: str) -> None:
        self._write(actor, actors.call("mark_message_read", id))

    @rule(actor=st.integers(0, 1), id=IDS)
    def mark_read_up_to(self, actor: int, id: str) -> None:
        self._run(self._actor_without_wait(actor), actors.mark_read_up_to(id))

    @rule(actor=st.integers(0, 1), events=st.lists(records(EventModel), max_size=3), is_late=st.booleans())
    def append(self, actor: int, events: list[EventModel], is_late: bool) -> None:
        self._run(self._actor_without_wait(actor), actors.append(events, is_late))

    @rule(actor=st.integers(0, 1), read=READS)
    def read(self, actor: int, read: tuple[Any, ...]) -> None:
        self._run(self.holder if self.waiting else actor, actors.call(*read))

    @rule(actor=st.integers(0, 1))
    @precondition(lambda self: self.depth < DEEPEST)
    def begin(self, actor: int) -> None:
        actor = self._actor_without_wait(actor)
        if self._run(actor, actors.begin)[0] == "returned":
            self.holder, self.depth = actor, self.depth + 1

    @rule(how=st.sampled_from(["commit", "commit", "rollback"]))
    @precondition(lambda self: self.depth > 0)
    def end(self, how: Any) -> None:
        self.depth -= 1
        self._run(self.holder, actors.end(how))

    @rule(seconds=st.integers(1, 5))
    def let_time_pass(self, seconds: int) -> None:
        self.clock.advance(seconds)

    def _actor_without_wait(self, actor: int) -> int:
        """Return the actor that can write without waiting."""
        return self.holder if self.depth else actor

    def _write(self, actor: int, operation: Operation) -> None:
        if not self.depth or actor == self.holder:
            self._run(actor, operation)
        elif not self.waiting:
            self.loop.run_until_complete(self._queue(actor, operation))

    def _run(self, actor: int, operation: Operation) -> Answer:
        return self.loop.run_until_complete(self._compare(actor, operation))

    async def _open(self) -> None:
        for open_storage in self.storages:
            storage = await self.closing.enter_async_context(open_storage())
            self.sides.append([Actor(storage), Actor(storage)])
        self.closing.push_async_callback(self._stop_actors)

    async def _queue(self, actor: int, operation: Operation) -> None:
        self.waiting = [side[actor].start(operation) for side in self.sides]
        await self._compare(self.holder, actors.read_everything)

    async def _compare(self, actor: int, operation: Operation) -> Answer:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            answer: Answer = same([await side[actor].start(operation) for side in self.sides])
            if self.waiting and not self.depth:
                same([await future for future in self.waiting])
                self.waiting = []
            for other in (0, 1):
                if not self.waiting or other == self.holder:
                    same([await side[other].start(actors.read_everything) for side in self.sides])
                    same([side[other].assigned_values() for side in self.sides])
            return answer

    async def _stop_actors(self) -> None:
        for side in self.sides:
            for actor in (side[self.holder], side[1 - self.holder]):
                await actor.stop()


def same(answers: list[Any]) -> Any:
    """Return the answer of both storages; fail if they differ."""
    first, second = answers
    assert first == second
    return first


def assert_storages_agree(
    open_first: OpenStorage, open_second: OpenStorage, examples: int = 40, steps: int = 25
) -> None:
    """Fail, with a minimal example, if two storages answer differently.

    Must not be called within a running event loop.
    """

    class ThisComparison(Comparison):
        storages = (staticmethod(open_first), staticmethod(open_second))

    run_state_machine(ThisComparison, examples, steps)
