"""Traces and metrics of a storage and its workers by OpenTelemetry; the extra `otel` brings its API."""

try:
    import opentelemetry.metrics
    import opentelemetry.trace  # noqa: F401
except ImportError as error:
    raise ImportError("telemetry needs opentelemetry-api; pip install 'swarm-persistence[otel]' brings it") from error

from swarm_persistence.telemetry.instrumenting import instrument, uninstrument

__all__ = ["instrument", "uninstrument"]
