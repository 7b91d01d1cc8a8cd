"""The events that name a task. No index has the task of an event, so a bounded number of events is searched."""

from datetime import datetime, timedelta

import msgspec

from swarm_persistence import EventModel, QueryBuilder, Storage, TaskModel

MOST_EVENTS = 100
"""How many events the page of a task shows; the list of events has all of them."""
MOST_SEARCHED = 10_000
"""How many events of the swarm are searched at the beginning of a task's time, and again at its end."""
_CLOCKS_APART = timedelta(seconds=10)
_AFTERWARDS = timedelta(hours=1)
"""How long after the last write of a finished task its events are still read."""


class TaskEvents(msgspec.Struct, frozen=True):
    """The first events of a task, in the order of time."""

    events: list[EventModel]
    has_more: bool
    """Whether more events of the task were found."""
    unsearched: tuple[datetime, datetime] | None
    """The period in which no events were searched, as there are too many."""


async def events_of(storage: Storage, task: TaskModel) -> TaskEvents:
    """Return the first events that name a task, among as many events of the swarm as are searched."""
    events = storage.repository(EventModel)
    lifetime = QueryBuilder(EventModel).where_ge("timestamp", _moved(task.created_at, -_CLOCKS_APART))
    if task.completed_at is not None:
        lifetime = lifetime.where_le("timestamp", _moved(max(task.completed_at, task.updated_at), _AFTERWARDS))

    async def border(is_last: bool) -> datetime | None:
        """Return the time up to which, or from which on, there are as many events as are searched."""
        beyond = lifetime.order_by("timestamp", desc=is_last).offset(MOST_SEARCHED).limit(1)
        found = await events.query(beyond)
        return found[0].timestamp if found else None

    async def search(within: QueryBuilder[EventModel]) -> list[EventModel]:
        named = within.where_eq("task_id", task.id)
        return await events.query(named.order_by("timestamp").limit(MOST_EVENTS + 1))

    unsearched = None
    end_of_first = await border(is_last=False)
    begin_of_last = None if end_of_first is None else await border(is_last=True)
    if end_of_first is None or begin_of_last is None or begin_of_last <= end_of_first:
        found = await search(lifetime)
    else:
        first = await search(lifetime.where_lt("timestamp", end_of_first))
        found = first + await search(lifetime.where_gt("timestamp", begin_of_last))
        unsearched = (end_of_first, begin_of_last)
    return TaskEvents(found[:MOST_EVENTS], len(found) > MOST_EVENTS, unsearched)


def _moved(moment: datetime, by: timedelta) -> datetime:
    try:
        return moment + by
    except OverflowError:  # a task may be of the first day of the calendar, or of the last
        return moment
