"""Version 12: an index of the ready tasks that have not been ready since they were stored.

What claims leave behind in the index of ready tasks is walked over until VACUUM has cleared it, which an old snapshot
prevents. A claim may begin where those before it have ended, if it finds by another index the tasks that have become
ready since: those given back, retried or rewritten, delayed ones and those with dependencies. All others have become
ready when they were stored, with a higher `sequence` than those before them. Code of earlier versions works on beside
it.

Its expressions are for this one search: the planner can neither take the index for another search, nor, for this one,
another index, which leads over what is dead.
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
