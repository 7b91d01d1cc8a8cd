"""Brings the links of tasks in line with what the tasks say, after some of either are lost."""

from collections.abc import Iterable

from swarm_persistence.engines.sql.sqlite.recovery.target import Target
from swarm_persistence.models.links import TaskLink
from swarm_persistence.schema.values import decode_json

_OF_LOST_TASKS = "DELETE FROM task_links WHERE task_id NOT IN (SELECT id FROM tasks)"
_TO_COMPLETED = "DELETE FROM task_links WHERE dependency_id IN (SELECT id FROM tasks WHERE status = 'completed')"
_WITH_FEWER = """
SELECT id, dependencies, unmet_dependencies FROM tasks
WHERE unmet_dependencies > (SELECT count(*) FROM task_links WHERE task_id = tasks.id)
"""
_COUNTED = """
UPDATE tasks SET unmet_dependencies = (SELECT count(*) FROM task_links WHERE task_id = tasks.id)
WHERE unmet_dependencies <> (SELECT count(*) FROM task_links WHERE task_id = tasks.id)
"""


def rebuild_links(target: Target) -> None:
    """Give each task the links that it has lost, and let it count those that it has.

    A dependency that is stored and not completed has a link. One that is not stored may have been completed and pruned,
    or is lost, or never was stored: of those, as many have links as the task counted.
    """
    target.execute(_OF_LOST_TASKS)
    target.execute(_TO_COMPLETED)
    for id, dependencies, unmet in target.execute(_WITH_FEWER):
        linked = {each for (each,) in target.execute("SELECT dependency_id FROM task_links WHERE task_id = ?", (id,))}
        missing = _unfinished_first(target, [each for each in decode_json(dependencies) if each not in linked])
        for dependency in missing[: unmet - len(linked)]:
            link = TaskLink.between(id, dependency)
            target.execute(
                "INSERT INTO task_links (id, task_id, dependency_id) VALUES (?, ?, ?)", (link.id, id, dependency)
            )
    target.execute(_COUNTED)


def _unfinished_first(target: Target, ids: Iterable[str]) -> list[str]:
    """Return the ids of tasks that are not known to be completed, those of stored ones first."""
    stored, unknown = [], []
    for id in dict.fromkeys(ids):
        match target.execute("SELECT status FROM tasks WHERE id = ?", (id,)):
            case []:
                unknown.append(id)
            case [(status,)] if status != "completed":
                stored.append(id)
    return stored + unknown
