"""`swarm-persistence schedules`: which schedules there are, when they store their next tasks, and their changes."""

import argparse
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.records import (
    Subparsers,
    add_action,
    add_actions,
    print_json,
    printable,
    run_on,
    short_json,
    show_list,
    whole_number,
)
from swarm_persistence.cli.terminal import open_console, say
from swarm_persistence.models import ScheduleModel
from swarm_persistence.storage import Storage, next_times

_SHOWN_TIMES = 5
_NAME = "the name of the schedule"


def add_parser(commands: "Subparsers") -> None:
    """Add the command's arguments."""
    actions = add_actions(commands, "schedules", "List, show, pause, resume and delete schedules.")
    listing = add_action(actions, "list", "List schedules by name, each with its next time.", run_list)
    listing.set_defaults(limit=None)
    show = add_action(actions, "show", "Show one schedule, and its next times by the clocks of its zone.", run_show)
    show.add_argument("name", metavar="NAME", help=_NAME)
    show.add_argument(
        "--times", type=whole_number, default=_SHOWN_TIMES, metavar="N", help=f"how many (default: {_SHOWN_TIMES})"
    )
    pause = add_action(actions, "pause", "Let a schedule store no tasks until it is resumed.", _changing(_pause))
    resume = add_action(
        actions, "resume", "Let a paused schedule go on. What it has missed is not caught up.", _changing(_resume)
    )
    delete = add_action(actions, "delete", "Delete a schedule. The tasks that it has stored stay.", run_delete)
    for parser in (pause, resume, delete):
        parser.add_argument("name", metavar="NAME", help=_NAME)


def run_list(arguments: argparse.Namespace) -> int:
    """List schedules, and return the exit code."""
    schedules = run_on(arguments.database, lambda storage: storage.list_schedules())
    columns: dict[str, Callable[[ScheduleModel], str]] = {
        "name": lambda schedule: schedule.name,
        "task type": lambda schedule: schedule.task_type,
        "times": _times_of,
        "next": lambda schedule: "paused" if schedule.paused else _local(schedule, schedule.next_at),
        "last": lambda schedule: _local(schedule, schedule.last_at),
    }
    show_list(arguments, schedules, "Schedules", columns, lambda schedule: schedule.name)
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Show one schedule, and return the exit code."""
    schedule = run_on(arguments.database, lambda storage: _existing(storage, arguments.name))
    times = next_times(schedule, arguments.times)
    if arguments.json:
        print_json({**msgspec.to_builtins(schedule), "next_times": msgspec.to_builtins(times)})
        return 0
    console = open_console()
    for field in schedule.__struct_fields__:
        value = msgspec.to_builtins(getattr(schedule, field))
        if value is not None:
            say(console, f"{field}: {printable(value if isinstance(value, str) else short_json(value))}")
    for each in times:
        say(console, f"{'would be' if schedule.paused else 'next'}: {_local(schedule, each)}")
    return 0


def run_delete(arguments: argparse.Namespace) -> int:
    """Delete a schedule, and return the exit code."""
    if not run_on(arguments.database, lambda storage: storage.delete_schedule(arguments.name)):
        raise CommandError(f"there is no schedule {arguments.name!r}", 1)
    if not arguments.json:
        print(f"{printable(arguments.name)}: deleted")
    return 0


def _changing(
    change: Callable[[Storage, str], Awaitable[ScheduleModel]],
) -> Callable[[argparse.Namespace], int]:
    """Return a function that changes a schedule, prints it, and returns the exit code."""

    def run(arguments: argparse.Namespace) -> int:
        schedule = run_on(arguments.database, lambda storage: change(storage, arguments.name))
        if arguments.json:
            print_json(schedule)
        else:
            state = "paused" if schedule.paused else f"next at {_local(schedule, schedule.next_at)}"
            print(f"{printable(schedule.name)}: {state}")
        return 0

    return run


async def _pause(storage: Storage, name: str) -> ScheduleModel:
    return await storage.pause_schedule(name)


async def _resume(storage: Storage, name: str) -> ScheduleModel:
    return await storage.resume_schedule(name)


async def _existing(storage: Storage, name: str) -> ScheduleModel:
    schedule = await storage.get_schedule(name)
    if schedule is None:
        raise CommandError(f"there is no schedule {name!r}", 1)
    return schedule


def _times_of(schedule: ScheduleModel) -> str:
    return f"every {schedule.every:g} s" if schedule.every is not None else f"{schedule.cron} {schedule.timezone}"


def _local(schedule: ScheduleModel, moment: datetime | None) -> str:
    """Return a time by the clocks of the schedule's zone, or in UTC where this machine does not know it."""
    if moment is None:
        return ""
    with suppress(LookupError, ValueError, OSError):
        moment = moment.astimezone(ZoneInfo(schedule.timezone))
    return moment.isoformat(sep=" ", timespec="seconds")
