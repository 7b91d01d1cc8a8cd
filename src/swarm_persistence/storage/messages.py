"""The verbs of messages."""

from swarm_persistence.engines.interface import Update
from swarm_persistence.errors import NotFoundError
from swarm_persistence.models import MessageModel
from swarm_persistence.query.builder import bound
from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.schema.tables import MESSAGES
from swarm_persistence.schema.values import identifier
from swarm_persistence.storage.core import StorageCore, by_id


class MessageVerbs(StorageCore):
    """Messages: store, read, mark as read."""

    async def store_message(self, message: MessageModel) -> None:
        """Store a new message.

        Raises:
            ConflictError: the id is taken; the stored message is unchanged.
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        await self._store(MESSAGES, message)

    async def get_messages_between(self, agent1: str, agent2: str, limit: int) -> list[MessageModel]:
        """Return at most `limit` messages that the two sent each other, in either direction, newest first."""
        pair = (identifier(agent1, "agent1"), identifier(agent2, "agent2"))
        condition = Condition("from_agent|to_agent", "PAIR", pair)
        newest_first = (Order("timestamp", is_descending=True),)
        return await self._executor().select(Query(MESSAGES, (condition,), newest_first, bound("limit", limit)))

    async def get_unread_messages(self, agent_id: str) -> list[MessageModel]:
        """Return the messages to this agent that are not marked as read, oldest first."""
        addressed = Condition("to_agent", "=", identifier(agent_id, "message.to_agent"))
        unread = Condition("read", "=", 0)
        return await self._executor().select(Query(MESSAGES, (addressed, unread), (Order("timestamp"),)))

    async def mark_message_read(self, message_id: str) -> None:
        """Mark the message as read; one that is read already stays so.

        Raises:
            NotFoundError: no message has this id.

        """
        if not await self._write_one(Update(by_id(MESSAGES, message_id), {"read": 1})):
            raise NotFoundError(f"message {message_id!r}")
