"""Makes a change once, however often it is sent: the answer to a request with an `Idempotency-Key` is stored.

The answer is stored as a document, in the transaction of the change itself. So there are both or neither, whichever
server of the swarm a repetition reaches, and however the first request ended.
"""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Any, TypeVar, cast

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import HeaderParameter

from swarm_persistence import DocumentModel, Model, Storage
from swarm_persistence.clock import now
from swarm_persistence.web.answers import record_answer
from swarm_persistence.web.problems import HttpProblem

T = TypeVar("T")
M = TypeVar("M", bound=Model)

COLLECTION = ("http", "idempotency")
KEPT_FOR = timedelta(hours=24)
_LONGEST_KEY = 255

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="Any text of yours for this change: sent again within a day, it is not made again, and has the "
        "same answer.",
    ),
]


class _KnownKeyError(Exception):
    """A change with this key was made before."""


class IdempotentRequest:
    """The key of a request, and the fingerprint that distinguishes it from other requests with the key."""

    def __init__(self, storage: Storage, key: str | None, fingerprint: str) -> None:
        self._storage = storage
        self._key = key
        self._fingerprint = fingerprint

    @property
    def has_key(self) -> bool:
        """Whether the caller may repeat the request."""
        return self._key is not None

    async def once(self, change: Callable[[], Awaitable[Response[T]]]) -> Response[T]:
        """Make a change and return its answer, or return the stored answer.

        With a key, `change` is called within a transaction, more than once if that collides with another one. Its
        errors are not stored.

        Raises:
            HttpProblem: another request had this key.

        """
        if self._key is None:
            return await change()
        key = hashlib.sha256(self._key.encode()).hexdigest()

        async def change_once() -> Response[T]:
            # The first write decides: another server that has written it first is waited for.
            kept = DocumentModel.new(COLLECTION, key, expires_at=now() + KEPT_FOR)
            if (await self._storage.put_documents([], if_absent=[kept])).kept:
                raise _KnownKeyError
            response = await change()
            kept.value = self._kept(response)
            await self._storage.put_documents([kept])
            return response

        try:
            return await self._storage.run_transaction(change_once)
        except _KnownKeyError:
            return await self._answer_again(key)

    async def record_once(self, change: Callable[[], Awaitable[M]]) -> Response[M]:
        """Make a change that returns a record, and answer with the record, as `once` does."""

        async def change_and_answer() -> Response[M]:
            return record_answer(await change())

        return await self.once(change_and_answer)

    def _kept(self, response: Response[Any]) -> dict[str, Any]:
        body = cast(bytes, response.content)
        return {
            "request": self._fingerprint,
            "status": response.status_code,
            "headers": dict(response.headers),
            "body": body.decode(),
        }

    async def _answer_again(self, key: str) -> Response[T]:
        document = await self._storage.get_document(COLLECTION, key)
        if document is None:
            raise HttpProblem(409, f"The Idempotency-Key {self._key!r} has just expired; send the request again.")
        kept = document.value
        if kept["request"] != self._fingerprint:
            raise HttpProblem(422, f"The Idempotency-Key {self._key!r} belongs to another request; take a new one.")
        headers = {**kept["headers"], "idempotency-replayed": "true"}
        body: Any = kept["body"].encode()
        media_type = "application/json" if body else None
        return Response(body, status_code=kept["status"], headers=headers, media_type=media_type)


async def idempotent_request(
    request: Request[Any, Any, Any], storage: NamedDependency[Storage], idempotency_key: IdempotencyKey = None
) -> IdempotentRequest:
    """Return the idempotent request for a handler."""
    if idempotency_key is not None and not 0 < len(idempotency_key) <= _LONGEST_KEY:
        raise HttpProblem(422, f"The Idempotency-Key has {len(idempotency_key)} characters, expected 1 to 255.")
    text = f"{request.method} {request.url.path}\n".encode() + await request.body()
    return IdempotentRequest(storage, idempotency_key, hashlib.sha256(text).hexdigest())
