"""The SQL that the drivers run: the same table, columns and effect as the library's own verbs."""

from datetime import datetime
from typing import Any

from swarm_persistence.clock import from_microseconds, microseconds, now
from swarm_persistence.engines.sql.sqlite.dialect import SqliteDialect
from swarm_persistence.models import EventModel, MetricModel, Model, TaskModel
from swarm_persistence.query.text import listed
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import CHANGE_NUMBER, EVENTS, PUBLIC_TABLES, TASKS, Table

LISTED = 50
"""Rows of the ordered list."""

encode_event = codec_of(EventModel).encode
decode_event = codec_of(EventModel).decode
decode_task = codec_of(TaskModel).decode


def encode(model: Model) -> tuple[Any, ...]:
    """Return a record's columns: the drivers use the library's encoder, so that only the storing differs."""
    return codec_of(type(model)).encode(model)


NEXT_CHANGE = SqliteDialect().change_number(TASKS)
"""What every write of a task leaves in it, for the followers of tasks."""


def _columns(table: Table[Any]) -> str:
    return listed((*table.stored_names, "sequence"))


def _insert(table: Table[Any]) -> str:
    names, values = [*table.names], ["?"] * len(table.names)
    if table.is_followed:
        names.append(CHANGE_NUMBER)
        values.append(NEXT_CHANGE)
    return f"INSERT INTO {table.name} ({listed(names)}) VALUES ({', '.join(values)})"


INSERT: dict[type[Model], str] = {table.model: _insert(table) for table in PUBLIC_TABLES}
INSERT_EVENT = INSERT[EventModel]
GET = f"SELECT {_columns(EVENTS)} FROM events WHERE id = ?"
LATEST = f"""
SELECT {_columns(EVENTS)} FROM events WHERE agent_id = ? ORDER BY timestamp DESC, sequence DESC LIMIT {LISTED}
"""
PENDING = f"""
SELECT {_columns(TASKS)} FROM tasks WHERE status = 'pending' ORDER BY priority DESC, sequence
"""
CLAIM = f"""
UPDATE tasks SET status = 'assigned', assigned_to = ?, updated_at = ?, claim_count = claim_count + 1,
  version = version + 1, lease_expires_at = NULL,
  {CHANGE_NUMBER} = {NEXT_CHANGE}
WHERE id = ? AND status = 'pending'
"""
CLAIM_NEXT = f"""
UPDATE tasks SET status = 'assigned', assigned_to = ?, updated_at = ?, claim_count = claim_count + 1,
  version = version + 1, lease_expires_at = NULL,
  {CHANGE_NUMBER} = {NEXT_CHANGE}
WHERE sequence IN (
  SELECT sequence FROM tasks WHERE status = 'pending' ORDER BY priority DESC, sequence LIMIT 1
)
RETURNING {_columns(TASKS)}
"""
AGGREGATE = """
SELECT agent_id, unit, avg(value), count(*), min(value), max(value), sum(value), max(timestamp)
FROM metrics WHERE metric_type = ? AND timestamp >= ? AND timestamp <= ?
GROUP BY agent_id, unit ORDER BY agent_id, unit
"""


def claim_values(claim: tuple[str, str]) -> tuple[Any, ...]:
    """Return the parameters of `CLAIM` for a pair of task and agent."""
    task_id, agent_id = claim
    return agent_id, microseconds(now()), task_id


def claim_next_values(agent_id: str) -> tuple[Any, ...]:
    """Return the parameters of `CLAIM_NEXT`."""
    return agent_id, microseconds(now())


def aggregate_values(span: tuple[str, datetime, datetime]) -> tuple[Any, ...]:
    """Return the parameters of `AGGREGATE` for a type and two times."""
    metric_type, start, end = span
    return metric_type, microseconds(start), microseconds(end)


def aggregated(metric_type: str, rows: list[Any]) -> list[MetricModel]:
    """Return the rows of `AGGREGATE` as the library returns them."""
    return [
        MetricModel(
            agent_id=agent_id,
            metric_type=metric_type,
            value=average,
            unit=unit,
            tags={"count": str(count), "min": str(lowest), "max": str(highest), "sum": str(total)},
            timestamp=from_microseconds(latest),
        )
        for agent_id, unit, average, count, lowest, highest, total, latest in rows
    ]
