"""Switches traces and metrics of a storage on and off."""

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    raise ImportError("telemetry needs opentelemetry-api; pip install 'swarm-persistence[otel]' brings it") from error
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from swarm_persistence.blocking import BlockingStorage
from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.storage import Storage
from swarm_persistence.telemetry.instruments import SCOPE, instruments_of
from swarm_persistence.telemetry.traced_engine import EngineSpans, TracedEngine
from swarm_persistence.version import VERSION


def instrument(
    storage: Storage | BlockingStorage,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> None:
    """Trace and measure the calls of a storage, its tasks, and the workers that are started on it from now on.

    Without providers, those of the program are used: `opentelemetry.trace.set_tracer_provider` sets one, before or
    after this call. Storages that `schema` returns from now on are traced with it. Instrumenting it again replaces the
    providers.

    Raises:
        InvalidQueryError: `storage` is not a storage.

    """
    target = _storage_of(storage)
    uninstrument(target)
    instruments = instruments_of(meter_provider or metrics.get_meter_provider())
    tracer = (tracer_provider or trace.get_tracer_provider()).get_tracer(SCOPE, VERSION)
    common = {"db.system.name": target.database_system, "db.namespace": target.schema_name}
    spans = EngineSpans(tracer, instruments, common)
    target._engine = TracedEngine(target._engine, spans)
    target.instrumentation = spans.tasks
    instruments.storages.add(target)


def uninstrument(storage: Storage | BlockingStorage) -> None:
    """Stop tracing and measuring a storage; idempotent."""
    target = _storage_of(storage)
    if isinstance(target._engine, TracedEngine):
        target._engine = target._engine.inner
    target.instrumentation = None


def _storage_of(storage: object) -> Storage:
    if isinstance(storage, BlockingStorage):
        return storage._storage
    if isinstance(storage, Storage):
        return storage
    raise InvalidQueryError(f"storage is {shown(storage)}, expected a Storage or a BlockingStorage")
