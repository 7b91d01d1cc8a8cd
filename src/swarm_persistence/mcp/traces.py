"""The trace context of a caller, from the `_meta` of an MCP request."""

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from swarm_persistence import Storage

_propagator = TraceContextTextMapPropagator()


def caller_trace_parent(storage: Storage) -> str | None:
    """Return the `trace_parent` for a task that a caller stores; `None` if an instrumented storage sets it itself.

    The package `mcp` makes the caller's span the current one, even if nothing is exported.
    """
    if storage.instrumentation is not None:
        return None
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")
