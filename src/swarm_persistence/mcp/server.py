"""The server of the Model Context Protocol, whichever transport it is run on."""

import logging
from collections.abc import Mapping
from typing import Any

from mcp import MCPError, types
from mcp.server import Server, ServerRequestContext

from swarm_persistence import NotFoundError, Storage, StorageError, __version__
from swarm_persistence.mcp.resources import MEDIA_TYPE, content_of, listed_resources, resource_templates
from swarm_persistence.mcp.shown import json_text
from swarm_persistence.mcp.subscriptions import ResourceSubscriptions
from swarm_persistence.mcp.tool import SwarmTool, ToolCallError
from swarm_persistence.mcp.tools import TOOLS

INSTRUCTIONS = """\
A swarm of agents shares one durable queue of tasks, messages, an event log, metrics and memories through these tools.
Call register_agent once and keep the agent_id. To work: claim_next_task, do the task, then complete_task or fail_task \
with its task id and claim number; extend_lease before the lease ends. To delegate: enqueue_task, later list_tasks for \
the results. Look at swarm_status, read_messages, recall and read_events to know what the others do. Everything is \
stored before a tool returns. Long values are truncated; a hint beside them says how to get all."""

_log = logging.getLogger(__name__)


def swarm_server(storage: Storage, *, is_read_only: bool = False) -> Server[Any]:
    """Return a server of the tools and resources of a swarm; it does not close the storage.

    It can be run on stdio (`server.run`) and over HTTP (`server.streamable_http_app`), for any number of clients. With
    `is_read_only`, it has only the tools that change nothing.
    """
    subscriptions = ResourceSubscriptions(storage)
    tools = {name: tool for name, tool in TOOLS.items() if tool.is_read_only or not is_read_only}
    handlers = _Handlers(storage, tools)
    return Server(
        "swarm-persistence",
        version=__version__,
        title="Swarm",
        instructions=INSTRUCTIONS,
        lifespan=subscriptions.lifespan,
        get_tool_input_schema=lambda name: tools[name].input_schema if name in tools else None,
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        on_list_resources=handlers.list_resources,
        on_list_resource_templates=handlers.list_resource_templates,
        on_read_resource=handlers.read_resource,
        on_subscribe_resource=subscriptions.subscribe,
        on_unsubscribe_resource=subscriptions.unsubscribe,
        on_subscriptions_listen=subscriptions.listen,
    )


class _Handlers:
    def __init__(self, storage: Storage, tools: Mapping[str, SwarmTool]) -> None:
        self._storage = storage
        self._tools = tools

    async def list_tools(self, _context: object, _params: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[tool.description() for tool in self._tools.values()])

    async def call_tool(
        self, _context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        tool = self._tools.get(params.name)
        if tool is None:
            return _result(f"There is no tool {params.name!r}, expected one of {', '.join(self._tools)}", is_error=True)
        try:
            return _result(json_text(await tool.call(self._storage, params.arguments or {})))
        except ToolCallError as error:
            return _result(str(error), is_error=True)
        except Exception:
            _log.exception("the tool %s failed unexpectedly", tool.name)
            return _result(f"{tool.name} failed unexpectedly; the server's log says why", is_error=True)

    async def list_resources(self, _context: object, _params: object) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=listed_resources())

    async def list_resource_templates(self, _context: object, _params: object) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=resource_templates())

    async def read_resource(
        self, _context: ServerRequestContext[Any], params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        uri = str(params.uri)
        try:
            text = await content_of(self._storage, uri)
        except StorageError as error:
            code = types.INVALID_PARAMS if isinstance(error, NotFoundError) else types.INTERNAL_ERROR
            raise MCPError(code, str(error), {"uri": uri}) from error
        return types.ReadResourceResult(
            contents=[types.TextResourceContents(uri=params.uri, text=text, mime_type=MEDIA_TYPE)]
        )


def _result(text: str, *, is_error: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=is_error)
