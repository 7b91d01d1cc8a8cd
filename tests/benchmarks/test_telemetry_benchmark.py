"""The benchmark of telemetry measures what it says: storages that make spans, and storages that make none."""

from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from benchmarks import telemetry


async def test_each_state_is_measured_and_only_the_last_one_makes_spans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = InMemorySpanExporter()

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr(telemetry, "TracerProvider", lambda: provider)
    monkeypatch.setattr(telemetry, "_CALLS", {1: 2, 100: 100})

    times = await telemetry.measure(tmp_path, 1)

    assert len(times) == len(telemetry.WORKS) * len(telemetry.CALLERS) * len(telemetry.STATES)
    assert min(times.values()) > 0
    names = [span.name for span in spans.get_finished_spans()]
    assert any("events" in name for name in names)
    assert any("tasks" in name for name in names)
