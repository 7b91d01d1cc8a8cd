"""Entity tags (RFC 9110) of records and in the conditions of requests."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from swarm_persistence.errors import shown
from swarm_persistence.web.problems import HttpProblem

ANY = "*"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TAG = r'(?:W/)?"[^"]*"'
_LIST = re.compile(rf"[\s,]*{_TAG}(?:\s*,[\s,]*{_TAG})*[\s,]*")


def tag_of(record: Any) -> str | None:
    """Return the entity tag of a record: its version, and when it was created; `None` if it has no version."""
    version = getattr(record, "version", None)
    if version is None:
        return None
    # A record that was deleted and stored again under its id begins with version 1, too.
    created = (record.created_at - _EPOCH) // timedelta(microseconds=1)
    return f'"{version}-{created:x}"'


def require_match(if_match: str | None, record: Any) -> None:
    """Raise `HttpProblem` if no tag of an `If-Match` header is that of the record, or its version alone: `"7"`.

    The comparison is strong, so weak tags match no record. Nothing, not even `*`, matches a record that is `None`.
    """
    if if_match is None:
        return
    is_any = if_match.strip() == ANY
    tags = _tags_in(if_match)
    if tags is None and not is_any:
        version = 1 if record is None else record.version
        raise HttpProblem(422, f'If-Match is {shown(if_match)}, expected *, or tags such as "{version}"')
    if record is None:
        raise HttpProblem(412, f"There is no such record, and If-Match is {shown(if_match)}.")
    if tags is not None and not {tag_of(record), f'"{record.version}"'} & {*tags}:
        raise HttpProblem(412, f"The record has version {record.version}, not {if_match}; read it again.")


def is_known(if_none_match: str, tag: str) -> bool:
    """Tell whether an `If-None-Match` header has a tag, by weak comparison; malformed tags are ignored."""
    if if_none_match.strip() == ANY:
        return True
    tags = _tags_in(if_none_match) or []
    return tag.removeprefix("W/") in {each.removeprefix("W/") for each in tags}


def _tags_in(header: str) -> list[str] | None:
    return re.findall(_TAG, header) if _LIST.fullmatch(header) else None
