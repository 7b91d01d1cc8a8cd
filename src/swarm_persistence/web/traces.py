"""The trace of a caller, from the header `traceparent` of W3C's Trace Context."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from swarm_persistence import Storage
from swarm_persistence.models.trace_parents import is_trace_parent


def trace_parent_of(scope: Any) -> str | None:
    """Return the `traceparent` of a request; `None` if it has none, several, or one that is malformed."""
    given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"]
    return given[0] if len(given) == 1 and is_trace_parent(given[0]) else None


def continued(scope: Any, storage: Storage) -> AbstractContextManager[None]:
    """Return a context in which the spans of an instrumented storage continue the caller's trace."""
    instrumentation = storage.instrumentation
    trace_parent = None if instrumentation is None else trace_parent_of(scope)
    if instrumentation is None or trace_parent is None:
        return nullcontext()
    return instrumentation.continuing(trace_parent)
