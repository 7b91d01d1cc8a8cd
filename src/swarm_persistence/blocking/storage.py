"""The blocking facade: each method is the async one, run to its end, with the same arguments and errors.

On SQLite and memory it runs in the calling thread; on PostgreSQL in a background loop.
"""

import inspect
import os
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial, wraps
from threading import Lock
from types import TracebackType
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeVar

from swarm_persistence.backends.targets import init_storage, is_local
from swarm_persistence.blocking import loop
from swarm_persistence.blocking.loop import Run, Series, run_of
from swarm_persistence.blocking.watches import (
    BlockingCommitWatch,
    BlockingReadyTaskWatch,
    BlockingScheduleWatch,
    BlockingTaskChanges,
)
from swarm_persistence.engines import calling_thread
from swarm_persistence.engines.calling_thread import interruptible
from swarm_persistence.engines.interface import PoolStatus
from swarm_persistence.errors import CollisionError
from swarm_persistence.models import AgentModel, DocumentModel, EventModel, MessageModel, Model, TaskModel, TaskStatus
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence.schema.tables import M
from swarm_persistence.storage import Repository, Storage, Transaction
from swarm_persistence.storage.pickling import NotPicklable
from swarm_persistence.storage.transactions import ATTEMPTS

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V", AgentModel, TaskModel, DocumentModel)


def _verb(
    method: Callable[Concatenate[Storage, P], Coroutine[Any, Any, R]],
    on_abandoned: Callable[[Storage, R], None] | None = None,
) -> "Callable[Concatenate[BlockingStorage, P], R]":
    """Return the blocking form of a method; `on_abandoned` takes a result that no thread awaits any more."""
    name = method.__name__

    @wraps(method)
    def call(self: "BlockingStorage", /, *args: P.args, **kwargs: P.kwargs) -> R:
        storage = self._storage
        abandon = None if on_abandoned is None else partial(on_abandoned, storage)
        result: R = self._run(getattr(storage, name)(*args, **kwargs), abandon)
        return result

    return call


def _taken(storage: Storage, records: AsyncGenerator[M, None]) -> Iterator[M]:
    """Iterate an asynchronous generator; any thread may continue the iteration."""

    async def take() -> M:
        return await anext(records)

    series = Series(storage.engine)
    try:
        while True:
            yield series.run(take())
    finally:
        series.run(records.aclose())
        series.close()


class BlockingTransaction(NotPicklable):
    """An open transaction of the calling thread; see `Transaction`."""

    def __init__(self, transaction: Transaction, run: Run) -> None:
        self._transaction = transaction
        self._run = run

    @property
    def is_open(self) -> bool:
        """Return whether it can still be committed or rolled back."""
        return self._transaction.is_open

    @property
    def is_finished(self) -> bool:
        """Return whether `commit` or `rollback` was called."""
        return self._transaction.is_finished

    def commit(self) -> None:
        """Commit the transaction; see `Transaction.commit`."""
        self._run(self._transaction.commit())

    def rollback(self) -> None:
        """Roll the transaction back; see `Transaction.rollback`."""
        self._run(self._transaction.rollback())


class BlockingTransactionBlock(NotPicklable):
    """The transaction of a `with`: commits on success, rolls back on any exception."""

    def __init__(self, begin: Callable[[], BlockingTransaction]) -> None:
        self._begin = begin
        self._transaction: BlockingTransaction | None = None

    def __enter__(self) -> BlockingTransaction:
        self._transaction = self._begin()
        return self._transaction

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is None or transaction.is_finished:
            return
        if error is None:
            transaction.commit()
        elif transaction.is_open:
            transaction.rollback()


