"""An engine that its first operation opens stands in for every method of the interface."""

import asyncio
import inspect
from typing import Any, cast

import pytest

from swarm_persistence.engines.interface import Engine
from swarm_persistence.engines.lazy import LazyEngine, lazy_engine
from swarm_persistence.engines.reads import Count
from swarm_persistence.engines.rows.memory.engine import MemoryEngine
from swarm_persistence.errors import DatabaseError
from swarm_persistence.query.query import Query
from swarm_persistence.schema.tables import TASKS

METHODS = sorted(
    name for name, member in vars(Engine).items() if inspect.isfunction(member) and not name.startswith("_")
)
PASSED_ON_WHILE_CLOSED = ("for_schema", "pool_status")
"""What a closed engine answers by itself."""


class Starts:
    """Counts how often an engine is opened; the first ones may fail."""

    def __init__(self, failures: int = 0) -> None:
        self.count = 0
        self._failures = failures

    async def __call__(self, engine: MemoryEngine) -> None:
        self.count += 1
        await asyncio.sleep(0)
        if self.count <= self._failures:
            raise DatabaseError(f"failure {self.count}")


def engine_of(starts: Starts) -> Engine:
    return lazy_engine(lambda: MemoryEngine(1.0, 1.0), starts)


async def test_calls_at_once_open_the_engine_once() -> None:
    starts = Starts()
    engine = engine_of(starts)

    assert await asyncio.gather(*(engine.read(Count(Query(TASKS))) for _ in range(3)), engine.size()) == [0, 0, 0, 0]

    assert starts.count == 1


async def test_a_failure_to_open_is_met_by_each_call_that_waits_and_the_next_one_tries_again() -> None:
    starts = Starts(failures=1)
    engine = engine_of(starts)

    outcomes = await asyncio.gather(engine.write([]), engine.begin(), return_exceptions=True)

    assert [str(error) for error in outcomes] == ["Database error: failure 1"] * 2
    assert await engine.read(Count(Query(TASKS))) == 0
    assert starts.count == 2


@pytest.mark.parametrize("name", METHODS)
def test_each_method_of_the_interface_opens_the_engine_or_is_known_not_to(name: str) -> None:
    engine: Any = engine_of(Starts())

    method = getattr(engine, name)

    is_defined = name in vars(LazyEngine)
    assert is_defined or name in PASSED_ON_WHILE_CLOSED or inspect.iscoroutinefunction(method)


async def test_an_open_engine_answers_without_a_detour() -> None:
    engine = engine_of(Starts())
    await engine.size()

    assert engine.read.__func__ is MemoryEngine.read  # type: ignore[attr-defined]
    assert engine.schema_name == cast(Any, engine)._engine.schema_name
