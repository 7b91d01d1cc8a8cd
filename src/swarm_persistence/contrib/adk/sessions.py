"""ADK's sessions over documents.

A session is a document of the collection `("adk", app, "sessions", user)`, its events are documents of `("adk", app,
"events", user, session)`, numbered as they were appended, their label the event's id. Each value of the app's state is
a document of `("adk", app, "app_state")`, each of the user's of `("adk", app, "user_state", user)`: writers of
different keys never meet.
"""

import asyncio
import uuid
from datetime import datetime
from typing import Any
from weakref import WeakValueDictionary

from google.adk.errors import StaleSessionError
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.adk.events import Event
from google.adk.sessions import BaseSessionService, Session, State
from google.adk.sessions.base_session_service import GetSessionConfig, ListSessionsResponse
from pydantic import PrivateAttr
from pydantic_core import to_jsonable_python

from swarm_persistence import ConflictError, DocumentModel, NotFoundError, Storage, now
from swarm_persistence.contrib.json_values import content_of_plain, has_content, replace_content, value_of

ROOT = "adk"


class StoredSession(Session):
    """A session with the stored version that it is a copy of."""

    _revision: tuple[datetime, int] | None = PrivateAttr(default=None)


class SwarmSessionService(BaseSessionService):
    """Keeps ADK's sessions in a storage: `Runner(…, session_service=SwarmSessionService(storage))`.

    Within `async with storage.transaction()`, appended events belong to the transaction.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._locks: WeakValueDictionary[Any, asyncio.Lock] = WeakValueDictionary()

    async def create_session(
        self, *, app_name: str, user_id: str, state: dict[str, Any] | None = None, session_id: str | None = None
    ) -> Session:
        """Store a new session, and the values of the app's and the user's state.

        Raises:
            AlreadyExistsError: the user has a session of this id; nothing was written.

        """
        id = session_id if session_id and session_id.strip() else str(uuid.uuid4())
        shared, own = _scoped(app_name, user_id, state or {})
        content = content_of_plain({"state": own, "last_update_time": now().timestamp(), "events": 0})
        document = DocumentModel.new((ROOT, app_name, "sessions", user_id), id, **content)
        async with self._storage.transaction():
            counts = await self._storage.put_documents(shared, if_absent=[document])
            if counts.kept:
                raise AlreadyExistsError(f"Session with id {id} already exists.")
        return self._session(document, await self._app_state(app_name), await self._user_state(app_name, user_id))

    async def get_session(
        self, *, app_name: str, user_id: str, session_id: str, config: GetSessionConfig | None = None
    ) -> Session | None:
        """Return the session with its events, the oldest first, or `None`."""
        document = await self._storage.get_document((ROOT, app_name, "sessions", user_id), session_id)
        if document is None:
            return None
        session = self._session(document, await self._app_state(app_name), await self._user_state(app_name, user_id))
        session.events = await self._events(document, config or GetSessionConfig())
        return session

    async def list_sessions(self, *, app_name: str, user_id: str | None = None) -> ListSessionsResponse:
        """Return the sessions of a user or of all users without their events, the last one updated last."""
        users = (user_id,) if user_id is not None else ()
        documents = await self._storage.list_documents((ROOT, app_name, "sessions", *users), below=True)
        user_states: dict[str, dict[str, Any]] = {}
        for each in await self._storage.list_documents((ROOT, app_name, "user_state", *users), below=True):
            user_states.setdefault(each.collection[3], {})[State.USER_PREFIX + each.key] = value_of(each)
        app_state = await self._app_state(app_name)
        found = [self._session(each, app_state, user_states.get(each.collection[3], {})) for each in documents]
        found.sort(key=lambda session: (session.last_update_time, session.user_id, session.id))
        return ListSessionsResponse(sessions=[*found])

    async def delete_session(self, *, app_name: str, user_id: str, session_id: str) -> None:
        """Delete the session and its events, if there is one; the app's and the user's state stay."""
        async with self._storage.transaction():
            await self._storage.delete_documents((ROOT, app_name, "sessions", user_id), keys=[session_id])
            await self._storage.delete_documents((ROOT, app_name, "events", user_id, session_id))

    async def get_user_state(self, *, app_name: str, user_id: str) -> dict[str, Any]:
        """Return the user's state; its keys have no prefix."""
        state = await self._user_state(app_name, user_id)
        return {key.removeprefix(State.USER_PREFIX): value for key, value in state.items()}

    async def append_event(self, session: Session, event: Event) -> Event:
        """Store an event and its state changes atomically, and add them to the session.

        Values of the scope `temp:` go into the caller's session only. An event that is stored already, as after an
        answer that was lost, is not stored again.

        Raises:
            SessionNotFoundError: the session is not stored, or has been deleted.
            StaleSessionError: the stored session has changed since this copy was read; nothing was written.

        """
        if event.partial:
            return event
        async with self._lock(session):  # parallel branches of a run share one session
            temporary = {
                key: value for key, value in event.actions.state_delta.items() if key.startswith(State.TEMP_PREFIX)
            }
            lasting = {key: value for key, value in event.actions.state_delta.items() if key not in temporary}
            trimmed = event.model_copy(update={"actions": event.actions.model_copy(update={"state_delta": lasting})})
            stored = await self._store(session, trimmed)
            event.actions.state_delta = lasting
            session.state.update(temporary)
            if stored is None:
                return event
            session.state.update(lasting)
            session.events.append(event)
            session.last_update_time = event.timestamp
            if isinstance(session, StoredSession):
                session._revision = _revision(stored)
        return event

    async def _store(self, session: Session, event: Event) -> DocumentModel | None:
        """Return the new version of the stored session, or `None` if it has the event already."""
        sessions = (ROOT, session.app_name, "sessions", session.user_id)
        events = (ROOT, session.app_name, "events", session.user_id, session.id)
        content = content_of_plain(event.model_dump(mode="json", exclude_none=True))
        shared, own = _scoped(session.app_name, session.user_id, event.actions.state_delta)
        try:
            async with self._storage.transaction():
                document = await self._storage.get_document(sessions, session.id)
                if document is None:
                    raise SessionNotFoundError(f"Session {session.id} not found.")
                equal = await self._storage.list_documents(events, label=event.id)
                if any(has_content(each, content) for each in equal):
                    return None
                await self._refuse_stale(session, document)
                value = value_of(document)
                place, state = value["events"], value["state"] | own
                replace_content(document, {"last_update_time": event.timestamp, "events": place + 1, "state": state})
                await self._storage.update_document(document)
                new = DocumentModel.new(events, _key(place), label=event.id, **content)
                await self._storage.put_documents([new, *shared])
        except ConflictError as error:
            raise _stale(session) from error
        except NotFoundError as error:
            raise SessionNotFoundError(f"Session {session.id} not found.") from error
        return document

    async def _refuse_stale(self, session: Session, document: DocumentModel) -> None:
        """Compare versions, or the last events where the caller constructed the session itself."""
        if isinstance(session, StoredSession) and session._revision is not None:
            if session._revision != _revision(document):
                raise _stale(session)
            return
        events = (ROOT, session.app_name, "events", session.user_id, session.id)
        last = await self._storage.list_documents(events, desc=True, limit=1)
        if [each.label for each in last] != [each.id for each in session.events[-1:]]:
            raise _stale(session)

    async def _events(self, document: DocumentModel, config: GetSessionConfig) -> list[Event]:
        """Return the events that this version of the session has, without those appended since it was read."""
        if config.num_recent_events == 0:
            return []
        _, app_name, _, user_id = document.collection
        latest_first = await self._storage.list_documents(
            (ROOT, app_name, "events", user_id, document.key),
            before=_key(value_of(document)["events"]),
            desc=True,
            limit=config.num_recent_events,
        )
        events = [Event.model_validate(value_of(each)) for each in reversed(latest_first)]
        earliest = config.after_timestamp
        return events if earliest is None else [event for event in events if event.timestamp >= earliest]

    async def _app_state(self, app_name: str) -> dict[str, Any]:
        found = await self._storage.list_documents((ROOT, app_name, "app_state"))
        return {State.APP_PREFIX + each.key: value_of(each) for each in found}

    async def _user_state(self, app_name: str, user_id: str) -> dict[str, Any]:
        found = await self._storage.list_documents((ROOT, app_name, "user_state", user_id))
        return {State.USER_PREFIX + each.key: value_of(each) for each in found}

    def _session(self, document: DocumentModel, app_state: dict[str, Any], user_state: dict[str, Any]) -> StoredSession:
        _, app_name, _, user_id = document.collection
        value = value_of(document)
        state, time = value["state"] | app_state | user_state, value["last_update_time"]
        session = StoredSession(id=document.key, app_name=app_name, user_id=user_id, state=state, last_update_time=time)
        session._revision = _revision(document)
        return session

    def _lock(self, session: Session) -> asyncio.Lock:
        key = (asyncio.get_running_loop(), session.app_name, session.user_id, session.id)
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock


