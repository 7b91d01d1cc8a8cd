"""No statement of the verbs reads a whole table: shown by EXPLAIN on 100,000 rows of each."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from postgres.servers import Server
from sql.verbs import COORDINATION, HOUSEKEEPING, READS, WHOLE_TABLE_READS, WRITES
from swarm_persistence import PostgresStorage, TaskModel
from swarm_persistence.schema.tables import TABLES
from swarm_persistence_conformance.records import after


async def _claim_of_keys(storage: PostgresStorage) -> None:
    await COORDINATION["claim_of_keys"](storage)  # type: ignore[arg-type]
    # Without a trace: what has changed last decides how others read.
    await storage.delete_limit("keyed")
    for id in ("b", *(f"a-{n}" for n in range(60))):
        await storage.repository(TaskModel).delete(id)


_VERBS: dict[str, Any] = {
    **READS, **WHOLE_TABLE_READS, **WRITES, **COORDINATION, **HOUSEKEEPING,
    # These two are not rolled back: they must leave the rows that others need.
    "prune": lambda storage: storage.prune(after(-200_000)),
    "erase": lambda storage: storage.erase("tenant-1", collections=[("notes", "agent-2")]),
    "claim_of_keys": _claim_of_keys,
}  # fmt: skip
# These two are not possible within a transaction; the claims delete their tasks.
_READ_ONLY = {*READS, *WHOLE_TABLE_READS, *HOUSEKEEPING, "watch_schedules", "claim_of_keys"}
# Of few rows each; no index leads to the schedules whose tasks have a group.
_MAY_BE_READ_WHOLE = {"erase": {"schedules"}}
_SMALL = {"task_limits", "task_starts"}
# Five ask for all rows, and one for what no index was made for.
_WHOLE_TABLE = {"list_agents", "list_schedules", "count_by"}
_WHOLE_TABLE |= {"repository_find_all", "repository_count", "repository_query"}

# Most lies in the past and is done with, as in a swarm that has run for a while.
_FILLING = """
INSERT INTO {schema}.agents (id, name, agent_type, status, capabilities, metadata, heartbeat, created_at, updated_at,
  version)
SELECT 'agent-' || n, 'name', 'type', CASE n % 50 WHEN 0 THEN 'active' WHEN 1 THEN 'error' ELSE 'shutdown' END,
  '[]', '{}', moment, moment, moment, 1
FROM {numbers};
INSERT INTO {schema}.tasks (id, task_type, priority, status, assigned_to, payload, retry_count, max_retries,
  dependencies, created_at, updated_at, claim_count, idempotency_key, fails_with_dependencies, version,
  unmet_dependencies, lease_expires_at, run_at, is_delayed, change_number, "group")
SELECT 'task-' || n, 'type-' || n % 500, n % 4,
  CASE n % 100 WHEN 0 THEN 'pending' WHEN 1 THEN 'running' ELSE 'completed' END,
  CASE WHEN n % 100 > 0 THEN 'agent-' || n % 1000 END, '{}', 0, 3, '[]', moment, moment, 0, 'key-' || n, true, 1,
  (n % 300 = 0)::int, CASE n % 100 WHEN 1 THEN moment END, CASE n % 1000 WHEN 0 THEN moment END, n % 1000 = 0, n,
  CASE WHEN n < 100 AND n % 10 = 3 THEN 'tenant-3' END
FROM {numbers};
INSERT INTO {schema}.task_links (id, task_id, dependency_id)
SELECT n::text, 'task-' || n, 'task-' || n + 1 FROM {numbers};
INSERT INTO {schema}.events (id, event_type, agent_id, data, timestamp)
SELECT 'event-' || n, 'type-' || n % 500, 'agent-' || n % 1000, '{}', moment FROM {numbers};
INSERT INTO {schema}.messages (id, from_agent, to_agent, message_type, content, read, timestamp)
SELECT 'message-' || n, 'agent-' || n % 1000, 'agent-' || n % 999, 'type', '{}', n % 100 > 0, moment FROM {numbers};
INSERT INTO {schema}.metrics (id, agent_id, metric_type, value, unit, tags, timestamp)
SELECT 'metric-' || n, 'agent-' || n % 1000, 'type-' || n % 500, n, 'ms', '{}', moment FROM {numbers};
INSERT INTO {schema}.documents (id, collection, key, label, created_at, updated_at, expires_at, version, value,
  change_number)
SELECT collection || ' note-' || n, collection, 'note-' || n, CASE n % 10 WHEN 1 THEN 'run-' || n % 1000 END, moment,
  moment, CASE n % 100 WHEN 0 THEN moment + interval '1 year' END, 1, '{}', n
FROM {numbers}, LATERAL (SELECT 'notes!agent-' || n % 1000 || '!' AS collection) AS path;
INSERT INTO {schema}.schedules (id, name, task_type, payload, priority, max_retries, task_fields, every, timezone,
  catch_up, paused, next_at, created_at, updated_at, version)
