"""A storage of each kind, instrumented by providers whose exporters keep all in memory."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from swarm_persistence import Storage
from swarm_persistence.telemetry import instrument
from telemetry.recorded import Recorded
from worker.conftest import open_storage, opening, path, schemas, server, storage

__all__ = ["open_storage", "opening", "path", "schemas", "server", "storage"]


@pytest.fixture
def recorded() -> Recorded:
    """Give fresh providers, and what they have exported."""
    return Recorded()


@pytest_asyncio.fixture
async def traced(storage: Storage, recorded: Recorded) -> AsyncIterator[Storage]:
    """Give an instrumented storage of each kind."""
    instrument(storage, tracer_provider=recorded.tracer_provider, meter_provider=recorded.meter_provider)
    yield storage
