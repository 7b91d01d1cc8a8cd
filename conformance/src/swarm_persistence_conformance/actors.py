"""Actors: callers with transactions of their own, whose answers can be compared between storages."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from copy import deepcopy
from typing import Any, Literal

from swarm_persistence import AgentModel, EventModel, MessageModel, MetricModel, Model, Storage, TaskModel, Transaction
from swarm_persistence.schema.tables import table_of
from swarm_persistence_conformance.records import MOMENT, everything_in

Answer = tuple[str, Any]
"""What an operation returned, or the name of the error that it raised."""


class Actor:
    """A caller of a storage that runs its operations one at a time, in an asyncio task of its own."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.transactions: list[Transaction] = []
        self.records: list[Model] = []
        """The records that it passed to the storage."""
        self._orders: asyncio.Queue[tuple[Operation, asyncio.Future[Answer]] | None] = asyncio.Queue()
        self._task = asyncio.get_running_loop().create_task(self._work(), context=Context())

    def start(self, operation: "Operation") -> "asyncio.Future[Answer]":
        """Queue an operation for the actor."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._orders.put_nowait((operation, answer))
        return answer

    async def stop(self) -> None:
        """Roll back the open transactions, and end the actor."""
        while self.transactions:
            await self.start(end("rollback"))
        self._orders.put_nowait(None)
        await self._task

    async def _work(self) -> None:
        while (order := await self._orders.get()) is not None:
            operation, answer = order
            try:
                answer.set_result(("returned", comparable(await operation(self))))
            except Exception as error:
                answer.set_result(("raised", type(error).__name__))

    def own(self, record: Model) -> Any:
        """Return a copy of a record for this actor to pass to its storage."""
        copy = deepcopy(record)
        self.records.append(copy)
        return copy

    def assigned_values(self) -> list[Any]:
        """Return what the storage has set on the actor's records: versions, and whether there is a sequence."""
        return [getattr(record, "version", getattr(record, "sequence", None) is not None) for record in self.records]


Operation = Callable[[Actor], Coroutine[Any, Any, Any]]


def comparable(value: Any) -> Any:
    """Return a value without the parts in which storages may differ: sequence numbers, and ids made on reading."""
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    if isinstance(value, EventModel | MessageModel):
        value.sequence = None
    if isinstance(value, MetricModel) and value.tags.keys() == {"count", "min", "max", "sum"}:
        value.id = "aggregate"
    return value.to_json() if isinstance(value, Model) else value


async def read_everything(actor: Actor) -> Any:
    """Read all records, directly and through the listing verbs."""
    storage = actor.storage
    return [
        await everything_in(storage),
        await storage.list_agents(),
        await storage.get_pending_tasks(),
        await storage.get_events_since(MOMENT),
        await storage.get_aggregated_metrics("a", 0, MOMENT),
    ]


async def begin(actor: Actor) -> None:
    """Begin a transaction, within the one that is open."""
    actor.transactions.append(await actor.storage.begin_transaction())


def end(how: Literal["commit", "rollback"]) -> Operation:
    """Return the operation that ends the innermost transaction."""

    async def operation(actor: Actor) -> None:
        await getattr(actor.transactions.pop(), how)()

    return operation


def store(records: list[Model]) -> Operation:
    """Return the operation that stores records: one by the verb of its model, several by `store_many`."""

    async def operation(actor: Actor) -> Any:
        own = [actor.own(record) for record in records]
        if len(own) > 1:
            return await actor.storage.store_many(own)
        return await getattr(actor.storage, f"store_{table_of(type(own[0])).label}")(own[0])

    return operation


def save(record: Model) -> Operation:
    """Return the operation that saves a record as it is."""

    async def operation(actor: Actor) -> None:
        await actor.storage.repository(type(record)).save(actor.own(record))

    return operation


def change(model: type[Model], id: str, changes: dict[str, Any], age: int, how: str) -> Operation:
    """Return the operation that updates a record as read, or a copy that is `age` versions older or newer."""

    async def operation(actor: Actor) -> None:
        repository = actor.storage.repository(model)
        read = await repository.find_by_id(id)
        if read is None:
            return
        record: Any = actor.own(read)
        for name, value in changes.items():
            setattr(record, name, deepcopy(value))
        if not isinstance(record, AgentModel | TaskModel):
            await (repository.update if how == "update" else repository.save)(record)
            return
        record.version = max(0, record.version + age)
        if how == "save":
            await repository.save(record)
        else:
            await getattr(actor.storage, f"update_{table_of(model).label}")(record, force=how == "force")

    return operation


def append(events: list[EventModel], is_late: bool) -> Operation:
    """Return the operation that appends events at the end of the log, or at an earlier, stale sequence."""

    async def operation(actor: Actor) -> None:
        last = await actor.storage.append_events([])
        expected = max(0, last - 1) if is_late else last
        await actor.storage.append_events([actor.own(event) for event in events], expected_sequence=expected)

    return operation


def mark_read_up_to(id: str) -> Operation:
    """Return the operation that marks all messages as read up to this one."""

    async def operation(actor: Actor) -> Any:
        message = await actor.storage.repository(MessageModel).find_by_id(id)
        return message and await actor.storage.mark_messages_read(message.to_agent, up_to=message)

    return operation


def call(verb: str, *arguments: Any, **named: Any) -> Operation:
    """Return the operation that calls a verb of the storage."""

    async def operation(actor: Actor) -> Any:
        return await getattr(actor.storage, verb)(*arguments, **named)

    return operation


def delete(model: type[Model], id: str) -> Operation:
    """Return the operation that deletes a record."""

    async def operation(actor: Actor) -> None:
        await actor.storage.repository(model).delete(id)

    return operation
