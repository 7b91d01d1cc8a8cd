"""`swarm-persistence events tail`: the last events of the log, and each new one."""

import argparse
from contextlib import aclosing

from swarm_persistence.cli.output_reader import while_read
from swarm_persistence.cli.records import (
    Subparsers,
    add_action,
    add_actions,
    add_group,
    matching,
    print_json,
    printable,
    run_on,
    short_json,
    whole_number,
)
from swarm_persistence.models import EventModel
from swarm_persistence.storage import Storage

_LAST = 20


def add_parser(commands: "Subparsers") -> None:
    """Add the command's arguments."""
    actions = add_actions(commands, "events", "Show the event log.")
    text = "Print the last events in the order of the log. With --follow, go on with each new one until Ctrl-C."
    tail = add_action(actions, "tail", text, run_tail)
    tail.add_argument("--follow", "-f", action="store_true", help="go on with each new event of any process")
    tail.add_argument("--type", action="append", metavar="TYPE", help="only events of this type; may be repeated")
    tail.add_argument("--agent", metavar="ID", help="only events of this agent")
    add_group(tail, "events")
    tail.add_argument(
        "--limit", type=whole_number, default=_LAST, metavar="N", help=f"how many to begin with (default: {_LAST})"
    )


def run_tail(arguments: argparse.Namespace) -> int:
    """Print events, and return the exit code."""
    tail = while_read(_tail)
    run_on(arguments.database, lambda storage: tail(storage, arguments))
    return 0


async def _tail(storage: Storage, arguments: argparse.Namespace) -> None:
    query = matching(EventModel, arguments, event_type=arguments.type, agent_id=arguments.agent)
    last = await storage.repository(EventModel).query(query.order_by("sequence", desc=True).limit(arguments.limit))
    if not arguments.follow:
        for event in reversed(last):
            _print(event, as_json=arguments.json)
        return
    # Start at the first of them: an event may commit after one with a higher sequence, and the watch yields both.
    before_first = (last[-1].sequence or 1) - 1 if last else 0
    events = storage.watch_events(before_first, types=arguments.type, agent_id=arguments.agent, group=arguments.group)
    async with aclosing(events):
        async for event in events:
            if _has_tags(event, arguments):
                _print(event, as_json=arguments.json)


def _has_tags(event: EventModel, arguments: argparse.Namespace) -> bool:
    return all(event.tags.get(key) == value for key, value in dict(arguments.tag or ()).items())


def _print(event: EventModel, *, as_json: bool) -> None:
    if as_json:
        print_json(event)
        return
    parts = [str(event.sequence), event.timestamp.isoformat(timespec="milliseconds"), event.event_type]
    parts += [f"{name}={value}" for name, value in (("agent", event.agent_id), ("task", event.task_id)) if value]
    if event.data is not None:
        parts.append(short_json(event.data))
    print(printable(" ".join(parts)), flush=True)
