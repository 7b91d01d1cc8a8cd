"""Finds and repairs contradictions between tasks and the links and hidden columns that track their dependencies."""

from collections.abc import Iterable
from typing import Any

import apsw

from swarm_persistence.engines.sql.sqlite.access import writing
from swarm_persistence.engines.steps import MOST_COUNTED
from swarm_persistence.models.links import TaskLink
from swarm_persistence.query.task_statuses import UNFINISHED
from swarm_persistence.schema.values import decode_json

_MOST_NAMED = 5
_COUNT = "(SELECT count(*) FROM task_links WHERE task_id = tasks.id)"
_IS_MISCOUNTED = f"(unmet_dependencies < {_COUNT} OR unmet_dependencies > {_COUNT} AND {_COUNT} <= {MOST_COUNTED})"
_COMPLETED = "(SELECT id FROM tasks WHERE status = 'completed')"
_UNFINISHED = f"(SELECT id FROM tasks WHERE status IN {tuple(status.value for status in UNFINISHED)})"

_CONTRADICTIONS = {
    "count another number of dependencies than they are linked to": f"""
        SELECT id FROM tasks WHERE status = 'pending' AND {_IS_MISCOUNTED}
    """,
    "wait for completed tasks": f"""
        SELECT task_id FROM task_links JOIN tasks ON tasks.id = task_id
        WHERE status = 'pending' AND dependency_id IN {_COMPLETED}
    """,
    "do not wait for unfinished dependencies": f"""
        SELECT tasks.id FROM tasks, json_each(CASE json_valid(dependencies) WHEN 1 THEN dependencies ELSE '[]' END)
        WHERE status = 'pending' AND dependencies <> '[]' AND value IN {_UNFINISHED}
          AND NOT EXISTS (SELECT 1 FROM task_links WHERE task_id = tasks.id AND dependency_id = value)
    """,
    "wait for a time that they do not have": "SELECT id FROM tasks WHERE is_delayed = 1 AND run_at IS NULL",
}

_DAMAGED = "DELETE FROM task_links WHERE id <> length(task_id) || ':' || task_id || dependency_id"
_OF_LOST_TASKS = "DELETE FROM task_links WHERE task_id NOT IN (SELECT id FROM tasks)"
_TO_COMPLETED = f"DELETE FROM task_links WHERE dependency_id IN {_COMPLETED}"
_LINKED_OTHERWISE = f"""
    SELECT id, dependencies, unmet_dependencies FROM tasks WHERE dependencies <> '[]' AND json_valid(dependencies)
    AND ({_IS_MISCOUNTED} OR EXISTS (
      SELECT 1 FROM json_each(CASE json_valid(dependencies) WHEN 1 THEN dependencies ELSE '[]' END)
      WHERE value IN {_UNFINISHED} AND value NOT IN (SELECT dependency_id FROM task_links WHERE task_id = tasks.id)
    ))
"""
_COUNTED = f"UPDATE tasks SET unmet_dependencies = {_COUNT} WHERE unmet_dependencies <> {_COUNT}"
_DERIVED = (
    f"""
    UPDATE tasks
    SET unmet_dependencies = (SELECT count(DISTINCT value) FROM json_each(dependencies) WHERE value NOT IN {_COMPLETED})
    WHERE dependencies <> '[]'
    """,
    "UPDATE tasks SET change_number = sequence",
)
_UNDELAYED = "UPDATE tasks SET is_delayed = 0 WHERE is_delayed = 1 AND run_at IS NULL"


def find_contradictions(connection: apsw.Connection) -> tuple[str, ...]:
    """Describe the tasks whose links or hidden columns contradict their fields; reads only."""
    found = []
    for what, text in _CONTRADICTIONS.items():
        rows: Any = connection.execute(text).fetchall()
        if ids := list(dict.fromkeys(id for (id,) in rows)):
            more = f" and {len(ids) - _MOST_NAMED:,} more" if len(ids) > _MOST_NAMED else ""
            named = ", ".join(map(repr, ids[:_MOST_NAMED]))
            found.append(f"{len(ids):,} {'tasks' if len(ids) > 1 else 'task'} that {what}: {named}{more}")
    return tuple(found)


def repair(connection: apsw.Connection) -> None:
    """Repair links and hidden columns in a transaction of its own."""
    with writing(connection):
        repair_links(connection)


def repair_links(connection: apsw.Connection) -> None:
    """Add the links that tasks lack, delete those that would block them forever, and recount them.

    A dependency that is stored and not completed gets a link. One that is not stored was completed and pruned, was
    lost, or was never stored: of those, as many get links as the task counts. Runs in the caller's transaction.
    """
    # Read before links are deleted, at which the schema's trigger counts those that are left.
    waiting: Any = connection.execute(
        "SELECT id, unmet_dependencies FROM tasks WHERE unmet_dependencies > 0"
    ).fetchall()
    counted = dict(waiting)
    for text in (_DAMAGED, _OF_LOST_TASKS, _TO_COMPLETED):
        connection.execute(text).fetchall()
    rows: Any = connection.execute(_LINKED_OTHERWISE).fetchall()
    for id, dependencies, unmet in rows:
        _link(connection, id, decode_json(dependencies), counted.get(id, unmet))
    for text in (_COUNTED, _UNDELAYED):
        connection.execute(text).fetchall()


def derive(connection: apsw.Connection) -> None:
    """Migrate the tasks of a file from version 1 to 2. Runs in the caller's transaction."""
    for text in _DERIVED:
        connection.execute(text).fetchall()
    repair_links(connection)


def _link(connection: apsw.Connection, id: str, dependencies: list[str], unmet: int) -> None:
    linked = _column(connection, "SELECT dependency_id FROM task_links WHERE task_id = ?", id)
    unfinished, unknown = _sorted(connection, dependencies)
    # Those that were linked come first among the unknown ones.
    unknown.sort(key=lambda each: each not in linked)
    right = [*unfinished, *unknown[: max(unmet - len(unfinished), 0)]]
    for dependency in set(linked) - set(right):
        connection.execute("DELETE FROM task_links WHERE id = ?", (TaskLink.between(id, dependency).id,)).fetchall()
    for dependency in right:
        if dependency not in linked:
            row = (TaskLink.between(id, dependency).id, id, dependency)
            connection.execute("INSERT INTO task_links (id, task_id, dependency_id) VALUES (?, ?, ?)", row).fetchall()


def _sorted(connection: apsw.Connection, ids: Iterable[str]) -> tuple[list[str], list[str]]:
    """Split ids into tasks that are stored and not completed, and tasks that are not stored."""
    unfinished, unknown = [], []
    for id in dict.fromkeys(ids):
        match _column(connection, "SELECT status FROM tasks WHERE id = ?", id):
            case []:
                unknown.append(id)
            case [status] if status != "completed":
                unfinished.append(id)
    return unfinished, unknown


def _column(connection: apsw.Connection, text: str, value: str) -> list[str]:
    rows: Any = connection.execute(text, (value,)).fetchall()
    return [each for (each,) in rows]
