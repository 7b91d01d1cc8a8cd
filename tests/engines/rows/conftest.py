"""The memory engine, and its clock."""

import pytest

from engines.rows.memory_engines import Time
from swarm_persistence.engines.rows import sessions
from swarm_persistence.engines.rows.memory import write_queue
from swarm_persistence.engines.rows.memory.engine import MemoryEngine


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Give the clock of the engine."""
    clock = Time()
    for module in (write_queue, sessions):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def engine() -> MemoryEngine:
    """Give an engine without rows."""
    return MemoryEngine(connection_timeout=30, transaction_timeout=60)
