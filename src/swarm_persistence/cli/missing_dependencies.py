"""The check of `doctor` on tasks that wait for one that is not stored: its id may be mistyped."""

from collections.abc import Sequence
from typing import Any

from swarm_persistence.cli.finding import Finding, advice, ok
from swarm_persistence.storage.task_dependencies import MISSING_AFTER_SECONDS

_CHECK = "missing_dependency"

QUERY = """
SELECT task_id, dependency_id, count(*) OVER ()
FROM {prefix}task_links
WHERE NOT EXISTS (SELECT 1 FROM {prefix}tasks WHERE tasks.id = dependency_id)
  AND EXISTS (SELECT 1 FROM {prefix}tasks WHERE tasks.id = task_id AND status = 'pending' AND created_at <= {old})
ORDER BY task_links.sequence
LIMIT 5
"""
"""Finds the links to dependencies that should be stored by now, and counts them."""


def missing_dependency(rows: Sequence[Any]) -> Finding:
    """Return the finding on the rows of the query."""
    if not rows:
        return ok(_CHECK, "no task waits for one that is not stored")
    named = ", ".join(f"{task_id!r} waits for {dependency_id!r}" for task_id, dependency_id, _ in rows)
    count = rows[0][2]
    more = f", and {count - len(rows):,} more" if count > len(rows) else ""
    return advice(
        _CHECK,
        f"tasks have waited for more than {MISSING_AFTER_SECONDS:g} s for some that are not stored: {named}{more}",
        "store the tasks that they wait for, or cancel those that wait, if the ids are wrong",
    )
