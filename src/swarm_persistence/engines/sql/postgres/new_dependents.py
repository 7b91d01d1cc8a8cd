"""New tasks that wait for others: one statement locks their dependencies, checks them, and inserts tasks and links.

It inserts nothing if a task waits for a new one already, or a dependency has failed: then the steps run one by one.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Any, Self

import asyncpg

from swarm_persistence.engines.sql.postgres.given_values import arrays_of
from swarm_persistence.engines.sql.postgres.statements import Values
from swarm_persistence.engines.sql.postgres.violations import refused
from swarm_persistence.engines.sql.statements import Exchange, InsertStatement, TextStatement
from swarm_persistence.engines.steps import CountOf, Delete, IfNone, Insert, LockRows, Step, Update
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.models.links import TaskLink
from swarm_persistence.query.query import Condition, Query, Subquery, one_of
from swarm_persistence.query.task_statuses import IS_UNSUCCESSFUL
from swarm_persistence.schema.tables import TASK_LINKS, TASKS, UNMET_DEPENDENCIES, M

_MOST_ROWS = 500
"""More links or tasks than this are stored by separate statements, as round trips no longer matter then."""

_IS_COMPLETED = Condition("status", "=", TaskStatus.COMPLETED.value)


class InsertDependentsStatement(InsertStatement, eq=False, gc=False):
    """Inserts tasks with their links, unless another task waits for one, or a dependency of one has failed.

    Gives the results of `LockRows` and `IfNone`; of the innermost steps, those of the tasks only.
    """

    text: str
    others: list[Any]

    @classmethod
    def of(cls, text: str, lock: LockRows, links: Sequence[Values], tasks: Sequence[Values]) -> Self:
        """Return the statement that adds these rows."""
        dependencies = [*dict.fromkeys(link[TASK_LINKS.positions["dependency_id"]] for link in links)]
        return cls(TASKS, [*tasks], text, [lock.shared, lock.exclusive, dependencies, *zip(*links, strict=True)])

    def run(self) -> Exchange[list[Any]]:
        try:
            added = yield TextStatement(self.text, [*self.others, *arrays_of(self.rows)], TASKS)
        except asyncpg.UniqueViolationError as error:
            # Only the sequence of a link can conflict here: a link with the same id is skipped.
            table = TASK_LINKS if error.table_name == TASK_LINKS.name else TASKS
            raise refused(table, error, self.rows) from error
        # RETURNING has no order.
        sequence_of = dict(added)
        return self.step_results([sequence_of[row[0]] for row in self.rows] if added else [])

    def step_results(self, sequences: list[Any]) -> list[Any]:
        return [None, [sequences] if sequences else None]


def links_and_tasks(
    steps: Sequence[Step], has_key: Callable[[Insert[Any]], bool]
) -> tuple[LockRows, list[Insert[TaskLink]], list[Insert[TaskModel]]] | None:
    """Return what a write of new tasks with links locks and adds; `None` for any other write."""
    match steps:
        case [LockRows() as lock, IfNone(query=awaited, then=(IfNone(query=vain, then=then),))]:
            pass
        case _:
            return None
    tasks = [*takewhile(lambda insert: not has_key(insert), _first_inserts(then, TaskModel))]
    links = [*_first_inserts(then[len(tasks) :], TaskLink)]
    if not (0 < len(tasks) <= _MOST_ROWS and 0 < len(links) <= _MOST_ROWS):
        return None
    ids = [*dict.fromkeys(link.model.task_id for link in links)]
    dependencies = [*dict.fromkeys(link.model.dependency_id for link in links)]
    is_such = (
        lock == LockRows(TASKS, lock.shared, lock.exclusive)
        and awaited == Query(TASK_LINKS, (one_of("dependency_id", lock.exclusive),))
        and vain == Query(TASKS, (one_of("id", dependencies), IS_UNSUCCESSFUL))
        and [*then[len(tasks) + len(links) :]] == _steps_after_linking(ids, dependencies)
    )
    return (lock, links, tasks) if is_such else None


def _first_inserts(steps: Sequence[Step], model: type[M]) -> Iterator[Insert[M]]:
    """Yield the first steps as long as they add a record of this model."""
    for step in steps:
        if not (isinstance(step, Insert) and isinstance(step.model, model)):
            return
        yield step


def _steps_after_linking(ids: Sequence[str], dependencies: Sequence[str]) -> list[Step]:
    """Return the steps that reduce a task's links to dependencies that are not completed, and count them."""
    completed = Query(TASKS, (one_of("id", dependencies), _IS_COMPLETED))
    of_completed = Condition("dependency_id", "IN SUBQUERY", Subquery(completed, "id"))
    return [
        Delete(Query(TASK_LINKS, (one_of("task_id", ids), of_completed))),
        Update(Query(TASKS, (one_of("id", ids),)), {UNMET_DEPENDENCIES: CountOf(TASK_LINKS, "task_id")}),
    ]
