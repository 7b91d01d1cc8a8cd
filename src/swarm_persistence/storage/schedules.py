"""The verbs of schedules: store and change schedules, and store their due tasks."""

import asyncio
import logging
import time
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import msgspec

from swarm_persistence.clock import microseconds, now
from swarm_persistence.durations import seconds
from swarm_persistence.engines.interface import Engine
from swarm_persistence.engines.reads import Select, Values
from swarm_persistence.engines.steps import Change, Claim, Delete, IfChanged, Insert, Save, Update
from swarm_persistence.errors import OtherError, SerializationError, UnreadableError
from swarm_persistence.models import ScheduleModel, TaskModel
from swarm_persistence.query.query import Condition, FromNow, Order, Query, one_of
from swarm_persistence.schema.tables import SCHEDULES, TASKS
from swarm_persistence.schema.values import accept_texts
from swarm_persistence.storage.core import TOUCHED, StorageCore, by_id
from swarm_persistence.storage.readable import skip_unreadable, without
from swarm_persistence.storage.schedule_times import due_times, next_time, plan, require_schedule, task_of

_MOST_TASKS_AT_ONCE = 500
_LEAST_PAUSE_SECONDS = 0.5
"""The shortest time between reads of a watch: on SQLite, every commit of another process wakes it."""

_IS_PLANNED = (Condition("paused", "=", 0), Condition("next_at", "IS NOT NULL"))
_IS_DUE = (Condition("paused", "=", 0), Condition("next_at", "<=", FromNow()))
_TIMES = ("cron", "every", "timezone", "starts_at")
_STATE = ("created_at", "paused", "last_at", "last_task_id", "version")

_log = logging.getLogger(__name__)


