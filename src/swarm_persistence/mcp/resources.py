"""What clients can read by a URI: `swarm://tasks/{id}` and others."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import msgspec
from mcp import types

from swarm_persistence import (
    AgentModel,
    DocumentModel,
    EventModel,
    MessageModel,
    Model,
    NotFoundError,
    Storage,
    TaskModel,
)
from swarm_persistence.mcp.shown import json_text
from swarm_persistence.mcp.tools.agents import list_agents
from swarm_persistence.mcp.tools.events import read_events
from swarm_persistence.mcp.tools.messages import read_messages
from swarm_persistence.mcp.tools.status import swarm_status
from swarm_persistence.mcp.tools.tasks import list_tasks

SCHEME = "swarm://"
MEDIA_TYPE = "application/json"


class SwarmResource(msgspec.Struct, frozen=True):
    """Something in a swarm that can be read, and the models whose commits may change it."""

    read: Callable[[Storage], Awaitable[Any]]
    models: tuple[type[Model], ...]


_LISTS: dict[str, tuple[SwarmResource, str]] = {
    "status": (
        SwarmResource(swarm_status, (TaskModel, AgentModel, MessageModel, EventModel)),
        "The whole swarm: tasks by type and status, agents, unread messages.",
    ),
    "tasks": (SwarmResource(list_tasks, (TaskModel,)), "The newest tasks, with long values truncated."),
    "agents": (SwarmResource(list_agents, (AgentModel,)), "The agents and when they were last heard of."),
    "events": (SwarmResource(read_events, (EventModel,)), "The latest events, with long values truncated."),
}

_TEMPLATES = {
    "tasks/{task_id}": ("task", "One task, whole: status, payload, result, error."),
    "agents/{agent_id}": ("agent", "One agent."),
    "agents/{agent_id}/messages": ("inbox", "The unread messages to an agent; reading this marks none as read."),
    "documents/{+collection}/{key}": ("memory", "What was remembered under a key; parts are percent-encoded."),
}


def listed_resources() -> list[types.Resource]:
    """Return the resources without parameters."""
    return [
        types.Resource(uri=SCHEME + name, name=name, description=text, mime_type=MEDIA_TYPE)
        for name, (_, text) in _LISTS.items()
    ]


def resource_templates() -> list[types.ResourceTemplate]:
    """Return the forms of the URIs with parameters."""
    return [
        types.ResourceTemplate(uri_template=SCHEME + form, name=name, description=text, mime_type=MEDIA_TYPE)
        for form, (name, text) in _TEMPLATES.items()
    ]


def resource_of(uri: str) -> SwarmResource:
    """Return the resource of a URI.

    Raises:
        NotFoundError: no resource has a URI of this form.

    """
    path = uri.removeprefix(SCHEME)
    parts = [unquote(part) for part in path.split("/")]
    match parts if uri.startswith(SCHEME) and all(parts) else []:
        case [name] if name in _LISTS:
            return _LISTS[name][0]
        case ["tasks", id]:
            return SwarmResource(lambda storage: _record(storage, TaskModel, id), (TaskModel,))
        case ["agents", id]:
            return SwarmResource(lambda storage: _record(storage, AgentModel, id), (AgentModel,))
        case ["agents", id, "messages"]:
            return SwarmResource(lambda storage: read_messages(storage, agent_id=id, mark_read=False), (MessageModel,))
        case ["documents", *collection, key] if collection:
            return SwarmResource(lambda storage: _document(storage, collection, key), (DocumentModel,))
    forms = ", ".join(SCHEME + form for form in (*_LISTS, *_TEMPLATES))
    raise NotFoundError(f"resource {uri!r}, expected one of {forms}")


async def content_of(storage: Storage, uri: str) -> str:
    """Return the text of a resource.

    Raises:
        NotFoundError: there is no such resource.
        StorageError: the storage cannot read it.

    """
    return json_text(await resource_of(uri).read(storage))


async def _record(storage: Storage, model: type[Model], id: str) -> Any:
    record = await storage.repository(model).find_by_id(id)
    if record is None:
        raise NotFoundError(f"{model.__name__.removesuffix('Model').lower()} {id!r}")
    return msgspec.to_builtins(record)


async def _document(storage: Storage, collection: list[str], key: str) -> Any:
    document = await storage.get_document(collection, key)
    if document is None:
        raise NotFoundError(f"document {key!r} in {collection!r}")
    return msgspec.to_builtins(document)
