"""The `traceparent` of W3C's Trace Context: version, trace id, span id and flags, in hexadecimal."""

import re

from swarm_persistence.errors import SerializationError, shown

_FORM = re.compile("(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def is_trace_parent(value: object) -> bool:
    """Return whether a value is a text that names a span."""
    return isinstance(value, str) and _FORM.fullmatch(value) is not None


def checked_trace_parent(value: str | None) -> str | None:
    """Return the `trace_parent` of a task; raise `SerializationError` unless it is `None` or well-formed."""
    if value is None or is_trace_parent(value):
        return value
    expected = "W3C's traceparent: 2, 32, 16 and 2 lowercase hexadecimal digits with hyphens between, or None"
    raise SerializationError(f"task.trace_parent is {shown(value)}, expected {expected}")
