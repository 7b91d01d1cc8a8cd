"""ADK's memory over documents.

What is remembered is a document of the collection `("adk", app, "memory", user, "sessions", session)`, or of `("adk",
app, "memory", user, "entries")` if it was added by itself. The ids of deleted memories are in `("adk", app,
"forgotten", user)`, so that adding a session again does not bring them back.
"""

import re
import unicodedata
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import cast

from google.adk.events import Event
from google.adk.memory import BaseMemoryService
from google.adk.memory.base_memory_service import SearchMemoryResponse
from google.adk.memory.memory_entry import MemoryEntry
from google.adk.sessions import Session
from google.genai.types import Content

from swarm_persistence import DocumentModel, Storage, now
from swarm_persistence.contrib.json_values import Content as Kept
from swarm_persistence.contrib.json_values import content_of_plain, value_of

ROOT = "adk"
_MOST_FOUND = 10


class SwarmMemoryService(BaseMemoryService):
    """Keeps ADK's memory in a storage: `Runner(…, memory_service=SwarmMemoryService(storage))`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def add_session_to_memory(self, session: Session) -> None:
        """Remember the events of a session, replacing those remembered for it before."""
        collection = (ROOT, session.app_name, "memory", session.user_id, "sessions", session.id)
        async with self._storage.transaction():
            await self._storage.delete_documents(collection)
            documents = await self._documents_to_add(session.app_name, session.user_id, collection, session.events)
            await self._storage.put_documents(documents)

    async def add_events_to_memory(
        self,
        *,
        app_name: str,
        user_id: str,
        events: Sequence[Event],
        session_id: str | None = None,
        custom_metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Remember these events in addition; one that is already remembered is left as it is."""
        collection = (ROOT, app_name, "memory", user_id, "sessions", session_id or "")
        documents = await self._documents_to_add(app_name, user_id, collection, events, custom_metadata)
        await self._storage.put_documents([], if_absent=documents)

    async def add_memory(
        self,
        *,
        app_name: str,
        user_id: str,
        memories: Sequence[MemoryEntry],
        custom_metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Remember these entries; an entry with a known id replaces the earlier one."""
        collection = (ROOT, app_name, "memory", user_id, "entries")
        documents = []
        for memory in memories:
            id = memory.id or str(uuid.uuid4())
            metadata = memory.custom_metadata | dict(custom_metadata or {})
            entry = memory.model_copy(update={"id": id, "custom_metadata": metadata})
            documents.append(DocumentModel.new(collection, id, **_kept(entry, now().timestamp())))
        await self._storage.put_documents(documents)

    async def search_memory(self, *, app_name: str, user_id: str, query: str) -> SearchMemoryResponse:
        """Return at most ten memories: those that share the most words with the query; ties are sorted oldest first."""
        wanted = _words(query)
        memories = await self._storage.list_documents((ROOT, app_name, "memory", user_id), below=True)
        found = []
        for document in memories:
            value = value_of(document)
            entry = MemoryEntry.model_validate(value["entry"])
            text = _plain(" ".join(part.text for part in entry.content.parts or () if part.text))
            words = _words(text)
            # Languages that are written without spaces have no words to compare.
            shared = sum(word in words or (not word.isascii() and word in text) for word in wanted)
            if shared:
                found.append((-shared, value["time"], entry))
        found.sort(key=lambda each: each[:2])
        return SearchMemoryResponse(memories=[entry for _, _, entry in found[:_MOST_FOUND]])

    async def delete_memory(self, *, app_name: str, user_id: str, memory_id: str | None = None) -> None:
        """Forget a memory for good: adding its session again does not bring it back."""
        if not memory_id:
            return
        async with self._storage.transaction():
            root = (ROOT, app_name, "memory", user_id)
            deleted = await self._storage.delete_documents(root, below=True, label=memory_id)
            deleted += await self._storage.delete_documents((*root, "entries"), keys=[memory_id])
            if deleted:
                await self._storage.put_documents(
                    [DocumentModel.new((ROOT, app_name, "forgotten", user_id), memory_id)]
                )

    async def _documents_to_add(
        self,
        app_name: str,
        user_id: str,
        collection: tuple[str, ...],
        events: Sequence[Event],
        custom_metadata: Mapping[str, object] | None = None,
    ) -> list[DocumentModel]:
        events = [event for event in events if event.content and event.content.parts]
        ids = [event.id for event in events]
        found = await self._storage.get_documents((ROOT, app_name, "forgotten", user_id), ids)
        forgotten = {document.key for document in found}
        return [
            DocumentModel.new(
                collection, event.id, label=event.id, **_kept(_entry(event, custom_metadata), event.timestamp)
            )
            for event in events
            if event.id not in forgotten
        ]


def _kept(entry: MemoryEntry, time: float) -> Kept:
    return content_of_plain({"entry": entry.model_dump(mode="json", exclude_none=True), "time": time})


def _entry(event: Event, custom_metadata: Mapping[str, object] | None) -> MemoryEntry:
    return MemoryEntry(
        id=event.id,
        content=cast(Content, event.content),
        author=event.author,
        timestamp=datetime.fromtimestamp(event.timestamp, UTC).isoformat(),
        custom_metadata=dict(custom_metadata or {}),
    )


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).lower()


def _words(text: str) -> set[str]:
    """Return the words of a text; the ASCII parts of a word of another script are words as well."""
    words = set(re.findall(r"\w+", _plain(text)))
    for word in [*words]:
        if not word.isascii():
            words.update(re.findall(r"[0-9a-z_]+", word))
    return words
