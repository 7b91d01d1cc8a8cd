"""Computes the times of a schedule from the schedule and a moment, without a storage.

Cron expressions are parsed by cronsim, from the extra `schedules`: it has no dependencies, and handles daylight saving
time as Debian's cron does.
"""

import inspect
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

from swarm_persistence.clock import from_microseconds, microseconds, now
from swarm_persistence.errors import OtherError
from swarm_persistence.models import CatchUp, Model, ScheduleModel, TaskModel
from swarm_persistence.query.builder import bound
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.values import moment, real, refuse, text

if TYPE_CHECKING:
    from cronsim import CronSim

SHORTEST_PERIOD_SECONDS = 1.0
_LONGEST_PERIOD_SECONDS = (date.max - date.min).total_seconds()
LATE_SECONDS = 60.0
"""With `CatchUp.SKIP`, older times are skipped."""

_OWN_FIELDS = ("task_type", "payload", "priority", "max_retries", "dependencies", "run_at", "idempotency_key")
_TASK_FIELDS = tuple(name for name in inspect.signature(TaskModel.new).parameters if name not in _OWN_FIELDS)
"""The keys of `task_fields`: the arguments of `TaskModel.new` that the schedule neither has nor sets itself."""
_INSTANT = timedelta(microseconds=1)


def next_times(schedule: ScheduleModel, count: int = 5, *, after: datetime | None = None) -> list[datetime]:
    """Return the next times of a schedule after a moment, by default after now, whether or not it is paused.

    Raises:
        SerializationError: a field of the schedule is invalid.
        OtherError: it has a cron expression, and the extra `schedules` is not installed.

    """
    require_times(schedule)
    start = now() if after is None else from_microseconds(moment(after, "after"))
    return [*islice(times_after(schedule, start), bound("count", count))]


def plan(model: Model) -> None:
    """Refuse an invalid schedule, and set `next_at` if it is missing; leave any other record as it is."""
    if isinstance(model, ScheduleModel):
        require_schedule(model)
        if model.next_at is None:
            model.next_at = next_time(model, now())


def require_schedule(schedule: ScheduleModel) -> None:
    """Refuse a schedule with invalid times or task fields."""
    if text(schedule.name, "schedule.name") != schedule.id:
        refuse("schedule.id", schedule.id, f"its name, {schedule.name!r}")
    require_times(schedule)
    codec_of(TaskModel).encode(task_of(schedule, now()))


def task_of(schedule: ScheduleModel, at: datetime) -> TaskModel:
    """Return the task that a schedule stores for one of its times."""
    fields: Any = schedule.task_fields
    if not isinstance(fields, dict):
        refuse("schedule.task_fields", fields, "a dict")
    for field in fields:
        if field not in _TASK_FIELDS:
            refuse(f"schedule.task_fields[{field!r}]", fields[field], f"one of {', '.join(_TASK_FIELDS)}")
    return TaskModel.new(
        schedule.task_type,
        schedule.payload,
        schedule.priority,
        max_retries=schedule.max_retries,
        run_at=at,
        idempotency_key=f"schedule {schedule.name} {at.isoformat()}",
        **fields,
    )


def next_time(schedule: ScheduleModel, after: datetime) -> datetime | None:
    """Return the next time of a valid schedule after a moment, if there is one."""
    return next(times_after(schedule, after), None)


def require_times(schedule: ScheduleModel) -> None:
    """Refuse a schedule whose fields do not define times."""
    if (schedule.cron is None) == (schedule.every is None):
        given = "both" if schedule.cron is not None else "neither"
        refuse("schedule.cron and schedule.every", given, "exactly one of the two")
    zone = _zone(schedule.timezone)
    moment(schedule.created_at, "schedule.created_at")
    if schedule.starts_at is not None:
        moment(schedule.starts_at, "schedule.starts_at")
    if schedule.every is not None:
        if real(schedule.every, "schedule.every") < SHORTEST_PERIOD_SECONDS:
            refuse("schedule.every", schedule.every, "seconds or a timedelta, a second or more")
        if schedule.every > _LONGEST_PERIOD_SECONDS:
            refuse("schedule.every", schedule.every, "a period that the calendar, up to the year 9999, can hold")
        return
    cron = text(schedule.cron, "schedule.cron")
    if next(_cron_times(cron, zone, now()), None) is None:
        refuse("schedule.cron", cron, "a cron expression that matches a time")


