"""The links between tasks and their dependencies, and the steps that keep them.

A task has a link for each dependency that is not completed, and a counter of its links, which may be too high while
there are many (see `Unlink`). The write that completes a task deletes its dependents' links. One index on the counter
finds the ready tasks, however many are finished or waiting.
"""

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from swarm_persistence.engines.interface import Executor
from swarm_persistence.engines.prepared import BoundSteps, PreparedWrite
from swarm_persistence.engines.reads import Values
from swarm_persistence.engines.steps import Change, CountOf, Delete, Insert, LockRows, Step, Unlink, Update
from swarm_persistence.errors import DependencyCycleError
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.models.links import TaskLink
from swarm_persistence.query.query import Condition, Order, Query, Subquery, one_of
from swarm_persistence.query.task_statuses import HELD, IS_UNFINISHED
from swarm_persistence.schema.tables import IS_COUNTED, IS_DELAYED, SEQUENCE, TASK_LINKS, TASKS, UNMET_DEPENDENCIES
from swarm_persistence.schema.values import decode_json, identifier, refuse
from swarm_persistence.storage.core import id_of

IS_COMPLETED = Condition("status", "=", TaskStatus.COMPLETED.value)
ROWS_AT_ONCE = 10_000


def dependencies_of(task: TaskModel) -> tuple[str, ...]:
    """Return the distinct ids of a task's dependencies; an invalid id raises `SerializationError`."""
    dependencies: Any = task.dependencies
    if not dependencies and isinstance(dependencies, list):
        return ()
    if not isinstance(dependencies, list):
        refuse("task.dependencies", dependencies, "a list of str")
    ids = [identifier(id, f"task.dependencies[{place}]") for place, id in enumerate(dependencies)]
    return tuple(dict.fromkeys(ids))


def waiting_for(ids: Sequence[str]) -> Query[TaskLink]:
    """Return the query for the links to these dependencies."""
    return Query(TASK_LINKS, (one_of("dependency_id", ids),))


def dependents_of(ids: Sequence[str], *conditions: Condition) -> Query[TaskModel]:
    """Return the query for the tasks that wait for one of these and match further conditions."""
    return Query(TASKS, (Condition("id", "IN SUBQUERY", Subquery(waiting_for(ids), "task_id")), *conditions))


def lock_to_link(tasks: Iterable[TaskModel], own: Iterable[str] = ()) -> LockRows:
    """Return the lock that must precede every query for the dependencies and dependents of tasks to be linked.

    Until they are written, none of their dependencies can end unnoticed, and no other task can start to wait for them.
    Dependencies among `own` are written along with them and need no lock.
    """
    waiting = {id_of(task): dependencies_of(task) for task in tasks}
    dependencies = dict.fromkeys(id for several in waiting.values() for id in several)
    return LockRows(TASKS, tuple(dependencies.keys() - {*own}), tuple(waiting))


def steps_after_storing(tasks: Sequence[TaskModel]) -> list[Step]:
    """Return the steps that must follow the inserts of tasks."""
    waiting = {id_of(task): dependencies for task in tasks if (dependencies := dependencies_of(task))}
    delayed = [id_of(task) for task in tasks if task.run_at is not None]
    begun = [task for task in tasks if task.status is not TaskStatus.PENDING]
    completed = [id_of(task) for task in begun if task.status is TaskStatus.COMPLETED]
    steps = _steps_to_link(waiting)
    if waiting:
        steps.append(Update(Query(TASKS, (one_of("id", [*waiting]),)), {UNMET_DEPENDENCIES: _LINKS}))
    if delayed:
        steps.append(Update(Query(TASKS, (one_of("id", delayed),)), {IS_DELAYED: 1}))
    if completed:
        steps += steps_to_meet(completed)
    # Limits count tasks that are stored as held as well as those that are claimed.
    if held := [id_of(task) for task in begun if task.status in HELD]:
        steps.append(Update(Query(TASKS, (one_of("id", held),)), {IS_COUNTED: 1}))
    return steps


def steps_after_replacing(task: TaskModel) -> Sequence[Step]:
    """Return the steps that must follow the replacement of a task, whose dependencies may have changed."""
    id, dependencies, state = id_of(task), dependencies_of(task), _state_of(task)
    steps: Sequence[Step] = BoundSteps(_without_dependencies, id, *state)
    if dependencies:
        steps = _steps_to_replace_links(id, _steps_to_link({id: dependencies}), _LINKS, state)
    return [*steps, *steps_to_meet([id])] if task.status is TaskStatus.COMPLETED else steps


def _state_of(task: TaskModel) -> "_HiddenColumns":
    return _HiddenColumns(int(task.run_at is not None), int(task.status in HELD))


