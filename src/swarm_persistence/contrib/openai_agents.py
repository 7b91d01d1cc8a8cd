"""The OpenAI Agents SDK's session over documents; needs `pip install "swarm-persistence[openai-agents]"`.

The items of a session are documents of the collection `("openai-agents", session)`, in the order of their arrival.
"""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from swarm_persistence import BlockingStorage, DocumentModel, InvalidQueryError, Storage
from swarm_persistence.contrib.json_values import content_of, value_of

try:
    from agents import SessionSettings, TResponseInputItem
except ImportError as error:
    raise ImportError('SwarmSession needs its SDK: pip install "swarm-persistence[openai-agents]"') from error

ROOT = "openai-agents"
_BATCH = 500
"""Items deleted per write."""


class SwarmSession:
    """Keeps the history of a conversation: `Runner.run(agent, "…", session=SwarmSession("conversation-1", storage))`.

    Any number of tasks, event loops and processes may write one session. Within `async with storage.transaction()`,
    what a run adds belongs to the transaction.
    """

    def __init__(
        self,
        session_id: str,
        storage: Storage | BlockingStorage,
        *,
        session_settings: SessionSettings | Mapping[str, Any] | None = None,
    ) -> None:
        given = dict(session_settings) if isinstance(session_settings, Mapping) else session_settings
        self.session_id = session_id
        self.session_settings: SessionSettings | None = SessionSettings().resolve(given)
        self._storage = storage.storage if isinstance(storage, BlockingStorage) else storage
        self._collection = (ROOT, session_id)

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """Return the latest items in their order; without a limit, as many as the session's settings say."""
        if limit is None and self.session_settings is not None:
            limit = self.session_settings.limit
        latest = await self._storage.list_documents(self._collection, by_arrival=True, desc=True, limit=limit)
        return [value_of(document) for document in reversed(latest)]

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Add items in one atomic write."""
        batch = uuid4().hex
        # Within one write, documents may arrive in the order of their keys.
        await self._storage.put_documents(
            [
                DocumentModel.new(self._collection, f"{batch}-{place:08}", **content_of(item))
                for place, item in enumerate(items)
            ]
        )

    async def pop_item(self) -> TResponseInputItem | None:
        """Remove the latest item and return it; concurrent callers get different items."""
        while keys := await self._storage.list_document_keys(self._collection, by_arrival=True, desc=True, limit=1):
            taken = await self._storage.take_document(self._collection, keys[0])
            if taken is not None:
                item: TResponseInputItem = value_of(taken)
                return item
        return None

    async def clear_session(self) -> None:
        """Delete all items, in short writes."""
        await self._storage.delete_documents(self._collection)

    async def prune(self, keep: int) -> int:
        """Delete all items but this number of the latest, and return how many."""
        if type(keep) is not int or keep < 0:
            raise InvalidQueryError(f"keep is {keep!r}, expected a whole number, 0 or more")
        # Items that are added meanwhile follow all that are deleted, and stay.
        keys = await self._storage.list_document_keys(self._collection, by_arrival=True)
        old = keys[: max(0, len(keys) - keep)]
        deleted = 0
        for start in range(0, len(old), _BATCH):
            deleted += await self._storage.delete_documents(self._collection, keys=old[start : start + _BATCH])
        return deleted
