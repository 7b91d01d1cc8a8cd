"""Facts about the benchmark of functions of vectors."""

from pathlib import Path

import pytest

from benchmarks.nearest_documents import METRICS, measure, switch_sqlite
from swarm_persistence.engines.sql.sqlite import statement_compiler


async def test_each_metric_is_measured_with_the_functions_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement_compiler, "IS_INSTALLED", True)  # restores what the benchmark has set

    found = await measure(str(tmp_path / "swarm.db"), switch_sqlite, documents=30, dimensions=4, rounds=1)

    assert set(found.by_metric) == set(METRICS)
    assert found.first > 0
    assert all(milliseconds > 0 for each in found.by_metric.values() for milliseconds in each)
