"""Renders templates: every value of a record is escaped, and links are below the mount path."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Response

from swarm_persistence import TaskPriority, TaskStatus, __version__
from swarm_persistence.clock import now
from swarm_persistence.web.access import Visit
from swarm_persistence.web.paths import path_part

LONGEST_JSON = 20_000
"""So many characters of a payload or result are shown; the API returns all of it."""

SHORT_ID = 14

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=lambda value: value.value if isinstance(value, Enum) else value,
)
_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))


def render(visit: Visit, template: str, *, status_code: int = 200, **values: Any) -> Response[str]:
    """Return the answer with a page; `values` are those of `page_text` and of the template."""
    return Response(page_text(visit, template, **values), media_type=MediaType.HTML, status_code=status_code)


def page_text(
    visit: Visit, template: str, *, is_live: bool = True, again_in: float | None = None, **values: Any
) -> str:
    """Return a page, which a browser reloads after changes, or after `again_in` seconds.

    The answer to a form is not live: its address shows no page.
    """

    def url(path: str, parameters: Mapping[str, object] | None = None, **more: object) -> str:
        given = {name: value for name, value in {**(parameters or {}), **more}.items() if value not in (None, "", ())}
        return visit.url(path) + (f"?{urlencode(given, doseq=True)}" if given else "")

    return _templates.get_template(template).render(
        visit=visit, url=url, present=now(), is_live=is_live, again_in=again_in, **values
    )


def redirect(visit: Visit, path: str) -> Response[None]:
    """Redirect the browser to a page; `path` is below the mount, with its query."""
    return Response(None, status_code=303, headers={"location": visit.url(path)})


def duration(seconds: float | None) -> str:
    """Return a duration as people say it: `3 s`, `4.2 min`."""
    if seconds is None:
        return "–"
    for length, unit in _UNITS:
        if seconds >= length:
            number = seconds / length
            return f"{number:.0f} {unit}" if number >= 10 else f"{number:.1f} {unit}"
    return f"{seconds * 1000:.0f} ms"


def period(seconds: float) -> str:
    """Return a duration that people have chosen: `5 min`, where a measured one is `5.0 min`."""
    return duration(seconds).replace(".0 ", " ")


def ago(moment: datetime) -> str:
    """Return how long ago a moment was, or how far ahead it is; the page's script keeps it current."""
    seconds = (now() - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    length, unit = next(each for each in _UNITS if abs(seconds) >= each[0])
    text = f"{int(abs(seconds) / length)} {unit}"
    return f"{text} ago" if seconds > 0 else f"in {text}"


def exact(moment: datetime) -> str:
    """Return a moment to the millisecond, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03} UTC"


def json_to_edit(value: object) -> str:
    """Return JSON in lines, whole."""
    return json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False)


def pretty(value: object) -> str:
    """Return indented JSON; text that is too long is cut and ends with a note."""
    text = json_to_edit(value)
    if len(text) <= LONGEST_JSON:
        return text
    return f"{text[:LONGEST_JSON]}\n… {len(text) - LONGEST_JSON:,} more characters; the API gives all of it"


def one_line(value: object, longest: int = 120) -> str:
    """Return JSON in one short line."""
    text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def short(id: str) -> str:
    """Return an id, or the end of a long one: ids of one hour begin alike."""
    return id if len(id) <= SHORT_ID else f"…{id[-8:]}"


def local(moment: datetime, zone: str) -> str:
    """Return a moment in a time zone, or in UTC if this machine does not know the zone."""
    try:
        there = moment.astimezone(UTC if zone == "UTC" else ZoneInfo(zone))
    except (LookupError, ValueError, OSError):
        there = moment.astimezone(UTC)
    return f"{there:%a %Y-%m-%d %H:%M:%S %Z}"


def dump(data: bytes, longest: int = 256) -> str:
    """Return a hex dump of the first bytes, with their ASCII characters."""
    lines = []
    for start in range(0, min(len(data), longest), 16):
        row = data[start : min(start + 16, longest)]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:04x}  {row.hex(' '):<47}  {letters}")
    return "\n".join(lines)


def size(count: int) -> str:
    """Return a number of bytes."""
    number = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


_templates.filters |= {
    "ago": ago,
    "dump": dump,
    "duration": duration,
    "exact": exact,
    "json": json.dumps,
    "local": local,
    "one_line": one_line,
    "part": path_part,
    "period": period,
    "pretty": pretty,
    "short": short,
    "size": size,
    "thousands": lambda number: f"{number:,}",
}
_templates.globals |= {
    "priorities": [*reversed(TaskPriority)],
    "statuses": [*TaskStatus],
    "version": __version__,
}