class ScheduleVerbs(StorageCore):
    """Schedules, by their names."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._not_fired: dict[str, int] = {}
        """Versions of the schedules whose times cannot be computed here; each is logged once, and wakes no watch."""

    async def store_schedule(self, schedule: ScheduleModel) -> ScheduleModel:
        """Store a schedule, or replace the one of its name, and return it as it is stored.

        A program may store its schedules at each start: the pause, the latest task and the `created_at` of a stored one
        are kept and, if its times are unchanged, its `next_at`. The schedule is updated in place.

        Raises:
            SerializationError: a field is invalid; nothing was written.
            OtherError: it has a cron expression, and the extra `schedules` is not installed.

        """
        self._require_model(SCHEDULES, schedule)
        accept_texts(SCHEDULES, schedule)
        require_schedule(schedule)
        while True:
            stored = await self._get(SCHEDULES, schedule.name)
            copy = _kept(schedule, stored)
            if copy != stored:
                if not await self._write_one(Save(copy)):
                    continue  # it was written in between
                copy.version += 1
            self._refresh(schedule, copy)
            return schedule

    async def get_schedule(self, name: str) -> ScheduleModel | None:
        """Return the schedule of this name, or `None` if there is none."""
        return await self._get(SCHEDULES, name)

    async def list_schedules(self) -> list[ScheduleModel]:
        """Return all schedules, by name."""
        return await self._executor().read(Select(Query(SCHEDULES, (), (Order("name"),))))

    async def pause_schedule(self, name: str) -> ScheduleModel:
        """Pause a schedule, which stores no tasks until it is resumed, and return it; idempotent.

        Raises:
            NotFoundError: no schedule has this name.

        """
        is_running = Query(SCHEDULES, (*by_id(SCHEDULES, name).conditions, Condition("paused", "=", 0)), limit=1)
        found: list[ScheduleModel] = await self._write_one(Claim(is_running, {"paused": 1, **TOUCHED}))
        return found[0] if found else await self._existing(SCHEDULES, name)

    async def resume_schedule(self, name: str) -> ScheduleModel:
        """Resume a paused schedule from its next time after now, and return it.

        The times that have passed while it was paused are not caught up.

        Raises:
            NotFoundError: no schedule has this name.

        """
        while True:
            schedule = await self._existing(SCHEDULES, name)
            if not schedule.paused:
                return schedule
            changes: dict[str, Change] = {"paused": 0, "next_at": _moment(next_time(schedule, now())), **TOUCHED}
            found: list[ScheduleModel] = await self._write_one(Claim(_as_read(schedule), changes))
            if found:
                return found[0]

    async def delete_schedule(self, name: str) -> bool:
        """Delete a schedule, and return whether there was one; the tasks that it has stored stay."""
        return bool(await self._write_one(Delete(by_id(SCHEDULES, name))))

    async def fire_due_schedules(self) -> list[TaskModel]:
        """Store the tasks of all due schedules, and return those that this call has stored.

        Of any number of callers in any number of processes, exactly one stores the task of each time. Workers call this
        by themselves. A schedule that cannot be read, or whose times cannot be computed, is logged and skipped.
        """
        fired: list[TaskModel] = []
        for schedule in await self._due_schedules():
            if self._not_fired.get(schedule.name) == schedule.version:
                continue
            try:
                require_schedule(schedule)
            except (SerializationError, OtherError) as error:
                self._not_fired[schedule.name] = schedule.version
                _log.error("schedule %r stores no tasks here: %s", schedule.name, error)
            else:
                fired += await self._fire(schedule)
        return fired

    def watch_schedules(self) -> "ScheduleWatch":
        """Return a watch that waits until a schedule is due; close it.

        Raises:
            TransactionError: within a transaction, which sees no commits of others.

        """
        self._require_no_transaction("watch_schedules")
        return ScheduleWatch(self)

    async def _due_schedules(self) -> list[ScheduleModel]:
        skipped: list[UnreadableError] = []
        while True:
            due: Query[ScheduleModel] = Query(SCHEDULES, (*_IS_DUE, *without(skipped)), (Order("next_at"),))
            try:
                return await self._executor().read(Select(due))
            except UnreadableError as error:
                skip_unreadable(error, skipped)

    async def _fire(self, schedule: ScheduleModel) -> list[TaskModel]:
        fired: list[TaskModel] = []
        # It is due by the clock of the database, which may be ahead.
        at = now() if schedule.next_at is None else max(now(), schedule.next_at)
        while schedule.next_at is not None and schedule.next_at <= at:
            times = [*islice(due_times(schedule, at), _MOST_TASKS_AT_ONCE)]
            tasks = [task_of(schedule, each) for each in times]
            is_rest = len(times) < _MOST_TASKS_AT_ONCE
            following = next_time(schedule, at if is_rest else times[-1])
            changes: dict[str, Any] = {"next_at": _moment(following), **TOUCHED}
            if tasks:
                changes |= {"last_at": _moment(times[-1]), "last_task_id": tasks[-1].id}
            inserts = tuple(Insert(task, "idempotency_key") for task in tasks)
            # Whichever caller moves `next_at` stores the tasks, in the same write. The key is a second guard: a
            # schedule that is deleted and stored anew stores no second task for a time.
            if not await self._write_one(IfChanged(Update(_as_read(schedule), changes), inserts)):
                break
            fired += tasks
            schedule.next_at, schedule.version = following, schedule.version + 1
        return await self._stored_among(fired)

    async def _stored_among(self, tasks: list[TaskModel]) -> list[TaskModel]:
        if not tasks:
            return []
        query: Query[TaskModel] = Query(TASKS, (one_of("id", [task.id for task in tasks]),), (Order("run_at"),))
        return await self._executor().read(Select(query))


class ScheduleWatch:
    """Waits until a schedule is due; belongs to the event loop that created it."""

    def __init__(self, storage: ScheduleVerbs) -> None:
        self._storage = storage
        self._commits = storage._engine.watch((SCHEDULES,))
        self._read_at = -_LEAST_PAUSE_SECONDS

    async def wait(self, within: float | timedelta) -> bool:
        """Wait until a schedule is due; return `False` after the timeout.

        Raises:
            InvalidQueryError: `within` is negative.
            ClosedError: the storage was closed.

        """
        deadline = time.monotonic() + seconds(within, "within", is_zero_possible=True)
        while True:
            due_in = await self._seconds_to_next_due()
            rest = max(deadline - time.monotonic(), 0.0)
            if due_in <= 0:
                return True
            if not await self._commits.wait(min(rest, due_in)) and rest <= due_in:
                return False

    def close(self) -> None:
        """Stop watching; idempotent."""
        self._commits.close()

    async def _seconds_to_next_due(self) -> float:
        """Return the seconds until the next schedule is due, infinity if there is none."""
        if (pause := self._read_at + _LEAST_PAUSE_SECONDS - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        self._read_at = time.monotonic()
        fired = tuple(Condition("name", "<>", name) for name in self._storage._not_fired)
        planned = Query(SCHEDULES, (*_IS_PLANNED, *fired), (Order("next_at"),), 1)
        rows: list[Any] = await self._storage._executor().read(Values(planned, ("next_at",)))
        if not rows:
            return float("inf")
        due_at: int = rows[0][0]
        return (due_at - await self._storage._engine.time()) / 1_000_000


def _kept(schedule: ScheduleModel, stored: ScheduleModel | None) -> ScheduleModel:
    """Return the schedule that replaces the stored one, with its state; the stored one if they are equal."""
    copy = msgspec.structs.replace(schedule, version=0)
    if stored is not None:
        copy.next_at = None
        for field in _STATE:
            setattr(copy, field, getattr(stored, field))
        if all(getattr(copy, field) == getattr(stored, field) for field in _TIMES):
            copy.next_at = stored.next_at
        if msgspec.structs.replace(copy, updated_at=stored.updated_at) == stored:
            return stored
        copy.updated_at = now()
    plan(copy)
    return copy


def _as_read(schedule: ScheduleModel) -> Query[ScheduleModel]:
    """Return the query for a schedule that has not changed since it was read."""
    return Query(
        SCHEDULES,
        (*by_id(SCHEDULES, schedule.name).conditions, Condition("version", "=", schedule.version)),
        limit=1,
    )


def _moment(value: datetime | None) -> int | None:
    return None if value is None else microseconds(value)
