"""ADK's artifacts over documents.

A version of an artifact is a document of the collection `("adk", app, "artifacts", user, "sessions", session,
filename)` or, if it belongs to the user, of `("adk", app, "artifacts", user, "user", filename)`. Its key is the
version; inline data is kept as bytes.
"""

from typing import Any, cast

from google.adk.artifacts import BaseArtifactService
from google.adk.artifacts.artifact_util import (
    get_artifact_uri,
    is_artifact_ref,
    parse_artifact_uri,
    resolve_artifact_reference,
    validate_artifact_reference_scope,
)
from google.adk.artifacts.base_artifact_service import ArtifactVersion, ensure_part
from google.adk.errors.input_validation_error import InputValidationError
from google.genai.types import Blob, Part

from swarm_persistence import DocumentModel, Storage
from swarm_persistence.contrib.json_values import dict_of, dict_or_text

ROOT = "adk"
_USER_PREFIX = "user:"
_MOST_REFERENCES = 5
_REMOVED = Part(inline_data=Blob(mime_type="application/octet-stream", data=b""))
"""What a rewind of a session saves as the latest version of an artifact that did not exist yet."""


class SwarmArtifactService(BaseArtifactService):
    """Keeps ADK's artifacts in a storage: `Runner(…, artifact_service=SwarmArtifactService(storage))`.

    An artifact whose filename begins with `user:`, or for which no session is given, belongs to the user.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def save_artifact(
        self,
        *,
        app_name: str,
        user_id: str,
        filename: str,
        artifact: Part | dict[str, Any],
        session_id: str | None = None,
        custom_metadata: dict[str, Any] | None = None,
    ) -> int:
        """Store the next version, and return its number, from 0; concurrent writers get different numbers."""
        part = ensure_part(artifact)
        collection = _collection(app_name, user_id, filename, session_id)
        value: dict[str, Any] = {
            "mime_type": _mime_type(part, app_name, user_id, session_id),
            "custom_metadata": custom_metadata or {},
        }
        data = None
        if part.inline_data is not None:
            data = part.inline_data.data or b""
            part = part.model_copy(update={"inline_data": part.inline_data.model_copy(update={"data": None})})
        value["part"] = part.model_dump(mode="json", exclude_none=True)
        kept = dict_or_text(value)
        while True:
            latest = await self._storage.list_document_keys(collection, desc=True, limit=1)
            version = int(latest[0]) + 1 if latest else 0
            document = DocumentModel.new(collection, _key(version), kept, data)
            if (await self._storage.put_documents([], if_absent=[document])).added:
                return version

    async def load_artifact(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None, version: int | None = None
    ) -> Part | None:
        """Return a version, by default the latest, or `None`; a reference to another artifact is followed."""
        for left in range(_MOST_REFERENCES, -1, -1):
            document = await self._document(_collection(app_name, user_id, filename, session_id), version)
            if document is None:
                return None
            part = Part.model_validate(dict_of(document.value)["part"])
            if part.inline_data is not None:
                part.inline_data.data = document.data
            if not is_artifact_ref(part):
                return None if part in (Part(), _REMOVED) else part
            target = resolve_artifact_reference(
                file_uri=cast(str, cast(Any, part.file_data).file_uri),
                app_name=app_name,
                user_id=user_id,
                session_id=session_id,
                remaining_depth=left,
            )
            filename, session_id, version = target.filename, target.session_id, target.version
        return None

    async def list_artifact_keys(self, *, app_name: str, user_id: str, session_id: str | None = None) -> list[str]:
        """Return the names of the user's artifacts, with their prefix `user:`, and of the session's."""
        root = (ROOT, app_name, "artifacts", user_id)
        names = [_USER_PREFIX + each[-1] for each in await self._storage.list_collections((*root, "user"))]
        if session_id is not None:
            names += [each[-1] for each in await self._storage.list_collections((*root, "sessions", session_id))]
        return sorted(names)

    async def delete_artifact(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None
    ) -> None:
        """Delete all versions, if there are any."""
        async with self._storage.transaction():
            await self._storage.delete_documents(_collection(app_name, user_id, filename, session_id))

    async def list_versions(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None
    ) -> list[int]:
        """Return the numbers of all versions."""
        keys = await self._storage.list_document_keys(_collection(app_name, user_id, filename, session_id))
        return [int(key) for key in keys]

    async def list_artifact_versions(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None
    ) -> list[ArtifactVersion]:
        """Return the metadata of all versions, without their contents."""
        documents = await self._storage.list_documents(_collection(app_name, user_id, filename, session_id))
        return [_version(document) for document in documents]

    async def get_artifact_version(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None, version: int | None = None
    ) -> ArtifactVersion | None:
        """Return the metadata of a version, by default the latest, or `None`."""
        document = await self._document(_collection(app_name, user_id, filename, session_id), version)
        return None if document is None else _version(document)

    async def _document(self, collection: tuple[str, ...], version: int | None) -> DocumentModel | None:
        if version is not None:
            return await self._storage.get_document(collection, _key(version)) if version >= 0 else None
        latest = await self._storage.list_documents(collection, desc=True, limit=1)
        return latest[0] if latest else None


def _collection(app_name: str, user_id: str, filename: str, session_id: str | None) -> tuple[str, ...]:
    root = (ROOT, app_name, "artifacts", user_id)
    if session_id is None or filename.startswith(_USER_PREFIX):
        return (*root, "user", filename.removeprefix(_USER_PREFIX))
    return (*root, "sessions", session_id, filename)


def _mime_type(part: Part, app_name: str, user_id: str, session_id: str | None) -> str | None:
    """Return the type of what is saved; refuse what is not content, or a reference that leaves the caller's scope."""
    if part.inline_data is not None:
        return part.inline_data.mime_type
    if part.text is not None:
        return "text/plain"
    if part.file_data is None:
        raise InputValidationError("artifact has neither inline_data, text nor file_data")
    if not is_artifact_ref(part):
        return part.file_data.mime_type
    target = parse_artifact_uri(cast(str, part.file_data.file_uri))
    if target is None:
        raise InputValidationError(f"Invalid artifact reference URI: {part.file_data.file_uri}")
    validate_artifact_reference_scope(app_name=app_name, user_id=user_id, session_id=session_id, parsed_uri=target)
    return None


def _version(document: DocumentModel) -> ArtifactVersion:
    _, app_name, _, user_id, scope, *names = document.collection
    session_id = names[0] if scope == "sessions" else None
    value = dict_of(document.value)
    return ArtifactVersion(
        version=int(document.key),
        canonical_uri=get_artifact_uri(app_name, user_id, names[-1], int(document.key), session_id),
        custom_metadata=value["custom_metadata"],
        create_time=document.created_at.timestamp(),
        mime_type=value["mime_type"],
    )


def _key(version: int) -> str:
    return f"{version:012}"
