"""The trace of a caller, which a request of the Model Context Protocol names in its `_meta`."""

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from swarm_persistence import Storage

_propagator = TraceContextTextMapPropagator()


def caller_trace_parent(storage: Storage) -> str | None:
    """Return what the task that a caller stores carries on; `None` if the storage, instrumented, sets it itself.

    The package `mcp` has made what the caller names the current span, also if nothing is exported.
    """
    if storage.instrumentation is not None:
        return None
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")
