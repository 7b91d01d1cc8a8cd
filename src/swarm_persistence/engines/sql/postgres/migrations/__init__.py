"""The numbered steps of the PostgreSQL schema, forwards and back. A step that was released is never changed again."""

from swarm_persistence.engines.sql.postgres.migrations import (
    m0001_tables,
    m0002_event_floor,
    m0003_meet_dependencies,
    m0004_order_of_arrival,
    m0005_locks_by_id,
    m0006_events_of_types,
    m0007_one_index_of_pending,
    m0008_awaited_tasks,
    m0009_places,
    m0010_partitions,
    m0011_new_dependents,
    m0012_ready_again,
    m0013_documents,
    m0014_message_priorities,
    m0015_groups,
    m0016_trace_parents,
    m0017_schedules,
    m0018_word_index,
    m0019_limits,
    m0020_vectors,
    m0021_past_claims,
)
from swarm_persistence.engines.sql.postgres.migrations.migration import PostgresMigration

MIGRATIONS: tuple[PostgresMigration, ...] = (
    PostgresMigration(1, "the tables", m0001_tables.UP, m0001_tables.DOWN, opens_from=1),
    PostgresMigration(2, "the event floor", m0002_event_floor.UP, m0002_event_floor.DOWN, opens_from=2),
    PostgresMigration(3, "meet dependencies", m0003_meet_dependencies.UP, m0003_meet_dependencies.DOWN, opens_from=2),
    PostgresMigration(
        4,
        "order of arrival",
        m0004_order_of_arrival.UP,
        m0004_order_of_arrival.DOWN,
        opens_from=2,
        is_required=False,
    ),
    PostgresMigration(5, "locks by id", m0005_locks_by_id.UP, m0005_locks_by_id.DOWN, opens_from=2),
    PostgresMigration(
        6, "events of types", m0006_events_of_types.UP, m0006_events_of_types.DOWN, opens_from=2, is_required=False
    ),
    PostgresMigration(
        7,
        "one index of pending tasks",
        m0007_one_index_of_pending.UP,
        m0007_one_index_of_pending.DOWN,
        opens_from=2,
        is_required=False,
    ),
    PostgresMigration(8, "awaited tasks", m0008_awaited_tasks.UP, m0008_awaited_tasks.DOWN, opens_from=2),
    PostgresMigration(9, "places", m0009_places.UP, m0009_places.DOWN, opens_from=2),
    PostgresMigration(10, "room for partitions", m0010_partitions.UP, m0010_partitions.DOWN, opens_from=2),
    PostgresMigration(11, "new dependents", m0011_new_dependents.UP, m0011_new_dependents.DOWN, opens_from=2),
    PostgresMigration(12, "ready again", m0012_ready_again.UP, m0012_ready_again.DOWN, opens_from=2, is_required=False),
    PostgresMigration(13, "documents", m0013_documents.UP, m0013_documents.DOWN, opens_from=2),
    PostgresMigration(
        14,
        "events of tasks, priorities of messages",
        m0014_message_priorities.UP,
        m0014_message_priorities.DOWN,
        opens_from=2,
    ),
    PostgresMigration(15, "groups and tags", m0015_groups.UP, m0015_groups.DOWN, opens_from=2),
    PostgresMigration(16, "traces of tasks", m0016_trace_parents.UP, m0016_trace_parents.DOWN, opens_from=2),
    PostgresMigration(
        17,
        "schedules, progress of tasks",
        m0017_schedules.UP,
        m0017_schedules.DOWN,
        opens_from=2,
    ),
    PostgresMigration(18, "an index of words", m0018_word_index.UP, m0018_word_index.DOWN, opens_from=2),
    PostgresMigration(19, "limits and capabilities", m0019_limits.UP, m0019_limits.DOWN, opens_from=2),
    PostgresMigration(
        20, "copies of embeddings", m0020_vectors.UP, m0020_vectors.DOWN, opens_from=2, is_required=False
    ),
    PostgresMigration(21, "past claims of tasks", m0021_past_claims.UP, m0021_past_claims.DOWN, opens_from=2),
)
"""All steps, in order, numbered from 1 without a gap."""

LATEST = MIGRATIONS[-1].version
