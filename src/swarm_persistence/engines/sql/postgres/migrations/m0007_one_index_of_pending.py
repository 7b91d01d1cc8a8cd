"""Version 7: one index of the pending tasks serves claims, and readers of those that are ready, blocked, or all.

There were two, with an entry in each for a ready task. And the planner could take that of all pending tasks for a
claim, which then walked over the blocked ones. Code of earlier versions finds its rows along the new one as well.
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
