"""Errors as bodies of the type application/problem+json (RFC 9457), with the library's messages."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException, ValidationException
from litestar.types import ExceptionHandlersMap

from swarm_persistence import (
    ClosedError,
    ConflictError,
    DatabaseError,
    DependencyCycleError,
    InvalidQueryError,
    LeaseLostError,
    MigrationError,
    NotFoundError,
    OutcomeUnknownError,
    PoolError,
    SerializationError,
    StorageError,
    UnreadableError,
)
from swarm_persistence.plain_json import encode_json
from swarm_persistence.web.caller import Caller

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = "1"

_log = logging.getLogger(__name__)

_STATUS_CODES: dict[type[StorageError], int] = {
    NotFoundError: 404,
    ConflictError: 409,
    LeaseLostError: 409,
    DependencyCycleError: 422,
    InvalidQueryError: 422,
    SerializationError: 422,
    UnreadableError: 500,
    ClosedError: 503,
    PoolError: 503,
    MigrationError: 503,
    OutcomeUnknownError: 500,
    DatabaseError: 500,
}
"""The status by the nearest class of an error; 500 if no class is listed."""


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A problem detail: what went wrong with a request."""

    type: str = "about:blank"
    """`about:blank`, or `urn:swarm-persistence:` and the class of the library's error."""
    title: str
    status: int
    detail: str


class HttpProblem(HTTPException):
    """An error that is answered with a problem."""

    def __init__(self, status_code: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail=detail, status_code=status_code, headers=dict(headers or {}))


def problem_body(status_code: int, detail: str, type: str = "about:blank") -> bytes:
    """Return the body of a problem."""
    title = HTTPStatus(status_code).phrase
    return encode_json(Problem(type=type, title=title, status=status_code, detail=detail))


def nothing_at(scope: Any) -> str:
    """Return the problem's detail for a path without a route."""
    return f"There is nothing at {Caller(scope).link}."


def problem_in(body: bytes) -> Problem:
    """Return the problem that a body holds."""
    return msgspec.json.decode(body, type=Problem)


def problem_of(error: StorageError) -> tuple[int, bytes]:
    """Return the status code and the body for an error of the library."""
    status_code = next((_STATUS_CODES[kind] for kind in type(error).__mro__ if kind in _STATUS_CODES), 500)
    return status_code, problem_body(status_code, str(error), f"urn:swarm-persistence:{type(error).__name__}")


def _of_storage(_request: Request[Any, Any, Any], error: StorageError) -> Response[bytes]:
    status_code, body = problem_of(error)
    if status_code >= 500:
        # While a database is away, each request would add the same traceback to the log, a page four times a second.
        _log.error("a request failed: %s", error, exc_info=None if status_code == 503 else error)
    headers = {"Retry-After": RETRY_SECONDS} if status_code == 503 else None
    return Response(body, status_code=status_code, media_type=MEDIA_TYPE, headers=headers)


def _of_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    status_code, detail = error.status_code, error.detail or HTTPStatus(error.status_code).phrase
    if isinstance(error, ValidationException):
        status_code, detail = 422, _reasons(request, error)
    elif isinstance(error, NotFoundException):
        detail = nothing_at(request.scope)
    elif isinstance(error, MethodNotAllowedException):
        detail = f"{request.method} is not possible at {Caller(request.scope).link}."
    elif status_code >= 500 and not isinstance(error, HttpProblem):
        _log.error("a request failed", exc_info=error)
        detail = "The request failed unexpectedly; the server's log says why."
    body = problem_body(status_code, detail)
    return Response(body, status_code=status_code, media_type=MEDIA_TYPE, headers=error.headers)


def _of_unreadable_body(_request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    detail = "The body is nested too deep." if isinstance(error, RecursionError) else f"The body is not UTF-8: {error}"
    return Response(problem_body(400, detail), status_code=400, media_type=MEDIA_TYPE)


def _of_other(_request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    _log.error("a request failed unexpectedly", exc_info=error)
    body = problem_body(500, "The request failed unexpectedly; the server's log says why.")
    return Response(body, status_code=500, media_type=MEDIA_TYPE)


def _reasons(request: Request[Any, Any, Any], error: ValidationException) -> str:
    extra: Any = error.extra
    reasons = [f"{each.get('key', '?')}: {each.get('message', '?')}" for each in extra or () if isinstance(each, dict)]
    if reasons and not _has_body(request) and request.method not in ("GET", "HEAD"):
        reasons = [each for each in reasons if not each.startswith("data: ")] or ["The request has no body."]
    return "; ".join(reasons) or error.detail


def _has_body(request: Request[Any, Any, Any]) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    StorageError: _of_storage,
    HTTPException: _of_http,
    RecursionError: _of_unreadable_body,
    UnicodeDecodeError: _of_unreadable_body,
    Exception: _of_other,
}
