"""The Claude Agent SDK's session store over documents; needs `pip install "swarm-persistence[claude]"`.

The summary of a session is a document of the collection `("claude", project)`, its key the session's id. The entries of
its transcript are documents of `("claude", project, session, "main")`, those of a nested agent of
`("claude", project, session, "sub", subpath)`, in the order of their arrival; the key of an entry is its `uuid`.
"""

from datetime import datetime, timedelta
from uuid import uuid4

from swarm_persistence import ConflictError, DocumentModel, NotFoundError, Storage, now, timedelta_of
from swarm_persistence.contrib.json_values import content_of, value_of

try:
    from claude_agent_sdk import (
        SessionKey,
        SessionListSubkeysKey,
        SessionStore,
        SessionStoreEntry,
        SessionStoreListEntry,
        SessionSummaryEntry,
        fold_session_summary,
    )
except ImportError as error:
    raise ImportError('SwarmSessionStore needs its SDK: pip install "swarm-persistence[claude]"') from error

ROOT = "claude"


class SwarmSessionStore(SessionStore):
    """Keeps the transcripts of Claude's sessions: `ClaudeAgentOptions(session_store=SwarmSessionStore(storage))`.

    Any number of processes may append to one session.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def append(self, key: SessionKey, entries: list[SessionStoreEntry]) -> None:
        """Append the entries whose `uuid` is not in the transcript yet, and update the summary with them."""
        collection = _transcript(key)
        documents = [DocumentModel.new(collection, _key_of(entry), **content_of(entry)) for entry in entries]
        if not documents:
            return
        if key.get("subpath") is not None:
            await self._storage.put_documents((), if_absent=documents)
            return
        async with self._storage.transaction():
            summary = await self._locked_summary(key)
            await self._storage.put_documents((), if_absent=documents)
            new = [entry for entry, document in zip(entries, documents, strict=True) if document.version]
            if new:
                await self._fold(summary, key, new)

    async def load(self, key: SessionKey) -> list[SessionStoreEntry] | None:
        """Return the entries of a transcript in their order, or `None` if there are none."""
        documents = await self._storage.list_documents(_transcript(key), by_arrival=True)
        return [value_of(document) for document in documents] or None

    async def list_sessions(self, project_key: str) -> list[SessionStoreListEntry]:
        """Return the ids of a project's sessions, and when each was last written."""
        summaries = await self.list_session_summaries(project_key)
        return [{"session_id": each["session_id"], "mtime": each["mtime"]} for each in summaries]

    async def list_session_summaries(self, project_key: str) -> list[SessionSummaryEntry]:
        """Return the summaries of a project's sessions."""
        documents = await self._storage.list_documents((ROOT, project_key))
        return [_summary(document, value_of(document)) for document in documents]

    async def list_subkeys(self, key: SessionListSubkeysKey) -> list[str]:
        """Return the subpaths of a session's nested agents."""
        collections = await self._storage.list_collections((*_session(key), "sub"))
        return [collection[-1] for collection in collections]

    async def delete(self, key: SessionKey) -> None:
        """Delete a session with its nested agents, or one nested agent's transcript, in short writes."""
        if key.get("subpath") is not None:
            await self._storage.delete_documents(_transcript(key))
            return
        await self._storage.delete_documents(_session(key), below=True)
        # Last, so that an interrupted deletion is still listed and can be repeated.
        await self._storage.delete_documents((ROOT, key["project_key"]), keys=[key["session_id"]])

    async def prune(self, older_than: float | timedelta) -> int:
        """Delete the sessions of all projects last written more than this many seconds ago; return how many.

        Each session is deleted in a transaction of its own. One that is written meanwhile, or of which a nested agent
        has been written since, stays. Of a session that was deleted while a nested agent wrote, the rest counts as one.
        """
        last = now() - timedelta_of(older_than, "older_than")
        pruned = 0
        for project in await self._storage.list_collections((ROOT,), depth=2):
            summaries = await self._storage.list_documents(project)
            listed = {summary.key for summary in summaries}
            sessions = [each[2] for each in await self._storage.list_collections(project, depth=3) if len(each) > 2]
            rests = [DocumentModel.new(project, session) for session in sessions if session not in listed]
            for summary in [*(each for each in summaries if each.updated_at < last), *rests]:
                if not await self._has_newer_agents(summary, last):
                    pruned += await self._delete_unchanged(summary)
        return pruned

    async def _has_newer_agents(self, summary: DocumentModel, last: datetime) -> bool:
        for collection in await self._storage.list_collections((*summary.collection, summary.key, "sub")):
            latest = await self._storage.list_documents(collection, by_arrival=True, desc=True, limit=1)
            if any(entry.updated_at >= last for entry in latest):
                return True
        return False

    async def _delete_unchanged(self, summary: DocumentModel) -> bool:
        """Delete a session unless it was written since its summary was read; return whether it was deleted."""
        try:
            async with self._storage.transaction():
                if summary.version:
                    await self._storage.update_document(summary)
                elif not (await self._storage.put_documents((), if_absent=[summary])).added:
                    return False
                await self.delete({"project_key": summary.collection[1], "session_id": summary.key})
        except (ConflictError, NotFoundError):
            return False
        return True

    async def _fold(self, summary: DocumentModel, key: SessionKey, new: list[SessionStoreEntry]) -> None:
        data = value_of(summary)
        folded = fold_session_summary(None if data is None else _summary(summary, data), key, new)
        document = DocumentModel.new(summary.collection, summary.key, **content_of(folded["data"]))
        await self._storage.put_documents([document])

    async def _locked_summary(self, key: SessionKey) -> DocumentModel:
        """Return the document of a session's summary, locked until the end of this transaction."""
        collection, session_id = (ROOT, key["project_key"]), key["session_id"]
        fresh = DocumentModel.new(collection, session_id)
        counts = await self._storage.put_documents((), if_absent=[fresh])
        if counts.added:
            return fresh
        # PostgreSQL locks the row by a write, not by a read.
        await self._storage.touch_documents(collection, keys=[session_id], expires_at=None)
        stored = await self._storage.get_document(collection, session_id)
        assert stored is not None, "it was touched in this transaction"
        return stored


def _session(key: SessionKey | SessionListSubkeysKey) -> tuple[str, ...]:
    return (ROOT, key["project_key"], key["session_id"])


def _transcript(key: SessionKey) -> tuple[str, ...]:
    subpath = key.get("subpath")
    if subpath is None:
        return (*_session(key), "main")
    if not subpath:
        raise ValueError("key['subpath'] is '', expected a nested agent's path, or no subpath for the main transcript")
    return (*_session(key), "sub", subpath)


def _key_of(entry: SessionStoreEntry) -> str:
    """Return the key of an entry: the SDK may send one again, with the same `uuid`; titles and tags have none."""
    return entry.get("uuid") or f"-{uuid4()}"


def _summary(document: DocumentModel, data: dict[str, object]) -> SessionSummaryEntry:
    return {"session_id": document.key, "mtime": int(document.updated_at.timestamp() * 1000), "data": data}