SELECT 'schedule-' || n, 'schedule-' || n, 'type-' || n % 500, '{}', 1, 3, '{}', 3600, 'UTC', 'skip', n % 100 = 0,
  moment + interval '1 year', moment, moment, 1
FROM {numbers};
"""
_NUMBERS = """
(SELECT n, '2026-01-01 12:30:15+00'::timestamptz + (n - 99900) * interval '1 second'
 FROM generate_series(0, 99999) AS n) AS number(n, moment)
"""


@pytest.fixture(scope="module")
def filled(server: Server) -> str:
    """Give the URL of a schema with 100,000 rows in each table."""
    url = server.url(schema="filled")
    asyncio.run(fill(server, url))
    return url


async def fill(server: Server, url: str) -> None:
    """Create the schema and fill it."""
    async with await PostgresStorage.open(url):
        connection = await asyncpg.connect(server.url())
        try:
            await connection.execute(_FILLING.replace("{schema}", "filled").replace("{numbers}", _NUMBERS))
            await connection.execute(f"VACUUM ANALYZE {', '.join(f'filled.{table.name}' for table in TABLES)}")
        finally:
            await connection.close()


async def plans_of(url: str, verb: str, executed: list[tuple[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Run a verb and return the parts of the plan of each of its statements."""
    plans: dict[str, list[dict[str, Any]]] = {}
    async with await PostgresStorage.open(url) as storage:
        call = _VERBS[verb]
        executed.clear()
        if verb in _READ_ONLY:
            await call(storage)
        else:
            transaction = await storage.begin_transaction()
            await call(storage)
            await transaction.rollback()
        recorded = [*executed]
        pool = storage._engine._loop_engine().pool
        connection = await pool.acquire(float("inf"))
        # Generic plans, which know no values: what prepared statements come to after a while.
        await connection.driver.execute("SET plan_cache_mode = force_generic_plan")
        for text, values in recorded:
            if text.startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")) and "filled" in text:
                await connection.driver.execute(f"PREPARE planned AS {text}")
                nothing = f"({', '.join(['NULL'] * len(values))})" if values else ""
                (row,) = await connection.driver.fetch(f"EXPLAIN (FORMAT JSON) EXECUTE planned{nothing}")
                await connection.driver.execute("DEALLOCATE planned")
                plans[text] = [*_parts(json.loads(row[0])[0]["Plan"])]
        pool.release(connection)
    return plans


def _parts(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _parts(inner)


async def test_the_plans_know_no_values(filled: str, executed: list[tuple[str, Any]]) -> None:
    plans = await plans_of(filled, "get_tasks_by_agent", executed)

    assert "$1" in json.dumps([*plans.values()])


@pytest.mark.parametrize("verb", sorted(_VERBS.keys() - _WHOLE_TABLE))
async def test_a_verb_reads_no_whole_table(filled: str, executed: list[tuple[str, Any]], verb: str) -> None:
    plans = await plans_of(filled, verb, executed)

    assert plans
    for text, parts in plans.items():
        small = _SMALL | _MAY_BE_READ_WHOLE.get(verb, set())
        whole = [part for part in parts if part["Node Type"] == "Seq Scan" and part["Relation Name"] not in small]
        assert not whole, (text, parts)


@pytest.mark.parametrize(
    ("verb", "index"),
    [
        ("get_pending_tasks", "tasks_by_readiness"),
        ("get_ready_tasks", "tasks_by_readiness"),
        ("get_blocked_tasks", "tasks_by_readiness"),
        ("get_tasks_by_agent", "tasks_by_agent"),
        ("get_events_by_agent", "events_by_agent"),
        ("get_events_by_type", "events_by_type"),
        ("get_events_since", "events_by_time"),
        ("get_messages_between", "messages_by_pair"),
        ("get_unread_messages", "messages_unread_by_priority"),
        ("get_metrics_by_agent", "metrics_by_agent"),
        ("get_aggregated_metrics", "metrics_by_type"),
        ("claim_next_task", "tasks_by_readiness"),
        ("get_task", "tasks_id_key"),
    ],
)
async def test_a_verb_uses_the_index_that_was_made_for_it(
    filled: str, executed: list[tuple[str, Any]], verb: str, index: str
) -> None:
    plans = await plans_of(filled, verb, executed)

    assert index in {part.get("Index Name") for parts in plans.values() for part in parts}, plans


async def test_a_claim_reads_no_more_than_it_takes(filled: str, executed: list[tuple[str, Any]]) -> None:
    plans = await plans_of(filled, "claim_next_task", executed)

    claims = [parts for text, parts in plans.items() if text.startswith("WITH")]
    assert claims
    assert not [part for parts in claims for part in parts if part["Node Type"] == "Sort"], claims
