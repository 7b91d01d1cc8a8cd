"""Version 12: an index of the tasks that became ready after they were stored.

A claim walks over the dead entries that earlier claims have left in the index of ready tasks until VACUUM removes them,
which an old snapshot prevents. A claim can begin where the previous ones have ended if another index finds the tasks
that have become ready since: released, retried and rewritten ones, delayed ones, and those with dependencies. All
others were ready when they were stored, with a higher `sequence` than earlier ones. Code of earlier versions keeps
working.

The expressions of the index occur in this search only, so the planner uses it for no other one, and no other index,
which would lead over dead entries, for this one.
"""

from swarm_persistence.engines.sql.postgres.migrations.migration import CreateIndex, DropIndex

IS_READY_AGAIN = (
    "CASE WHEN status = 'pending' AND unmet_dependencies = 0 AND is_delayed = false "
    "THEN version > 1 OR run_at IS NOT NULL OR json_array_length(dependencies) > 0 ELSE false END"
)
ARRIVAL = "(sequence + 0)"

_NAME = "tasks_ready_again"

UP = (
    CreateIndex(
        _NAME,
        f"ON {{schema}}.tasks (left(task_type, 200) NULLS FIRST, priority DESC NULLS LAST, {ARRIVAL}) "
        f"WHERE {IS_READY_AGAIN}",
    ),
)

DOWN = (DropIndex(_NAME),)