def _scoped(app_name: str, user_id: str, state: dict[str, Any]) -> tuple[list[DocumentModel], dict[str, Any]]:
    """Return the documents of the app's and the user's values, and the session's own values."""
    shared, own = [], {}
    # NaN stays what it is, which `model_dump` would turn into null.
    plain = to_jsonable_python(state, bytes_mode="base64", serialize_unknown=True)
    for key, value in plain.items():
        if key.startswith(State.APP_PREFIX):
            name = key.removeprefix(State.APP_PREFIX)
            shared.append(DocumentModel.new((ROOT, app_name, "app_state"), name, **content_of_plain(value)))
        elif key.startswith(State.USER_PREFIX):
            name = key.removeprefix(State.USER_PREFIX)
            shared.append(DocumentModel.new((ROOT, app_name, "user_state", user_id), name, **content_of_plain(value)))
        elif not key.startswith(State.TEMP_PREFIX):
            own[key] = value
    return shared, own


def _key(place: int) -> str:
    return f"{place:012}"


def _revision(document: DocumentModel) -> tuple[datetime, int]:
    return document.created_at, document.version


def _stale(session: Session) -> StaleSessionError:
    return StaleSessionError(
        f"Session {session.id} has changed in the storage since this copy was read; read it again with get_session."
    )
