"""The numbered steps of the SQLite schema, forwards and back. A step that was released is never changed again."""

import msgspec

from swarm_persistence.engines.sql.sqlite.migrations import (
    m0001_seed,
    m0002_coordination,
    m0003_own_log,
    m0004_event_floor,
    m0005_reserved_numbers,
    m0006_order_of_arrival,
    m0007_events_of_types,
    m0008_unlinking,
    m0009_documents,
    m0010_message_priorities,
    m0011_groups,
    m0012_trace_parents,
    m0013_schedules,
    m0014_word_index,
    m0015_limits,
    m0016_past_claims,
)


class Migration(msgspec.Struct, frozen=True):
    """One step: statements that bring the schema to this version from the one before, and back."""

    version: int
    name: str
    up: tuple[str, ...]
    down: tuple[str, ...]
    opens_from: int
    """The oldest version whose code can work on this one, and so may open the file. Code before version 6 opens no
    newer file; whether it can go on with a file that it has open is documented in the step."""
    is_required: bool = True
    """Whether statements of this code fail without it; not if they are only slower."""


MIGRATIONS: tuple[Migration, ...] = (
    Migration(1, "the seed's five tables", m0001_seed.UP, m0001_seed.DOWN, opens_from=1),
    Migration(2, "coordination", m0002_coordination.UP, m0002_coordination.DOWN, opens_from=2),
    Migration(3, "a log of its own", m0003_own_log.UP, m0003_own_log.DOWN, opens_from=3),
    Migration(4, "the event floor", m0004_event_floor.UP, m0004_event_floor.DOWN, opens_from=4),
    Migration(5, "reserved numbers", m0005_reserved_numbers.UP, m0005_reserved_numbers.DOWN, opens_from=5),
    Migration(6, "order of arrival", m0006_order_of_arrival.UP, m0006_order_of_arrival.DOWN, opens_from=6),
    Migration(
        7, "events of types", m0007_events_of_types.UP, m0007_events_of_types.DOWN, opens_from=6, is_required=False
    ),
    Migration(8, "unlinking", m0008_unlinking.UP, m0008_unlinking.DOWN, opens_from=6),
    Migration(9, "documents", m0009_documents.UP, m0009_documents.DOWN, opens_from=6),
    Migration(
        10,
        "events of tasks, priorities of messages",
        m0010_message_priorities.UP,
        m0010_message_priorities.DOWN,
        opens_from=6,
    ),
    Migration(11, "groups and tags", m0011_groups.UP, m0011_groups.DOWN, opens_from=6),
    Migration(12, "traces of tasks", m0012_trace_parents.UP, m0012_trace_parents.DOWN, opens_from=6),
    Migration(
        13,
        "schedules, progress of tasks",
        m0013_schedules.UP,
        m0013_schedules.DOWN,
        opens_from=6,
    ),
    Migration(14, "an index of words", m0014_word_index.UP, m0014_word_index.DOWN, opens_from=6),
    Migration(15, "limits and capabilities", m0015_limits.UP, m0015_limits.DOWN, opens_from=6),
    Migration(16, "past claims of tasks", m0016_past_claims.UP, m0016_past_claims.DOWN, opens_from=6),
)
"""All steps, in order, numbered from 1 without a gap."""

LATEST = MIGRATIONS[-1].version

REQUIRED = max(step.version for step in MIGRATIONS if step.is_required)
"""The oldest version on which all statements of this code work."""