class BlockingRepository(NotPicklable, Generic[M]):
    """The records of one model; see `Repository`."""

    def __init__(self, repository: Repository[M], run: Run) -> None:
        self._repository = repository
        self._run = run

    def find_by_id(self, id: str) -> M | None:
        """Return the record, or `None` if there is none with this id."""
        return self._run(self._repository.find_by_id(id))

    def find_all(self) -> list[M]:
        """Return all records in the order of their arrival."""
        return self._run(self._repository.find_all())

    def save(self, entity: M) -> None:
        """Store the record, or replace the stored one of its id; see `Repository.save`."""
        self._run(self._repository.save(entity))

    def update(self, entity: M) -> None:
        """Replace the stored record of this id; see `Repository.update`."""
        self._run(self._repository.update(entity))

    def delete(self, id: str) -> None:
        """Delete the record, if there is one; see `Repository.delete`."""
        self._run(self._repository.delete(id))

    def query(self, builder: QueryBuilder[M]) -> list[M]:
        """Return the records that the query finds, in its order."""
        return self._run(self._repository.query(builder))

    def iterate(self, builder: QueryBuilder[M] | None = None, *, batch_size: int = 1000) -> Iterator[M]:
        """Yield the records in the order of their arrival, read in batches; see `Repository.iterate`."""
        for batch in self.batches(builder, batch_size=batch_size):
            yield from batch

    def batches(self, builder: QueryBuilder[M] | None = None, *, batch_size: int = 1000) -> Iterator[list[M]]:
        """Yield the same records as `iterate`, in batches."""
        batches = self._repository.batches(builder, batch_size=batch_size)

        async def next_batch() -> list[M] | None:
            return await anext(batches, None)

        while (batch := self._run(next_batch())) is not None:
            yield batch

    def count(self, builder: QueryBuilder[M] | None = None) -> int:
        """Count the records that fulfil the query's conditions, or all."""
        return self._run(self._repository.count(builder))


