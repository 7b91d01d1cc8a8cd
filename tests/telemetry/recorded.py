"""What OpenTelemetry's SDK has exported, in memory."""

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Recorded:
    """Providers, and what they have exported."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meter_provider = MeterProvider([self._metrics])
        self.tracer = self.tracer_provider.get_tracer("test")

    def clear(self) -> None:
        """Forget the spans so far."""
        self._spans.clear()

    @property
    def names(self) -> list[str]:
        """Return the names of the spans, in the order of their ends."""
        return [span.name for span in self._spans.get_finished_spans()]

    def span(self, name: str) -> ReadableSpan:
        """Return the only span of a name."""
        (span,) = self.spans(name)
        return span

    def spans(self, name: str) -> list[ReadableSpan]:
        """Return the spans of a name."""
        return [span for span in self._spans.get_finished_spans() if span.name == name]

    def points(self, metric: str) -> list[Any]:
        """Return the points of a metric."""
        data = self._metrics.get_metrics_data()
        found = [
            each
            for resource in (() if data is None else data.resource_metrics)
            for scope in resource.scope_metrics
            for each in scope.metrics
            if each.name == metric
        ]
        return [point for each in found for point in each.data.data_points]

    def total(self, metric: str, labels: Mapping[str, str] | None = None) -> float:
        """Return the sum of a counter's points that have these attributes."""
        return sum(
            float(point.value)
            for point in self.points(metric)
            if {*(labels or {}).items()} <= {*point.attributes.items()}
        )


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    """Return the attributes of a span."""
    assert span.attributes is not None
    return span.attributes


def trace_parent(span: ReadableSpan) -> str:
    """Return what `trace_parent` of a task is that was stored in this span."""
    context = span.get_span_context()
    assert context is not None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
