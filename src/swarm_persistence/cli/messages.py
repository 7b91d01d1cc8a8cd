"""`swarm-persistence messages list` and `send`: lists the messages between agents, or sends one as the operator."""

import argparse

from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.records import (
    Subparsers,
    add_action,
    add_actions,
    add_group,
    add_page,
    age,
    json_value,
    matching,
    print_result,
    run_on,
    short_json,
    show_page,
    tag,
)
from swarm_persistence.models import MessageModel, MessagePriority

_SHOWN = 60


def add_parser(commands: "Subparsers") -> None:
    """Add the command's arguments."""
    actions = add_actions(commands, "messages", "List and send messages.")
    listing = add_action(actions, "list", "List messages, the latest first.", run_list)
    listing.add_argument("--from", dest="sender", metavar="AGENT", help="only messages from this agent")
    listing.add_argument("--to", metavar="AGENT", help="only messages to this agent")
    listing.add_argument("--type", action="append", metavar="TYPE", help="only messages of this type; may be repeated")
    listing.add_argument("--unread", action="store_true", help="only messages that are not read")
    add_group(listing, "messages")
    add_page(listing, "SEQUENCE")
    send = add_action(actions, "send", "Store a message, and print its id.", run_send)
    send.add_argument("sender", metavar="FROM", help="the agent that it is from")
    send.add_argument("to", metavar="TO", help="the agent that it is to")
    send.add_argument("type", metavar="TYPE", help="the type of the message")
    send.add_argument(
        "content", metavar="CONTENT", nargs="?", type=json_value, help="its content, as JSON (default: null)"
    )
    send.add_argument(
        "--priority", choices=[priority.value for priority in MessagePriority], default=MessagePriority.NORMAL.value
    )
    send.add_argument("--group", metavar="GROUP", help="the group that it belongs to")
    send.add_argument(
        "--tag", action="append", default=[], type=tag, metavar="KEY=VALUE", help="a tag of it; may be repeated"
    )


def run_list(arguments: argparse.Namespace) -> int:
    """List messages, and return the exit code."""
    arguments.after = _sequence(arguments.after)
    sender, receiver, unread = arguments.sender, arguments.to, False if arguments.unread else None
    query = matching(
        MessageModel, arguments, from_agent=sender, to_agent=receiver, message_type=arguments.type, read=unread
    )
    columns = {
        "sequence": lambda message: str(message.sequence),
        "from": lambda message: message.from_agent,
        "to": lambda message: message.to_agent,
        "type": lambda message: message.message_type,
        "priority": lambda message: message.priority.value,
        "read": lambda message: "yes" if message.read else "no",
        "sent": lambda message: age(message.timestamp),
        "content": lambda message: "" if message.content is None else short_json(message.content)[:_SHOWN],
    }
    show_page(arguments, query, "sequence", "Messages", columns)
    return 0


def run_send(arguments: argparse.Namespace) -> int:
    """Store a message, print it, and return the exit code."""
    message = MessageModel.new(
        arguments.sender,
        arguments.to,
        arguments.type,
        arguments.content,
        priority=arguments.priority,
        group=arguments.group,
        tags=dict(arguments.tag),
    )
    stored = run_on(arguments.database, lambda storage: storage.store_message(message))
    print_result(arguments, stored, stored.id)
    return 0


def _sequence(text: str | None) -> int | None:
    if text is not None and not (text.isascii() and text.isdigit()):
        raise CommandError(f"--after is {text!r}, expected the sequence of a message")
    return None if text is None else int(text)