def times_after(schedule: ScheduleModel, after: datetime) -> Iterator[datetime]:
    """Yield the times of a valid schedule after a moment, in UTC."""
    if schedule.every is not None:
        return _period_times(schedule, after)
    start = after if schedule.starts_at is None else max(after, schedule.starts_at - _INSTANT)
    return _cron_times(str(schedule.cron), _zone(schedule.timezone), start)


def due_times(schedule: ScheduleModel, at: datetime) -> Iterator[datetime]:
    """Yield the times, from `next_at` to `at`, for which a schedule stores a task by its `catch_up`."""
    first = schedule.next_at
    if first is None or first > at:
        return
    if schedule.catch_up is CatchUp.ALL:
        yield first
        for each in times_after(schedule, first):
            if each > at:
                return
            yield each
    latest = max(first, min(_latest(schedule, at), at))
    if schedule.catch_up is CatchUp.ONE or (at - latest).total_seconds() <= LATE_SECONDS:
        yield latest


def _latest(schedule: ScheduleModel, at: datetime) -> datetime:
    """Return the latest time of a schedule up to `at`."""
    if schedule.every is not None:
        anchor, period, _ = _period(schedule)
        return from_microseconds(anchor + (microseconds(at) - anchor) // period * period)
    # Backwards, as there may be thousands of times in between; it begins before the moment that it is given.
    backwards = _cron_sim(str(schedule.cron), at + _INSTANT, _zone(schedule.timezone), reverse=True)
    local = next(backwards, None)
    if local is None:
        return at
    # Around a clock change, it may skip times that the forward search finds.
    latest = local.astimezone(UTC)
    return max(takewhile(lambda each: each <= at, times_after(schedule, latest)), default=latest)


def _period_times(schedule: ScheduleModel, after: datetime) -> Iterator[datetime]:
    anchor, period, first = _period(schedule)
    number = max((microseconds(after) - anchor) // period + 1, first)
    while True:
        try:
            yield from_microseconds(anchor + number * period)
        except OverflowError:
            return
        number += 1


def _period(schedule: ScheduleModel) -> tuple[int, int, int]:
    """Return the moment from which the periods count, their length in microseconds, and the number of the first."""
    period = round(float(schedule.every or 0) * 1_000_000)
    if schedule.starts_at is not None:
        return microseconds(schedule.starts_at), period, 0
    return microseconds(schedule.created_at), period, 1


def _cron_times(cron: str, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    last = after
    for local in _cron_sim(cron, after, zone):
        # Times that a change of the clocks skips move to the next one that exists, where several may meet. In an hour
        # that comes twice, cronsim starts from the first of the two.
        each = local.astimezone(UTC)
        if each > last:
            last = each
            yield each


def _cron_sim(cron: str, start: datetime, zone: tzinfo, *, reverse: bool = False) -> "CronSim":
    try:
        from cronsim import CronSim, CronSimError
    except ImportError as error:
        raise OtherError('a cron expression needs cronsim: pip install "swarm-persistence[schedules]"') from error
    try:
        return CronSim(cron, start.astimezone(zone), reverse=reverse)
    except CronSimError as error:
        fields = "a cron expression: minute, hour, day of month, month and day of week, if need be after the second"
        refuse("schedule.cron", cron, f"{fields} ({error})")


def _zone(name: str) -> tzinfo:
    if text(name, "schedule.timezone") == "UTC":
        return UTC  # needs no database of time zones
    from zoneinfo import ZoneInfo  # imported here, as it loads sysconfig

    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        refuse("schedule.timezone", name, "a time zone that this machine knows, such as 'Europe/Berlin'")
