"""The changes of tasks after a cursor, filtered by ids, types, statuses and group."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any

from swarm_persistence.engines.following import BEFORE_ALL, end_of
from swarm_persistence.engines.interface import FeedPosition
from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.query.query import Condition, Query, one_of
from swarm_persistence.query.values import query_value
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.schema.values import LARGEST_INTEGER, identifier
from swarm_persistence.storage.arguments import several, texts
from swarm_persistence.storage.watching import NOW, Watched


class TaskChanges(AsyncGenerator[TaskModel, None]):
    """Yields tasks whenever they are written; `Storage.watch_tasks` returns it."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._records: AsyncGenerator[TaskModel, None] = watched.records()

    @property
    def cursor(self) -> str | None:
        """The cursor of the last task that was yielded: `watch_tasks(after=cursor)` continues after it.

        It stays valid as long as the database exists, but not in a copy or a restored backup. `None` until something
        was read.
        """
        return None if self._watched.position in (None, BEFORE_ALL) else _cursor_of(self._watched.position)

    async def __anext__(self) -> TaskModel:
        return await anext(self._records)

    async def asend(self, value: None) -> TaskModel:
        return await self._records.asend(value)

    async def athrow(self, *error: Any) -> TaskModel:
        return await self._records.athrow(*error)

    async def aclose(self) -> None:
        await self._records.aclose()


class TaskFilter:
    """The tasks to watch: with one of the ids, types and statuses, and of the group, where given."""

    def __init__(
        self,
        ids: Iterable[str] | None,
        types: Iterable[str] | None,
        statuses: Iterable[TaskStatus | str] | None,
        group: str | None,
    ) -> None:
        filters: dict[str, tuple[str, ...]] = {}
        if ids is not None:
            filters["id"] = texts(ids, "ids")
        if types is not None:
            filters["task_type"] = texts(types, "types")
        if statuses is not None:
            filters["status"] = _statuses(statuses)
        if group is not None:
            filters["group"] = (identifier(group, "task.group"),)
        conditions = (
            # Not "=", along whose index all tasks of a group would be read and sorted for each page.
            Condition(field, "IN", values) if field == "group" else one_of(field, values)
            for field, values in filters.items()
        )
        self.query = Query(TASKS, tuple(conditions))
        self.fits = _fits(filters) if filters else None
        """The predicate of rows; `None` if every row matches."""


def position_of_cursor(cursor: str | None) -> FeedPosition | None:
    """Return the position after which to watch; `None` for the end of the stored changes."""
    if cursor is None:
        return BEFORE_ALL
    if isinstance(cursor, str):
        if cursor == NOW:
            return None
        number, dot, sequence = str.__str__(cursor).partition(".")
        if _is_number(number) and (_is_number(sequence) or not dot):
            return FeedPosition(int(number), int(sequence)) if dot else end_of(int(number))
    raise InvalidQueryError(f"after is {shown(cursor)}, expected a cursor of watch_tasks, or {NOW!r}")


def _statuses(statuses: Iterable[TaskStatus | str]) -> tuple[str, ...]:
    column = TASKS.column("status")
    given = several(statuses, "statuses", "a list of TaskStatus")
    values: list[Any] = [query_value(column, each, f"statuses[{place}]") for place, each in enumerate(given)]
    return tuple(dict.fromkeys(values))


def _fits(filters: Mapping[str, tuple[str, ...]]) -> Callable[[Row], bool]:
    places = [(TASKS.positions[field], frozenset(values)) for field, values in filters.items()]
    return lambda row: all(row[place] in values for place, values in places)


def _cursor_of(position: FeedPosition) -> str:
    """Return a position as text: its number, and the sequence unless all rows of the number were seen."""
    if position.sequence == LARGEST_INTEGER:
        return str(position.number)
    return f"{position.number}.{position.sequence}"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST_INTEGER
