"""Traces the storage of a command if its process has set up OpenTelemetry."""

import sys
from typing import Any

from swarm_persistence.storage import Storage


def instrument_if_provided(storage: Storage) -> None:
    """Trace and measure a storage if a tracer provider is set: by `opentelemetry-instrument`, or by imported handlers.

    Without one, nothing is loaded, and the storage is left as it is.
    """
    if _provider() is None:
        return
    from swarm_persistence.telemetry import instrument

    instrument(storage)


def export_last_spans() -> None:
    """Export what the provider still holds: it would do so at interpreter exit, which `os._exit` skips."""
    shut_down = getattr(_provider(), "shutdown", None)  # OpenTelemetry's SDK has it, its API does not
    if shut_down is not None:
        shut_down()


def _provider() -> Any:
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    provider = trace.get_tracer_provider()
    return None if isinstance(provider, trace.ProxyTracerProvider) else provider
