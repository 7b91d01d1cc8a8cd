"""`swarm-persistence agents list`: the agents, and how long ago each was heard of."""

import argparse

from swarm_persistence.cli.records import (
    Subparsers,
    add_action,
    add_actions,
    add_group,
    add_page,
    age,
    matching,
    show_page,
)
from swarm_persistence.models import AgentModel, AgentStatus


def add_parser(commands: "Subparsers") -> None:
    """Add the command's arguments."""
    actions = add_actions(commands, "agents", "List agents.")
    listing = add_action(
        actions, "list", "List agents, the highest id first, with the age of their heartbeats.", run_list
    )
    statuses = [status.value for status in AgentStatus]
    listing.add_argument(
        "--status", action="append", choices=statuses, help="only agents of this status; may be repeated"
    )
    listing.add_argument("--type", action="append", metavar="TYPE", help="only agents of this type; may be repeated")
    add_group(listing, "agents")
    add_page(listing, "ID")


def run_list(arguments: argparse.Namespace) -> int:
    """List agents, and return the exit code."""
    query = matching(AgentModel, arguments, status=arguments.status, agent_type=arguments.type)
    columns = {
        "id": lambda agent: agent.id,
        "name": lambda agent: agent.name,
        "type": lambda agent: agent.agent_type,
        "status": lambda agent: agent.status.value,
        "heartbeat": lambda agent: age(agent.heartbeat),
        "capabilities": lambda agent: ", ".join(agent.capabilities),
    }
    show_page(arguments, query, "id", "Agents", columns)
    return 0
