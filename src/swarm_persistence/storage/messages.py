"""The verbs of messages."""

from collections.abc import AsyncGenerator
from typing import Any, Literal

from swarm_persistence.engines.reads import Count, Select, Values
from swarm_persistence.engines.steps import Change, Update
from swarm_persistence.errors import InvalidQueryError, NotFoundError, shown
from swarm_persistence.models import MessageModel
from swarm_persistence.query.builder import bound
from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.schema.tables import MESSAGES, SEQUENCE
from swarm_persistence.schema.values import identifier, json_text
from swarm_persistence.storage.core import NOW, StorageCore, by_id
from swarm_persistence.storage.storing import store
from swarm_persistence.storage.watching import watched

_MOST_URGENT_FIRST = (Order("priority", is_descending=True), Order("timestamp"))
_READ: dict[str, Change] = {"read": 1, "read_at": NOW}


class MessageVerbs(StorageCore):
    """Messages: store, read, mark as read, acknowledge, watch."""

    async def store_message(self, message: MessageModel) -> MessageModel:
        """Store a new message, set its `sequence`, and return it.

        Raises:
            ConflictError: the id is taken; the stored message is unchanged.
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        return await store(self, MESSAGES, message)

    async def get_messages_between(self, agent1: str, agent2: str, limit: int) -> list[MessageModel]:
        """Return at most `limit` messages between the two agents, in either direction, newest first."""
        pair = (identifier(agent1, "agent1"), identifier(agent2, "agent2"))
        condition = Condition("from_agent|to_agent", "PAIR", pair)
        newest_first = (Order("timestamp", is_descending=True),)
        return await self._executor().read(Select(Query(MESSAGES, (condition,), newest_first, bound("limit", limit))))

    async def get_unread_messages(self, agent_id: str) -> list[MessageModel]:
        """Return the messages to this agent that are not marked as read: highest priority, then oldest first."""
        addressed = Condition("to_agent", "=", identifier(agent_id, "message.to_agent"))
        unread = Condition("read", "=", 0)
        query = Query(MESSAGES, (addressed, unread), _MOST_URGENT_FIRST, settled_only=True)
        return await self._executor().read(Select(query))

    async def mark_message_read(self, message_id: str) -> None:
        """Mark the message as read, and set `read_at`; idempotent: the first time is kept.

        Raises:
            NotFoundError: no message has this id.

        """
        message = by_id(MESSAGES, message_id)
        unread = Query(MESSAGES, (*message.conditions, Condition("read", "=", 0)))
        if await self._write_one(Update(unread, _READ)):
            return
        if not await self._executor().read(Count(message)):
            raise NotFoundError(f"message {message_id!r}")

    async def mark_messages_read(self, agent_id: str, *, up_to: MessageModel) -> int:
        """Mark the messages to this agent up to `up_to`, in order of arrival, as read; return how many were unread.

        A message that arrived later, which the reader cannot have seen, stays unread, whatever its timestamp.

        Raises:
            InvalidQueryError: `up_to` is not a message to this agent.
            NotFoundError: `up_to` is not stored.

        """
        self._require_model(MESSAGES, up_to)
        reader = identifier(agent_id, "message.to_agent")
        if up_to.to_agent != reader:
            raise InvalidQueryError(
                f"up_to is message {shown(up_to.id)} to {shown(up_to.to_agent)}, expected one to {reader!r}"
            )
        rows = await self._executor().read(Values(by_id(MESSAGES, up_to.id), (SEQUENCE,)))
        if not rows:
            raise NotFoundError(f"message {up_to.id!r}")
        seen = (
            Condition("to_agent", "=", reader),
            Condition("read", "=", 0),
            Condition(SEQUENCE, "<=", rows[0][0]),
        )
        marked: int = await self._write_one(Update(Query(MESSAGES, seen), _READ))
        return marked

    async def acknowledge_message(self, message_id: str, result: Any = None) -> bool:
        """Acknowledge the message, with a result; return whether this was the first acknowledgement.

        Acknowledging is independent of reading: an unread message stays unread. A repeated call keeps the first result.

        Raises:
            NotFoundError: no message has this id.
            SerializationError: the result is not JSON; nothing was written.

        """
        changes: dict[str, Change] = {
            "acknowledged_at": NOW,
            "result": None if result is None else json_text(result, "message.result"),
        }
        message = by_id(MESSAGES, message_id)
        is_open = Query(MESSAGES, (*message.conditions, Condition("acknowledged_at", "IS NULL")))
        if await self._write_one(Update(is_open, changes)):
            return True
        if await self._executor().read(Count(message)):
            return False
        raise NotFoundError(f"message {message_id!r}")

    def watch_messages(self, agent_id: str, after: int | Literal["now"] = 0) -> AsyncGenerator[MessageModel, None]:
        """Yield the messages to this agent after a `sequence`, then each new one; never ends by itself.

        Messages come in order of arrival, without gaps or repetitions, whichever process stores them, read or not. To
        resume later, keep the `sequence` of the last message that was handled. With `"now"`, messages are yielded that
        are stored after the iteration starts.

        Raises:
            TransactionError: called within a transaction, which does not see other commits.

        """
        self._require_no_transaction("watch_messages")
        addressed = Condition("to_agent", "=", identifier(agent_id, "message.to_agent"))
        return watched(self._feeds, self._engine, Query(MESSAGES, (addressed,)), after)
