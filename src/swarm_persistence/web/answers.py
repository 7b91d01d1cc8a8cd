"""Answers in JSON: records as the library writes them, with their version as an entity tag."""

from typing import Any, TypeVar, cast

from litestar import Response

from swarm_persistence import Model
from swarm_persistence.plain_json import encode_json
from swarm_persistence.web.problems import HttpProblem

T = TypeVar("T")
M = TypeVar("M", bound=Model)


def answer(value: T, status_code: int = 200, headers: dict[str, str] | None = None) -> Response[T]:
    """Return a value as JSON."""
    body: Any = encode_json(value)
    response = Response(body, status_code=status_code, media_type="application/json", headers=headers)
    return cast("Response[T]", response)


def record_answer(record: M, status_code: int = 200) -> Response[M]:
    """Return a record; if it has a version, as the `ETag` as well, to be given back as `If-Match`."""
    version = getattr(record, "version", None)
    return answer(record, status_code, None if version is None else {"etag": f'"{version}"'})


def require_match(if_match: str | None, record: Any) -> None:
    """Raise `HttpProblem` if the record has another version than the header asks for."""
    if if_match is None or if_match.strip() == "*":
        return
    wanted = {each.strip().removeprefix("W/").strip('"') for each in if_match.split(",")}
    if str(record.version) not in wanted:
        raise HttpProblem(412, f"The record has version {record.version}, not {if_match}; read it again.")