class BlockingStorage(NotPicklable):
    """A `Storage` without `await`, for programs without an event loop; may be used from many threads at once.

    A transaction belongs to the thread that began it.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._run = run_of(storage.engine)
        self._by_schema: dict[str, Any] = {storage.schema_name: self}
        self._lock = Lock()

    store_agent = _verb(Storage.store_agent)
    get_agent = _verb(Storage.get_agent)
    update_agent = _verb(Storage.update_agent)
    delete_agent = _verb(Storage.delete_agent)
    list_agents = _verb(Storage.list_agents)
    list_agents_by_status = _verb(Storage.list_agents_by_status)
    heartbeat = _verb(Storage.heartbeat)

    store_task = _verb(Storage.store_task)
    store_tasks = _verb(Storage.store_tasks)
    get_task = _verb(Storage.get_task)
    update_task = _verb(Storage.update_task)
    get_pending_tasks = _verb(Storage.get_pending_tasks)
    get_ready_tasks = _verb(Storage.get_ready_tasks)
    get_blocked_tasks = _verb(Storage.get_blocked_tasks)
    get_dependencies = _verb(Storage.get_dependencies)
    get_dependency_results = _verb(Storage.get_dependency_results)
    get_unmet_dependencies = _verb(Storage.get_unmet_dependencies)
    get_tasks_by_agent = _verb(Storage.get_tasks_by_agent)

    def claim_task(self, task_id: str, agent_id: str, *, lease: float | timedelta | None = None) -> bool:
        """Assign the task to the agent if it is pending, and tell whether that happened; see `Storage.claim_task`."""
        storage = self._storage
        return bool(self._run(storage._claim_by_id(task_id, agent_id, lease), storage._release_claims))

    claim_next_task = _verb(
        Storage.claim_next_task, lambda storage, task: storage._release_claims([task] if task else [])
    )
    claim_next_tasks = _verb(Storage.claim_next_tasks, Storage._release_claims)
    set_limit = _verb(Storage.set_limit)
    get_limit = _verb(Storage.get_limit)
    list_limits = _verb(Storage.list_limits)
    delete_limit = _verb(Storage.delete_limit)
    get_held_claims = _verb(Storage.get_held_claims)
    extend_lease = _verb(Storage.extend_lease)
    report_progress = _verb(Storage.report_progress)
    complete_task = _verb(Storage.complete_task)
    complete_and_claim = _verb(
        Storage.complete_and_claim, lambda storage, result: storage._release_claims(result.claimed)
    )
    fail_task = _verb(Storage.fail_task)
    release_task = _verb(Storage.release_task)
    cancel_task = _verb(Storage.cancel_task)
    release_tasks_of = _verb(Storage.release_tasks_of)
    retry_task = _verb(Storage.retry_task)
    approve_task = _verb(Storage.approve_task)
    reject_task = _verb(Storage.reject_task)
    wait_for_task = _verb(Storage.wait_for_task)
    wait_for_tasks = _verb(Storage.wait_for_tasks)
    requeue_expired_tasks = _verb(Storage.requeue_expired_tasks)

    store_event = _verb(Storage.store_event)
    get_events_by_agent = _verb(Storage.get_events_by_agent)
    get_events_by_type = _verb(Storage.get_events_by_type)
    get_events_since = _verb(Storage.get_events_since)
    read_events = _verb(Storage.read_events)
    append_events = _verb(Storage.append_events)

    store_message = _verb(Storage.store_message)
    get_messages_between = _verb(Storage.get_messages_between)
    get_unread_messages = _verb(Storage.get_unread_messages)
    mark_message_read = _verb(Storage.mark_message_read)
    mark_messages_read = _verb(Storage.mark_messages_read)
    acknowledge_message = _verb(Storage.acknowledge_message)

    store_metric = _verb(Storage.store_metric)
    get_metrics_by_agent = _verb(Storage.get_metrics_by_agent)
    get_aggregated_metrics = _verb(Storage.get_aggregated_metrics)
    aggregate_metrics = _verb(Storage.aggregate_metrics)
    count_by = _verb(Storage.count_by)
    get_task_throughput = _verb(Storage.get_task_throughput)
    get_waiting_tasks = _verb(Storage.get_waiting_tasks)
    get_agent_liveness = _verb(Storage.get_agent_liveness)
    get_waiting_dependents = _verb(Storage.get_waiting_dependents)

    put_documents = _verb(Storage.put_documents)
    update_document = _verb(Storage.update_document)
    get_document = _verb(Storage.get_document)
    get_documents = _verb(Storage.get_documents)
    take_document = _verb(Storage.take_document)
    list_documents = _verb(Storage.list_documents)
    list_document_keys = _verb(Storage.list_document_keys)
    list_collections = _verb(Storage.list_collections)
    delete_documents = _verb(Storage.delete_documents)
    touch_documents = _verb(Storage.touch_documents)
    copy_documents = _verb(Storage.copy_documents)
    index_documents = _verb(Storage.index_documents)
    unindex_documents = _verb(Storage.unindex_documents)
    search_documents = _verb(Storage.search_documents)
    nearest_documents = _verb(Storage.nearest_documents)

    delete_where = _verb(Storage.delete_where)
    erase = _verb(Storage.erase)

    store_schedule = _verb(Storage.store_schedule)
    get_schedule = _verb(Storage.get_schedule)
    list_schedules = _verb(Storage.list_schedules)
    pause_schedule = _verb(Storage.pause_schedule)
    resume_schedule = _verb(Storage.resume_schedule)
    delete_schedule = _verb(Storage.delete_schedule)
    fire_due_schedules = _verb(Storage.fire_due_schedules)

    prune = _verb(Storage.prune)
    backup = _verb(Storage.backup)

    store_many = _verb(Storage.store_many)

    migrate_to = _verb(Storage.migrate_to)
    migration_status = _verb(Storage.migration_status)
    vacuum = _verb(Storage.vacuum)
    checkpoint = _verb(Storage.checkpoint)
    get_storage_size = _verb(Storage.get_storage_size)
    close = _verb(Storage.close)

    def modify(self, model: type[V], id: str, function: Callable[[V], V | None]) -> V:
        """Read a record, let a function change it, write it, and return it; see `Storage.modify`."""
        return self._run(self._storage.modify(model, id, interruptible(function)))

    def watch_events(
        self,
        after: int | Literal["now"] = 0,
        *,
        types: Iterable[str] | None = None,
        agent_id: str | None = None,
        group: str | None = None,
    ) -> Iterator[EventModel]:
        """Yield the events after a sequence, then each new one, endlessly; see `Storage.watch_events`."""
        return _taken(self._storage, self._storage.watch_events(after, types=types, agent_id=agent_id, group=group))

    def watch_messages(self, agent_id: str, after: int | Literal["now"] = 0) -> Iterator[MessageModel]:
        """Yield the messages to this agent, then each new one, endlessly; see `Storage.watch_messages`."""
        return _taken(self._storage, self._storage.watch_messages(agent_id, after))

    def watch_documents(self, collection: Sequence[str], *, below: bool = False) -> Iterator[DocumentModel]:
        """Yield the documents, then each one again after every write, endlessly; see `Storage.watch_documents`."""
        return _taken(self._storage, self._storage.watch_documents(collection, below=below))

    def watch_tasks(
        self,
        *,
        ids: Iterable[str] | None = None,
        types: Iterable[str] | None = None,
        statuses: Iterable[TaskStatus | str] | None = None,
        group: str | None = None,
        after: str | None = None,
    ) -> BlockingTaskChanges:
        """Yield the tasks, then each one again after every write, endlessly; see `Storage.watch_tasks`."""
        return BlockingTaskChanges(
            self._storage.watch_tasks(ids=ids, types=types, statuses=statuses, group=group, after=after),
            Series(self._storage.engine),
        )

    def watch_ready_tasks(
        self, *, task_types: Iterable[str] | None = None, capabilities: Iterable[str] | None = None
    ) -> BlockingReadyTaskWatch:
        """Return a watch that waits for tasks which can be claimed; close it. See `Storage.watch_ready_tasks`."""
        make = partial(self._storage.watch_ready_tasks, task_types=task_types, capabilities=capabilities)
        return BlockingReadyTaskWatch(self._storage.engine, make)

    def watch_schedules(self) -> BlockingScheduleWatch:
        """Return a watch that waits until a schedule is due; close it. See `Storage.watch_schedules`."""
        return BlockingScheduleWatch(self._storage.engine, self._storage.watch_schedules)

    def watch_commits(self, *models: type[Model]) -> BlockingCommitWatch:
        """Return a watch that waits for commits to records of these models; close it. See `Storage.watch_commits`."""
        return BlockingCommitWatch(self._storage.engine, partial(self._storage.watch_commits, *models))

    def begin_service(self, agent: AgentModel) -> None:
        """Record that a worker of this agent starts; see `Storage.begin_service`."""
        self._storage.begin_service(agent)

    def end_service(self, agent: AgentModel) -> None:
        """Record that the worker has stopped; see `Storage.end_service`."""
        self._storage.end_service(agent)

    @property
    def schema_name(self) -> str:
        """Return the name of the schema that holds the records."""
        return self._storage.schema_name

    def schema(self, name: str) -> Self:
        """Return the storage of another schema of this database; see `Storage.schema`."""
        storage = self._storage.schema(name)
        with self._lock:
            known: Self | None = self._by_schema.get(name)
            if known is not None and known._storage is storage:
                return known
            other = type(self)(storage)
            self._by_schema[name] = other
            other._by_schema, other._lock = self._by_schema, self._lock
        return other

    def repository(self, model: type[M]) -> BlockingRepository[M]:
        """Return the records of one model, by id and by query."""
        return BlockingRepository(self._storage.repository(model), self._run)

    def begin_transaction(self) -> BlockingTransaction:
        """Begin a transaction that this thread's further calls join; see `Storage.begin_transaction`."""
        if self._run is loop.run:
            loop.require_no_loop()  # raise before the transaction is bound to this context
        return BlockingTransaction(self._run(self._storage.begin_transaction()), self._run)

    def transaction(self) -> BlockingTransactionBlock:
        """Return a transaction for `with`: commits on success, rolls back on any exception."""
        return BlockingTransactionBlock(self.begin_transaction)

    def run_transaction(self, work: Callable[[], R], *, attempts: int = ATTEMPTS) -> R:
        """Call `work` in a transaction, again if it collides, and return its result; see `Storage.run_transaction`."""
        pauses = self._storage._pauses(attempts)
        while True:
            try:
                with self.transaction():
                    return work()
            except CollisionError:
                pause = next(pauses, None)
                if pause is None:
                    raise
            time.sleep(pause)

    @property
    def storage(self) -> Storage:
        """The async form of this storage, over the same engine."""
        return self._storage

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine that awaits only verbs of the wrapped storage, and return its result.

        An adapter that is written for the async form gets its blocking form this way.

        Raises:
            TypeError: the argument is not a coroutine.

        """
        if not inspect.iscoroutine(coroutine):
            raise TypeError(f"run takes a coroutine, not a {type(coroutine).__name__}")
        result: R = self._run(coroutine)  # the check has narrowed its type to one with an `Any` result
        return result

    def pool_status(self) -> PoolStatus:
        """Return the state of the connection pool."""
        return self._storage.pool_status()

    def __enter__(self) -> Self:
        self._run(self._storage.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Blocking{self._storage!r}"


def open_storage(target: str | os.PathLike[str] | None = None, *, migrate: bool = True) -> BlockingStorage:
    """Open the storage that the target names, for use without `await`; see `init_storage`."""
    run = calling_thread.run if is_local(target) else loop.run
    return BlockingStorage(run(init_storage(target, migrate=migrate)))
