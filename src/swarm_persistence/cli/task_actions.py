"""`swarm-persistence tasks add`, `retry`, `approve` and the like: an operator's changes of tasks."""

import argparse
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.output_reader import while_read
from swarm_persistence.cli.records import Subparsers, add_action, print_result, printable, run_on
from swarm_persistence.cli.task_fields import add_task_fields, task_fields_of
from swarm_persistence.clock import now
from swarm_persistence.durations import LONGEST_SECONDS
from swarm_persistence.errors import StorageError
from swarm_persistence.models import KeyPolicy, TaskModel, TaskStatus
from swarm_persistence.storage import Storage, interventions

Change = Callable[[Storage, str], Awaitable[TaskModel]]


def add_parsers(actions: "Subparsers") -> None:
    """Add the arguments of these actions."""
    add = add_action(actions, "add", "Store a new task, and print its id.", run_add)
    add_task_fields(add)
    add.add_argument(
        "--depends-on", action="append", default=[], metavar="ID", help="a task to wait for; may be repeated"
    )
    add.add_argument(
        "--keep-waiting", action="store_true", help="wait on, rather than fail, if a task that it depends on fails"
    )
    add.add_argument("--run-in", type=float, metavar="S", help="how many seconds to wait before it is ready")
    add.add_argument(
        "--key", metavar="KEY", help="its idempotency key: of two tasks with one, only the first is stored"
    )
    add.add_argument(
        "--key-policy",
        choices=[policy.value for policy in KeyPolicy],
        default=KeyPolicy.FOR_EVER.value,
        help="for how long it holds its key (default: for_ever)",
    )
    for name, text, change in (
        (
            "retry",
            "Make finished tasks pending again. They begin anew, as if they had never run.",
            lambda storage, id: storage.retry_task(id),
        ),
        (
            "cancel",
            "Cancel unfinished tasks. An agent that holds one loses it; tasks that depend on it fail.",
            interventions.cancel,
        ),
    ):
        parser = add_action(actions, name, text, partial(run_change, name, change))
        parser.add_argument("ids", metavar="ID", nargs="+", help="the id of a task")
    text = "Take tasks from the agents that hold them. They are pending again, and count no retry."
    release = add_action(actions, "release", text, run_release)
    release.add_argument("ids", metavar="ID", nargs="+", help="the id of a task")
    release.add_argument("--agent", metavar="ID", help="only if this agent holds it")
    release.add_argument(
        "--retry-in", type=float, default=0.0, metavar="S", help="how many seconds to wait before it can be claimed"
    )
    for decision, text in (
        ("approve", "Complete pending tasks that wait for a decision. Tasks that depend on one can be claimed."),
        ("reject", "Fail pending tasks that wait for a decision, for good. Tasks that depend on one fail."),
    ):
        parser = add_action(actions, decision, text, run_decision)
        parser.add_argument("ids", metavar="ID", nargs="+", help="the id of a task")
        parser.add_argument("--by", required=True, metavar="NAME", help="the person who decides")
        parser.add_argument("--comment", metavar="TEXT", help="the reason")
        parser.set_defaults(decision=decision)

    wait = add_action(
        actions,
        "wait",
        "Wait until tasks are finished, and print them. The exit code is 1 if one of them was not completed.",
        run_wait,
    )
    wait.add_argument("ids", metavar="ID", nargs="+", help="the id of a task")
    wait.add_argument("--timeout", type=float, metavar="S", help="how many seconds to wait at most (default: forever)")


def run_add(arguments: argparse.Namespace) -> int:
    """Store a task, print it, and return the exit code."""
    task = TaskModel.new(
        arguments.type,
        arguments.payload,
        arguments.priority,
        dependencies=arguments.depends_on,
        max_retries=arguments.max_retries,
        idempotency_key=arguments.key,
        key_policy=arguments.key_policy,
        fails_with_dependencies=not arguments.keep_waiting,
        run_at=None if arguments.run_in is None else now() + _seconds(arguments.run_in),
        **task_fields_of(arguments),
    )
    stored = run_on(arguments.database, lambda storage: storage.store_task(task))
    print_result(arguments, stored, stored.id)
    return 0


def _seconds(number: float) -> timedelta:
    if not 0 <= number <= LONGEST_SECONDS:  # also refuses NaN
        raise CommandError(f"--run-in is {number}, expected seconds, 0 or more, a hundred years at most")
    return timedelta(seconds=number)


def run_wait(arguments: argparse.Namespace) -> int:
    """Wait for tasks, print them, and return the exit code: 1 if one was not completed."""

    @while_read
    async def wait(storage: Storage) -> list[TaskModel]:
        return await storage.wait_for_tasks(arguments.ids, timeout=arguments.timeout)

    tasks = run_on(arguments.database, wait)
    for task in tasks:
        _print_status(arguments, task)
    return 0 if all(task.status is TaskStatus.COMPLETED for task in tasks) else 1


def run_decision(arguments: argparse.Namespace) -> int:
    """Approve or reject each of the tasks, and return the exit code."""

    def decide(storage: Storage, id: str) -> Awaitable[TaskModel]:
        verb = storage.approve_task if arguments.decision == "approve" else storage.reject_task
        return verb(id, arguments.by, arguments.comment)

    return run_change(arguments.decision, decide, arguments)


def run_release(arguments: argparse.Namespace) -> int:
    """Release each of the tasks, and return the exit code."""
    release = partial(interventions.release, agent_id=arguments.agent, retry_in=arguments.retry_in)
    return run_change("release", release, arguments)


def run_change(name: str, change: Change, arguments: argparse.Namespace) -> int:
    """Change each of the tasks, print those that were, tell why the others were not, and return the exit code."""

    async def change_all(storage: Storage) -> int:
        code = 0
        for id in arguments.ids:
            try:
                task = await change(storage, id)
            except StorageError as error:
                print(
                    f"swarm-persistence: cannot {name} {printable(repr(id))}: {printable(str(error))}", file=sys.stderr
                )
                code = 1
                continue
            _print_status(arguments, task)
        return code

    return run_on(arguments.database, change_all)


def _print_status(arguments: argparse.Namespace, task: TaskModel) -> None:
    print_result(arguments, task, f"{printable(task.id)}: {task.status}")