class _HiddenColumns(NamedTuple):
    """The hidden columns of a task."""

    is_delayed: int
    is_counted: int


@PreparedWrite
def _without_dependencies(id: str, is_delayed: int, is_counted: int) -> list[Step]:
    return _steps_to_replace_links(id, [], 0, _HiddenColumns(is_delayed, is_counted))


def _steps_to_replace_links(id: str, links: Sequence[Step], unmet: Change, state: _HiddenColumns) -> list[Step]:
    old = Query(TASK_LINKS, (Condition("task_id", "=", id),))
    waits: dict[str, Change] = {UNMET_DEPENDENCIES: unmet, IS_DELAYED: state.is_delayed, IS_COUNTED: state.is_counted}
    return [Delete(old), *links, Update(Query(TASKS, (Condition("id", "=", id),)), waits)]


def steps_to_meet(ids: Sequence[str]) -> list[Step]:
    """Return the steps that mark completed tasks as met dependencies of their dependents."""
    return [Unlink(waiting_for([id]), "task_id", TASKS, UNMET_DEPENDENCIES) for id in ids]


async def steps_to_wait_again(executor: Executor, id: str) -> list[Step]:
    """Return the steps that make the unfinished dependents of a task that is no longer completed wait for it again.

    Only their own lists of dependencies name the task, since links to completed tasks are deleted.
    """
    ids: list[str] = []
    last: Any = 0
    while True:
        conditions = (IS_UNFINISHED, Condition(SEQUENCE, ">", last))
        page = Query(TASKS, conditions, (Order(SEQUENCE),), ROWS_AT_ONCE)
        rows: list[Any] = await executor.read(Values(page, ("id", "dependencies", SEQUENCE)))
        ids += [task_id for task_id, dependencies, _ in rows if _names(dependencies, id)]
        if len(rows) < ROWS_AT_ONCE:
            break
        last = rows[-1][-1]
    if not ids:
        return []
    links: list[Step] = [Insert(TaskLink.between(task_id, id)) for task_id in ids]
    return [*links, Update(Query(TASKS, (one_of("id", ids),)), {UNMET_DEPENDENCIES: _LINKS})]


def refuse_cycle(graph: Mapping[str, Iterable[str]]) -> None:
    """Raise `DependencyCycleError` if the graph has a cycle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        # The sorter lists the cycle from dependency to dependent.
        path = " → ".join(repr(id) for id in reversed(cycle))
        raise DependencyCycleError(
            f"the tasks would wait for each other forever: {path}; nothing was written"
        ) from None


async def refuse_cycles_with_stored(executor: Executor, tasks: Iterable[TaskModel]) -> None:
    """Raise `DependencyCycleError` if tasks to be written would form a cycle through stored ones."""
    graph = {id_of(task): dependencies_of(task) for task in tasks}
    unknown = {id for dependencies in graph.values() for id in dependencies} - graph.keys()
    while unknown:
        # Lock before reading: the dependencies of these tasks cannot change until this is committed.
        await executor.write([LockRows(TASKS, tuple(unknown))])
        links = await executor.read(
            Values(Query(TASK_LINKS, (one_of("task_id", sorted(unknown)),)), ("task_id", "dependency_id"))
        )
        found: dict[str, list[str]] = {id: [] for id in unknown}
        for link in links:
            task_id, dependency_id = map(str, link)
            found[task_id].append(dependency_id)
        graph |= {id: tuple(dependencies) for id, dependencies in found.items()}
        unknown = {id for dependencies in found.values() for id in dependencies} - graph.keys()
    refuse_cycle(graph)


_LINKS = CountOf(TASK_LINKS, "task_id")


def _names(dependencies: str, id: str) -> bool:
    """Tell whether a stored list of dependencies contains an id; an unreadable list contains none."""
    try:
        return id in decode_json(dependencies)
    except (ValueError, TypeError):
        return False


def _steps_to_link(waiting: Mapping[str, tuple[str, ...]]) -> list[Step]:
    """Return the steps that link tasks to those of their dependencies that are not completed."""
    if not waiting:
        return []
    links = [Insert(TaskLink.between(id, dependency)) for id, several in waiting.items() for dependency in several]
    ids = tuple(dict.fromkeys(dependency for several in waiting.values() for dependency in several))
    completed = Query(TASKS, (one_of("id", ids), IS_COMPLETED))
    met = Query(
        TASK_LINKS,
        (one_of("task_id", [*waiting]), Condition("dependency_id", "IN SUBQUERY", Subquery(completed, "id"))),
    )
    return [*links, Delete(met)]
