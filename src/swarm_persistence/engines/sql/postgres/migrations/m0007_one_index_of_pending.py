"""Version 7: one index of pending tasks serves claims and the lists of ready, blocked and pending tasks.

It replaces two, both of which had an entry for each ready task; for a claim, the planner could choose the one of all
pending tasks, and walk over blocked ones. Code of earlier versions uses the new index as well.
"""

from swarm_persistence.engines.sql.postgres.migrations.migration import CreateIndex, DropIndex

_ORDER = "priority DESC NULLS LAST, sequence"
_PENDING = "status = 'pending'"

UP = (
    CreateIndex(
        "tasks_by_readiness",
        f"ON {{schema}}.tasks (unmet_dependencies NULLS FIRST, is_delayed NULLS FIRST, {_ORDER}) WHERE {_PENDING}",
    ),
    DropIndex("tasks_pending"),
    DropIndex("tasks_ready"),
)

DOWN = (
    CreateIndex("tasks_pending", f"ON {{schema}}.tasks ({_ORDER}) WHERE {_PENDING}"),
    CreateIndex(
        "tasks_ready",
        f"ON {{schema}}.tasks ({_ORDER}) WHERE {_PENDING} AND unmet_dependencies = 0 AND is_delayed = false",
    ),
    DropIndex("tasks_by_readiness"),
)
