"""The metrics, named by the semantic conventions for databases and messaging where these define one."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from weakref import WeakKeyDictionary, WeakSet

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.util.types import AttributeValue

from swarm_persistence.engines.interface import PoolStatus
from swarm_persistence.errors import StorageError
from swarm_persistence.storage import Storage
from swarm_persistence.version import VERSION

Attributes = Mapping[str, AttributeValue]

SCOPE = "swarm_persistence"

_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_LONG_SECONDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_POOL = "db.client.connection.pool.name"
_STATE = "db.client.connection.state"


class Instruments:
    """The metrics of all storages that one provider observes."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter(SCOPE, VERSION)
        self.storages: WeakSet[Storage] = WeakSet()
        """The storages whose connection pools are observed."""
        self.operation_duration = meter.create_histogram(
            "db.client.operation.duration",
            "s",
            "Duration of calls of the engine.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.sent = meter.create_counter("messaging.client.sent.messages", "{message}", "Tasks that were stored.")
        self.consumed = meter.create_counter(
            "messaging.client.consumed.messages", "{message}", "Tasks that were claimed."
        )
        self.settled = meter.create_counter(
            "swarm_persistence.settled_tasks", "{task}", "Claims that were ended, by how they were."
        )
        self.lost = meter.create_counter(
            "swarm_persistence.lost_leases", "{task}", "Tasks that were taken from a holder that was lost."
        )
        self.process_duration = meter.create_histogram(
            "messaging.process.duration",
            "s",
            "Duration of the handlers of tasks.",
            explicit_bucket_boundaries_advisory=_LONG_SECONDS,
        )
        meter.create_observable_up_down_counter(
            "db.client.connection.count", [self._observe_connections], "{connection}", "Open connections by state."
        )
        for name, unit, text, value in (
            ("max", "{connection}", "The limit on open connections.", lambda status: status.max),
            ("pending_requests", "{request}", "Calls that wait for a connection.", lambda status: status.waiting),
        ):
            callbacks = [partial(self._observe, value)]
            meter.create_observable_up_down_counter(f"db.client.connection.{name}", callbacks, unit, text)

    def _observe_connections(self, _options: CallbackOptions) -> Iterable[Observation]:
        for name, status in self._pools():
            yield Observation(status.active, {_POOL: name, _STATE: "used"})
            yield Observation(status.idle, {_POOL: name, _STATE: "idle"})

    def _observe(self, value: Callable[[PoolStatus], int], _options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value(status), {_POOL: name}) for name, status in self._pools()]

    def _pools(self) -> list[tuple[str, PoolStatus]]:
        pools = []
        for storage in list(self.storages):
            try:
                pools.append((repr(storage), storage.pool_status()))
            except StorageError:
                continue  # it is closed
        return pools


_by_provider: "WeakKeyDictionary[MeterProvider, Instruments]" = WeakKeyDictionary()


def instruments_of(provider: MeterProvider) -> Instruments:
    """Return the metrics of a provider, created once per provider."""
    instruments = _by_provider.get(provider)
    if instruments is None:
        instruments = _by_provider[provider] = Instruments(provider)
    return instruments
