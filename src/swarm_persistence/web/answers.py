"""Answers in JSON: records as the library writes them, with their entity tags."""

from typing import Any, TypeVar, cast

from litestar import Response

from swarm_persistence import Model
from swarm_persistence.plain_json import encode_json
from swarm_persistence.web.entity_tags import tag_of

T = TypeVar("T")
M = TypeVar("M", bound=Model)


def answer(value: T, status_code: int = 200, headers: dict[str, str] | None = None) -> Response[T]:
    """Return a value as JSON."""
    body: Any = encode_json(value)
    response = Response(body, status_code=status_code, media_type="application/json", headers=headers)
    return cast("Response[T]", response)


def record_answer(record: M, status_code: int = 200) -> Response[M]:
    """Return a record; if it has a version, with an `ETag`, to be sent back as `If-Match` or `If-None-Match`."""
    tag = tag_of(record)
    return answer(record, status_code, None if tag is None else {"etag": tag})
