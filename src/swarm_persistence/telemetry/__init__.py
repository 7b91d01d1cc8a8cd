"""Telemetry of a storage and its workers: OpenTelemetry (extra `otel`), and metrics for Prometheus (`prometheus`)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swarm_persistence.telemetry.instrumenting import instrument, uninstrument
    from swarm_persistence.telemetry.prometheus import prometheus_text

__all__ = ["instrument", "prometheus_text", "uninstrument"]


def __getattr__(name: str) -> Any:
    # Loaded by their first use, as each needs a package of its own.
    if name in ("instrument", "uninstrument"):
        from swarm_persistence.telemetry import instrumenting

        return getattr(instrumenting, name)
    if name == "prometheus_text":
        from swarm_persistence.telemetry.prometheus import prometheus_text

        return prometheus_text
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
