"""`swarm-persistence schedules`: lists and changes schedules, and shows when they store their next tasks."""

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
    delete_one,
    print_fields,
    print_json,
    print_result,
    printable,
    run_on,
    show_list,
    whole_number,
)
from swarm_persistence.cli.task_fields import add_task_fields, task_fields_of
from swarm_persistence.cli.terminal import open_console, print_line
from swarm_persistence.models import CatchUp, ScheduleModel
from swarm_persistence.query.filters import value_of
from swarm_persistence.storage import Storage, next_times

_SHOWN_TIMES = 5
_NAME = "the name of the schedule"


def add_parser(commands: "Subparsers") -> None:
    """Add the command's arguments."""
    actions = add_actions(commands, "schedules", "List, show, set, pause, resume and delete schedules.")
    add_action(actions, "list", "List schedules by name, each with its next time.", run_list)
    show = add_action(actions, "show", "Show one schedule, and its next times by the clocks of its zone.", run_show)
    show.add_argument("name", metavar="NAME", help=_NAME)
    show.add_argument(
        "--times", type=whole_number, default=_SHOWN_TIMES, metavar="N", help=f"how many (default: {_SHOWN_TIMES})"
    )
    _add_set(actions)
    pause = add_action(
        actions,
        "pause",
        "Let a schedule store no tasks until it is resumed.",
        _changing(lambda storage, name: storage.pause_schedule(name)),
    )
    resume = add_action(
        actions,
        "resume",
        "Resume a paused schedule. What it has missed is not caught up.",
        _changing(lambda storage, name: storage.resume_schedule(name)),
    )
    delete = add_action(actions, "delete", "Delete a schedule. The tasks that it has stored stay.", run_delete)
    for parser in (pause, resume, delete):
        parser.add_argument("name", metavar="NAME", help=_NAME)


def _add_set(actions: "Subparsers") -> None:
    setting = add_action(
        actions,
        "set",
        "Store a schedule, or replace the one of its name. Any worker adds its tasks. A paused one stays paused.",
        run_set,
    )
    setting.add_argument("name", metavar="NAME", help=_NAME)
    add_task_fields(setting)
    times = setting.add_mutually_exclusive_group(required=True)
    times.add_argument("--cron", metavar="EXPRESSION", help="its times, as in '30 2 * * *'")
    times.add_argument("--every", type=float, metavar="S", help="how many seconds are between its times")
    setting.add_argument("--timezone", default="UTC", metavar="ZONE", help="whose clocks --cron means (default: UTC)")
    setting.add_argument("--starts-at", metavar="TIME", help="no time before, as in 2026-12-01T00:00:00Z")
    setting.add_argument(
        "--catch-up",
        choices=[each.value for each in CatchUp],
        default=CatchUp.ONE.value,
        help="for which of the times that have passed without a worker a task is added (default: one, the latest)",
    )
    setting.add_argument("--paused", action="store_true", help="pause it if there is no schedule of its name")


def run_set(arguments: argparse.Namespace) -> int:
    """Store a schedule, print it, and return the exit code."""
    starts_at = arguments.starts_at
    schedule = ScheduleModel.new(
        arguments.name,
        arguments.type,
        arguments.payload,
        cron=arguments.cron,
        every=arguments.every,
        timezone=arguments.timezone,
        starts_at=None if starts_at is None else value_of(ScheduleModel, "starts_at", starts_at),
        catch_up=arguments.catch_up,
        paused=arguments.paused,
        priority=arguments.priority,
        max_retries=arguments.max_retries,
        task_fields=task_fields_of(arguments),
    )
    _print_state(arguments, run_on(arguments.database, lambda storage: storage.store_schedule(schedule)))
    return 0


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
    show_list(arguments, schedules, "Schedules", columns)
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Show one schedule, and return the exit code."""
    schedule = run_on(arguments.database, lambda storage: _existing(storage, arguments.name))
    times = next_times(schedule, arguments.times)
    if arguments.json:
        print_json({**msgspec.to_builtins(schedule), "next_times": msgspec.to_builtins(times)})
        return 0
    console = open_console()
    print_fields(console, schedule)
    for each in times:
        print_line(console, f"{'would be' if schedule.paused else 'next'}: {_local(schedule, each)}")
    return 0


def run_delete(arguments: argparse.Namespace) -> int:
    """Delete a schedule, and return the exit code."""
    missing = f"there is no schedule {arguments.name!r}"
    return delete_one(arguments, arguments.name, lambda storage: storage.delete_schedule(arguments.name), missing)


def _changing(
    change: Callable[[Storage, str], Awaitable[ScheduleModel]],
) -> Callable[[argparse.Namespace], int]:
    """Return a function that changes a schedule, prints it, and returns the exit code."""

    def run(arguments: argparse.Namespace) -> int:
        schedule = run_on(arguments.database, lambda storage: change(storage, arguments.name))
        _print_state(arguments, schedule)
        return 0

    return run


def _print_state(arguments: argparse.Namespace, schedule: ScheduleModel) -> None:
    state = "paused" if schedule.paused else f"next at {_local(schedule, schedule.next_at)}"
    print_result(arguments, schedule, f"{printable(schedule.name)}: {state}")


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
