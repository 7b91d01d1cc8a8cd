"""Facts about what a claim costs PostgreSQL while tasks may not be claimed: counted in rows that it reads."""

import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from swarm_persistence import PostgresStorage, TaskModel

_FILLING = """
INSERT INTO {schema}.tasks (id, task_type, priority, status, payload, retry_count, max_retries, dependencies,
  created_at, updated_at, claim_count, fails_with_dependencies, version, concurrency_key)
SELECT 'full-' || n, 'a', 2, 'pending', '{}', 0, 3, '[]', now(), now(), 0, true, 1, 'key-' || n % 3
FROM generate_series(1, 20000) AS n
"""


def _rows_read(plan: dict[str, Any]) -> Iterator[float]:
    if "Relation Name" in plan:
        yield (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    for inner in plan.get("Plans", ()):
        yield from _rows_read(inner)


@pytest.mark.parametrize("full", ["type", "keys"])
async def test_a_claim_reads_few_rows_beside_many_tasks_that_may_not_run(
    storage: PostgresStorage, admin: asyncpg.Connection, schema: str, executed: list[tuple[str, Any]], full: str
) -> None:
    await admin.execute(_FILLING.replace("{schema}", schema))
    await storage.set_limit("a", **({"per_key": 1} if full == "keys" else {"running": 0}))
    await storage.store_tasks([TaskModel.new("a", None, concurrency_key=f"z{n}") for n in range(9)])
    await storage.store_tasks([TaskModel.new("b", None, "low") for _ in range(9)])
    await admin.execute(f"ANALYZE {schema}.tasks")
    if full == "keys":
        assert len(await storage.claim_next_tasks("agent-1", limit=3)) == 3

    executed.clear()
    task = await storage.claim_next_task("agent-1")

    assert task is not None
    assert task.priority.value == ("medium" if full == "keys" else "low")
    read = 0.0
    for text, values in executed:
        if text.startswith(("SELECT", "WITH RECURSIVE")) and f'"{schema}".tasks' in text:
            ((plan,),) = await admin.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", *values)
            read += sum(_rows_read(json.loads(plan)[0]["Plan"]))
    assert 0 < read < 300
