"""Facts about the benchmark of the extra `vectors`."""

from pathlib import Path

import pytest

from benchmarks.nearest_documents import METRICS, measure
from swarm_persistence.engines.sql.sqlite import statement_compiler


async def test_each_metric_is_measured_with_the_extra_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement_compiler, "IS_INSTALLED", True)  # restores what the benchmark has set

    found = await measure(tmp_path / "swarm.db", documents=30, dimensions=4, rounds=1)

    assert set(found) == set(METRICS)
    assert all(milliseconds > 0 for each in found.values() for milliseconds in each)
